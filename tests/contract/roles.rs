//! Which pod is told which role, and given whose credentials.

use jiff::{SignedDuration, Timestamp};
use podiam_lab::aws::{Aws, Config, Trust};
use podiam_lab::wire::Answer;
use serde_json::Value;

use super::support::http::ROLES;
use super::support::manifest::{Manifest, pod};
use super::support::node::Node;
use super::{NO_ROLE, READER, UNKNOWN, V2_ONLY, assert_refused, pods};

const MALFORMED: &str = "127.0.1.13";
const OPTED_OUT: &str = "127.0.1.15";
const WITH_PATH: &str = "127.0.1.16";
const OTHER_ACCOUNT: &str = "127.0.1.17";
const OTHER_PARTITION: &str = "127.0.1.18";
const SHARED: &str = "127.0.1.19";
const FINISHED: &str = "127.0.1.20";
const UNTRUSTED: &str = "127.0.1.21";
const BAD_EXTERNAL_ID: &str = "127.0.1.22";

const FAR: &str = "arn:aws:iam::210987654321:role/far+=,@.-_";
const CHINA: &str = "arn:aws-cn:iam::123456789012:role/reader";

fn all_pods() -> Vec<Manifest> {
    let more = [
        pod("malformed", MALFORMED).role("no role!"),
        pod("opted-out", OPTED_OUT).role(""),
        pod("with-path", WITH_PATH).role("team/a/writer"),
        pod("other-account", OTHER_ACCOUNT).role(FAR),
        pod("other-partition", OTHER_PARTITION).role(CHINA),
        pod("one-of-two", SHARED).role("reader"),
        pod("two-of-two", SHARED).role("writer"),
        pod("finished", FINISHED).role("reader").phase("Succeeded"),
        pod("untrusted", UNTRUSTED).role("untrusted"),
        pod("bad-external-id", BAD_EXTERNAL_ID)
            .role("reader")
            .annotated("iam.amazonaws.com/external-id", "x y"),
    ];
    pods().into_iter().chain(more).collect()
}

#[tokio::test]
async fn every_pod_is_told_its_own_role_or_why_it_has_none() {
    let node = Node::start(&all_pods(), &[]).await;
    for (pod, status, body) in [
        (READER, 200, "reader"),
        (WITH_PATH, 200, "team/a/writer"),
        (OTHER_ACCOUNT, 200, FAR),
        (OTHER_PARTITION, 200, CHINA),
        (UNTRUSTED, 200, "untrusted"),
        (NO_ROLE, 404, "the pod has no annotation"),
        (OPTED_OUT, 404, "asks for no role"),
        (MALFORMED, 403, "is malformed"),
        (BAD_EXTERNAL_ID, 403, "the external ID is malformed"),
        (SHARED, 503, "more than one pod"),
        (FINISHED, 503, "no pod is known"),
        (UNKNOWN, 503, "no pod is known"),
        (V2_ONLY, 401, "token is required"),
    ] {
        for path in [
            ROLES,
            ROLES.trim_end_matches('/'),
            "/2021-07-15/meta-data/iam/security-credentials/",
            "/1.0/meta-data/iam/security-credentials",
        ] {
            let answer = node.get(pod, path).await;
            if status == 200 {
                assert_eq!(
                    (answer.status, answer.text().as_str()),
                    (200, body),
                    "{pod} {path}: exactly the name, no newline"
                );
                assert_eq!(answer.header("server"), Some("EC2ws"));
                assert_eq!(answer.header("content-type"), Some("text/plain"));
            } else {
                assert_refused(&answer, status, body);
            }
        }
    }
}

#[tokio::test]
async fn credentials_are_given_for_the_pods_role_by_name_and_by_arn_and_for_no_other() {
    let node = Node::start(&all_pods(), &[]).await;
    for (pod, role) in [
        (READER, "reader"),
        (READER, "reader/"),
        (READER, "arn:aws:iam::123456789012:role/reader"),
        (WITH_PATH, "team/a/writer"),
        (OTHER_ACCOUNT, FAR),
        (OTHER_PARTITION, CHINA),
    ] {
        assert_is_a_session(&node.credentials(pod, role).await);
    }
    for (pod, role, status, why) in [
        (READER, "writer", 403, "not the role of this pod"),
        (READER, "Reader", 403, "not the role of this pod"),
        (READER, "reader/x", 403, "not the role of this pod"),
        (READER, CHINA, 403, "not the role of this pod"),
        (
            READER,
            "arn:aws:iam::210987654321:role/reader",
            403,
            "not the role of this pod",
        ),
        (READER, "lab-node-role", 403, "not the role of this pod"),
        (WITH_PATH, "writer", 403, "not the role of this pod"),
        (NO_ROLE, "reader", 404, "the pod has no annotation"),
        (OPTED_OUT, "reader", 404, "asks for no role"),
        (MALFORMED, "no", 403, "is malformed"),
        (SHARED, "reader", 503, "more than one pod"),
        (UNKNOWN, "reader", 503, "no pod is known"),
        (V2_ONLY, "reader", 401, "token is required"),
    ] {
        assert_refused(&node.credentials(pod, role).await, status, why);
    }
}

