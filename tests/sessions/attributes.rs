//! Another's STS accepts what a session says of its pod, and gives credentials that work.

use std::time::Duration;

use super::served;
use super::support::agent::{Agent, Host};
use super::support::manifest::{Folder, pod};
use super::support::moto::Moto;
use super::support::rust_sdk;

const POLICY: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
const ARNS: &str = "arn:aws:iam::aws:policy/ReadOnlyAccess";

#[tokio::test]
async fn tags_source_identity_and_session_policies_are_accepted_and_the_session_is_who_it_says() {
    let moto = Moto::shared().await;
    let manifests = Folder::new(&[pod("told", "127.0.0.1")
        .uid("11111111-0000-4000-8000-000000000001")
        .role("told")
        .annotated("podiam.io/session-policy", POLICY)
        .annotated("podiam.io/session-policy-arns", ARNS)]);
    let agent = Agent::start_at(
        Host::Loopback([127, 0, 0, 2].into()),
        &moto.url(),
        &[
            &format!("--workloads={}", manifests.path().display()),
            "--session-tags=cluster,namespace,pod,uid",
            "--session-tags-transitive",
            "--source-identity=pod",
            "--cluster-name=prod",
        ],
    );
    agent.ready().await;
    served(&agent, "127.0.0.1", "told").await;

    let told = moto.assumptions("told");
    assert_eq!(told.len(), 1, "{told:?}");
    for part in [
        "&Tags.member.1.Key=kubernetes-cluster&Tags.member.1.Value=prod&",
        "Tags.member.4.Value=11111111-0000-4000-8000-000000000001&",
        "&TransitiveTagKeys.member.4=kubernetes-pod-uid",
        "SourceIdentity=t.told%40",
        "Policy=%7B%22Version%22",
        "PolicyArns.member.1.arn=arn%3Aaws%3Aiam%3A%3Aaws%3Apolicy%2FReadOnlyAccess",
    ] {
        assert!(told[0].contains(part), "{part} is not in {}", told[0]);
    }

    let sts = rust_sdk::sts(
        &format!("http://{}", agent.pods),
        &moto.url(),
        Duration::from_secs(10),
    );
    let identity = sts.get_caller_identity().send().await.unwrap();
    let arn = identity.arn().unwrap();
    assert!(arn.contains(":assumed-role/told/t.told@"), "{arn}");
}
