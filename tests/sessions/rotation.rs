//! The node's own credentials are rotated under the agent: the metadata service has new ones, the old ones that the agent
//! still holds stop working at STS. No request of any pod fails for it.

use std::time::Duration;

use podiam_lab::aws::{Aws, Config, End, Record};

use super::support::PATIENCE;
use super::support::agent::Agent;
use super::support::manifest::{Folder, Manifest, pod};
use super::{PACE, credentials, key, served, unarmed};

const LIFETIME: Duration = Duration::from_secs(8);
const POD: &str = "127.0.4.1";
const NEW_POD: &str = "127.0.4.2";

#[tokio::test]
async fn node_credentials_that_expire_early_are_replaced_and_no_request_fails() {
    no_request_fails(End::Expired, "ExpiredToken").await;
}

#[tokio::test]
async fn node_credentials_that_are_revoked_are_replaced_and_no_request_fails() {
    no_request_fails(End::Revoked, "InvalidClientTokenId").await;
}

async fn no_request_fails(end: End, code: &str) {
    let config = Config {
        session_lifetime: Some(LIFETIME),
        ..Config::default()
    };
    let aws = Aws::start(config).await.unwrap();
    let known = || -> Vec<Manifest> { vec![pod("known", POD).role("known")] };
    let manifests = Folder::new(&known());
    let agent = Agent::start_as(
        unarmed(env!("CARGO_BIN_EXE_podiam")),
        &aws.sts_url(),
        &[
            &format!("--workloads={}", manifests.path().display()),
            &format!("--metadata-addr={}", aws.imds_addr),
        ],
    );
    agent.ready().await;
    served(&agent, POD, "known").await;
    let first = key(&agent, POD, "known").await;

    aws.rotate_node_credentials(end);
    let mut both = known();
    both.push(pod("new", NEW_POD).role("new"));
    manifests.replace(&both);
    let asking = async {
        // One pod was there, the other comes when the agent's credentials are of no use already.
        let new = served(&agent, NEW_POD, "new");
        tokio::pin!(new);
        loop {
            tokio::select! {
                () = &mut new => break,
                () = tokio::time::sleep(PACE) => drop(key(&agent, POD, "known").await),
            }
        }
        while key(&agent, POD, "known").await == first {
            credentials(&agent, NEW_POD, "new").await;
            tokio::time::sleep(PACE).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("the second session");
    let refused = |record: &Record| {
        let Record::Sts(call) = record else {
            return false;
        };
        call.error.as_deref() == Some(code)
    };
    let refused = aws.log().into_iter().filter(refused).count();
    assert_eq!(refused, 1, "the rotation was met once, and not again");
    let log = agent.process().log();
    assert!(
        !log.contains("could not obtain"),
        "no call failed for it: {log}"
    );
}