/// A document that every SDK reads: one line, kube2iam's keys in their order, times in whole seconds of UTC.
#[track_caller]
fn assert_is_a_session(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    let body = answer.text();
    let keys = [
        "AccessKeyId",
        "Code",
        "Expiration",
        "LastUpdated",
        "SecretAccessKey",
        "Token",
        "Type",
    ];
    let found = keys.map(|key| body.find(&format!("\"{key}\":")).unwrap());
    assert!(found.is_sorted() && !body.contains('\n'), "{body}");
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&document["Code"], &document["Type"]),
        (&"Success".into(), &"AWS-HMAC".into())
    );
    let time = |key: &str| {
        let text = document[key].as_str().unwrap();
        assert_eq!(text.len(), "2026-01-01T00:00:00Z".len(), "{text}");
        text.parse::<Timestamp>().unwrap()
    };
    let left = time("Expiration").duration_since(time("LastUpdated"));
    assert!(
        (left - SignedDuration::from_hours(1)).abs() <= SignedDuration::from_secs(5),
        "{body}"
    );
}

#[tokio::test]
async fn the_instance_profile_that_a_pod_is_told_is_its_roles_and_what_is_listed_is_there() {
    let node = Node::start(&all_pods(), &[]).await;
    let info = node.get(WITH_PATH, "/latest/meta-data/iam/info").await;
    let document: Value = serde_json::from_str(&info.text()).unwrap();
    assert_eq!(
        document["InstanceProfileArn"],
        "arn:aws:iam::123456789012:instance-profile/team/a/writer"
    );
    let refused = node.get(NO_ROLE, "/latest/meta-data/iam/info").await;
    assert_refused(&refused, 404, "the pod has no annotation");

    for folder in ["/latest/meta-data/", "/latest/meta-data/iam/"] {
        let listing = node.get(READER, folder).await;
        assert_eq!(listing.status, 200, "{folder}");
        assert!(listing.text().lines().count() > 1, "{listing:?}");
    }
    let listing = node.get(READER, "/latest/meta-data/").await.text();
    assert!(listing.lines().any(|name| name == "iam/"), "{listing}");
}

#[tokio::test]
async fn a_role_that_does_not_trust_the_node_is_refused_for_good_and_in_our_own_words() {
    let mut config = Config::default();
    config.trusts.insert(
        "arn:aws:iam::123456789012:role/untrusted".into(),
        Trust::Nobody,
    );
    let aws = Aws::start(config).await.unwrap();
    let node = Node::start_with(aws, &all_pods(), &[]).await;
    for _ in 0..3 {
        let answer = node.credentials(UNTRUSTED, "untrusted").await;
        assert_refused(&answer, 403, "AWS STS refuses this role");
        assert!(
            !answer.contains("AccessDenied") && !answer.contains("arn:"),
            "no AWS text to a pod: {answer:?}"
        );
    }
    let calls = node.aws.assume_role_calls();
    let asked = |call: &&podiam_lab::aws::StsCall| {
        call.role_arn
            .as_deref()
            .is_some_and(|arn| arn.ends_with("untrusted"))
    };
    assert_eq!(
        calls.iter().filter(asked).count(),
        1,
        "a refusal is remembered"
    );
}

#[tokio::test]
async fn a_default_role_is_for_known_pods_without_an_annotation_only() {
    let node = Node::start(&all_pods(), &["--default-role=fallback"]).await;
    assert_eq!(node.get(NO_ROLE, ROLES).await.text(), "fallback");
    assert_is_a_session(&node.credentials(NO_ROLE, "fallback").await);
    assert_eq!(node.get(READER, ROLES).await.text(), "reader");
    for (pod, status, why) in [
        (OPTED_OUT, 404, "asks for no role"),
        (MALFORMED, 403, "is malformed"),
        (UNKNOWN, 503, "no pod is known"),
        (FINISHED, 503, "no pod is known"),
        (SHARED, 503, "more than one pod"),
    ] {
        assert_refused(&node.get(pod, ROLES).await, status, why);
        assert_refused(&node.credentials(pod, "fallback").await, status, why);
    }
}
