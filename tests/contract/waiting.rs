//! A pod that is not known yet: its processes may run before the API server shows its address.

use std::time::Instant;

use super::support::http::ROLES;
use super::support::manifest::pod;
use super::support::node::{Client, IMDS_HOST, Node, TOKEN_PATH, TTL};
use super::{HELD, READER, UNKNOWN, assert_refused, pods};
use podiam_lab::wire;

/// How often a test tries to make a pod known in the 375 ms after its request.
const ATTEMPTS: u8 = 5;

#[tokio::test]
async fn an_unknown_pod_is_held_four_tenths_of_a_second_and_no_longer() {
    let node = Node::start(&pods(), &[]).await;
    for target in [ROLES, "/latest/meta-data/instance-id"] {
        let started = Instant::now();
        let answer = node.get(UNKNOWN, target).await;
        let held = started.elapsed();
        assert_refused(&answer, 503, "no pod is known at this address yet");
        assert!(HELD.contains(&held), "{target}: {held:?}");
    }
}

#[tokio::test]
async fn a_token_for_an_unknown_pod_is_held_as_long_and_then_given_all_the_same() {
    let node = Node::start(&pods(), &[]).await;
    let started = Instant::now();
    let answer = node.ask(UNKNOWN, "PUT", TOKEN_PATH, &[(TTL, "300")]).await;
    let held = started.elapsed();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(HELD.contains(&held), "{held:?}");
}

#[tokio::test]
async fn what_is_final_is_answered_at_once() {
    let node = Node::start(&pods(), &[]).await;
    let started = Instant::now();
    for (pod, role) in [(super::NO_ROLE, "reader"), (READER, "writer")] {
        assert!(node.credentials(pod, role).await.status < 500);
    }
    assert!(started.elapsed() < *HELD.start(), "{:?}", started.elapsed());
}

/// Sends `request` from an address whose pod becomes known while the request is held.
async fn ask_too_early(node: &Node, request: &[u8]) -> wire::Answer {
    for number in 1..=ATTEMPTS {
        let ip = format!("127.0.3.{number}");
        let unknown = node.unknown_addresses().await;
        let mut connection: Client = node.connect(&ip).await;
        connection.send(request).await;
        while node.unknown_addresses().await == unknown {
            tokio::task::yield_now().await;
        }
        node.manifests.replace(&[pod("late", &ip).role("late")]);
        let answer = connection.answer().await;
        if answer.status != 503 {
            return answer;
        }
        // This machine took longer than the agent waits: that is no answer to the question.
    }
    panic!("in {ATTEMPTS} attempts no request was answered that came before its pod was known");
}

#[tokio::test]
async fn a_pod_that_becomes_known_meanwhile_is_answered_then() {
    let node = Node::start(&[], &[]).await;
    let answer = ask_too_early(&node, &wire::request("GET", ROLES, IMDS_HOST, &[])).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
}

#[tokio::test]
async fn its_credentials_are_fetched_within_the_same_wait() {
    let node = Node::start(&[], &[]).await;
    let target = format!("{ROLES}late");
    let answer = ask_too_early(&node, &wire::request("GET", &target, IMDS_HOST, &[])).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.contains("\"Code\":\"Success\""), "{answer:?}");
}

#[tokio::test]
async fn its_token_is_then_the_pods_own() {
    let node = Node::start(&[], &["--imdsv2=required"]).await;
    let started = Instant::now();
    let request = wire::request("PUT", TOKEN_PATH, IMDS_HOST, &[(TTL, "300")]);
    let answer = ask_too_early(&node, &request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let took = started.elapsed();
    assert!(took < *HELD.start(), "it did not wait to the end: {took:?}");
}
