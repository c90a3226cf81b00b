//! STS slow, down, limiting, refusing: what a pod is told meanwhile, and what it gets afterwards.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use podiam_lab::aws::{Aws, Config, Fault, Injection, Record, Service, StsCall};
use serde_json::Value;

use super::support::node::Node;
use super::support::{PATIENCE, eventually};
use super::{HELD, READER, assert_refused, pods};

/// A node whose STS is disturbed from the start: roles are fetched as soon as their pods are known.
async fn node(injection: Injection) -> Node {
    let aws = Aws::start(Config::default()).await.unwrap();
    aws.inject(Service::Sts, injection);
    Node::start_with(aws, &pods(), &[]).await
}

/// Waits until STS has answered a call in the way that `answered` says.
async fn sts_answered(aws: &Aws, answered: impl Fn(&StsCall) -> bool) {
    let seen = aws.log_until(|log| {
        log.iter()
            .any(|record| matches!(record, Record::Sts(call) if answered(call)))
    });
    tokio::time::timeout(PATIENCE, seen)
        .await
        .expect("STS answers");
}

/// The credentials as soon as they are given; until then every answer is the refusal `why`, never another.
async fn given_after(node: &Node, why: &str) {
    eventually("credentials", || async {
        let answer = node.credentials(READER, "reader").await;
        if answer.status == 200 {
            return Ok(());
        }
        assert_refused(&answer, 503, why);
        Err(answer.text())
    })
    .await;
}

#[tokio::test]
async fn while_sts_is_slow_a_request_is_held_and_refused_and_served_once_sts_has_answered() {
    let node = node(Injection::fault(Fault::Hang)).await;
    let started = Instant::now();
    let answer = node.credentials(READER, "reader").await;
    let held = started.elapsed();
    assert_refused(&answer, 503, "credentials are being fetched");
    assert!(HELD.contains(&held), "{held:?}");

    node.aws.heal(Service::Sts);
    sts_answered(&node.aws, |call| call.status == Some(200)).await;
    let answer = node.credentials(READER, "reader").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let calls = node.aws.assume_role_calls();
    assert!(
        calls.iter().all(|call| call.status == Some(200)),
        "no call was given up for a pod that hung up: {calls:?}"
    );
}

#[tokio::test]
async fn a_request_that_sts_answers_in_time_is_served_without_being_asked_again() {
    let node = node(Injection::delay(Duration::from_millis(150))).await;
    let answer = node.credentials(READER, "reader").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn while_sts_is_down_pods_are_told_so_and_served_once_it_is_back() {
    for fault in [Fault::Reset, Fault::Status(500), Fault::Garbage] {
        let node = node(Injection::fault(fault)).await;
        let first = eventually("a call that failed", || async {
            let answer = node.credentials(READER, "reader").await;
            assert_eq!(answer.status, 503, "{fault:?}: {answer:?}");
            let failed = answer.contains("cannot be reached");
            failed.then_some(answer.clone()).ok_or(answer.text())
        })
        .await;
        assert_refused(&first, 503, "AWS STS cannot be reached at the moment");
        assert!(
            !first.contains("injected"),
            "no AWS text to a pod: {first:?}"
        );
        node.aws.heal(Service::Sts);
        given_after(&node, "AWS STS cannot be reached at the moment").await;
    }
}

#[tokio::test]
async fn while_sts_limits_the_node_pods_are_told_so_and_never_429() {
    let node = node(Injection::fault(Fault::Throttling)).await;
    sts_answered(&node.aws, |call| {
        call.error.as_deref() == Some("Throttling")
    })
    .await;
    let started = Instant::now();
    let answer = node.credentials(READER, "reader").await;
    let held = started.elapsed();
    assert_refused(&answer, 503, "AWS STS is limiting requests");
    assert!(HELD.contains(&held), "{held:?}");
    node.aws.heal(Service::Sts);
    given_after(&node, "AWS STS is limiting requests").await;
}

#[tokio::test]
async fn a_final_refusal_is_told_at_once_and_sts_is_not_asked_again() {
    let node = node(Injection::fault(Fault::AccessDenied).only("role/reader")).await;
    sts_answered(&node.aws, |call| call.error.is_some()).await;
    let started = Instant::now();
    for _ in 0..3 {
        let answer = node.credentials(READER, "reader").await;
        assert_refused(&answer, 403, "AWS STS refuses this role to the node");
        assert!(
            !answer.contains("injected"),
            "no AWS text to a pod: {answer:?}"
        );
    }
    assert!(started.elapsed() < 3 * *HELD.start(), "none was held");
    // The two pods of that role, in whose name it is asked twice.
    assert_eq!(node.aws.assume_role_calls().len(), 2);
}

#[tokio::test]
async fn in_an_outage_what_is_valid_is_served_to_its_end_and_not_a_second_longer() {
    let aws = Aws::start(Config {
        session_lifetime: Some(Duration::from_secs(4)),
        ..Config::default()
    })
    .await
    .unwrap();
    let node = Node::start_with(aws, &pods(), &[]).await;
    let body = node.credentials(READER, "reader").await.text();
    node.aws
        .inject(Service::Sts, Injection::fault(Fault::Reset));
    let expiration = |body: &str| {
        let document: Value = serde_json::from_str(body).unwrap();
        let text = document["Expiration"].as_str().unwrap();
        text.parse::<Timestamp>().unwrap()
    };
    let failed = |log: &[Record]| {
        let calls = log.iter().filter(|record| matches!(record, Record::Sts(_)));
        // A reset is never written down as answered.
        calls
            .filter(|record| matches!(record, Record::Sts(call) if call.status.is_none()))
            .count()
            >= 2
    };
    tokio::time::timeout(PATIENCE, node.aws.log_until(failed))
        .await
        .expect("the refresh is tried");
    let in_outage = node.credentials(READER, "reader").await;
    assert_eq!(
        (in_outage.status, in_outage.text()),
        (200, body.clone()),
        "served from what is there"
    );
    eventually("the end of the session", || async {
        let before = now();
        let answer = node.credentials(READER, "reader").await;
        if answer.status == 200 {
            assert!(expiration(&answer.text()) > before, "stale: {answer:?}");
            return Err("still served".to_owned());
        }
        assert_refused(&answer, 503, "AWS STS cannot be reached at the moment");
        assert!(now() >= expiration(&body), "refused too early");
        Ok(())
    })
    .await;
}

#[allow(
    clippy::disallowed_methods,
    reason = "the agent under test has the system's clock"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
