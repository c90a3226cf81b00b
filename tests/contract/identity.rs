//! A connection and a token belong to one pod, not to its address: addresses are used again.

use super::support::http::ROLES;
use super::support::manifest::{Manifest, pod};
use super::support::node::{Node, TOKEN};
use super::{NO_ROLE, READER, UNKNOWN, assert_refused, pods};

const OTHER: &str = "127.0.1.4";

fn old() -> Manifest {
    pod("app", READER)
        .uid("uid-of-the-first")
        .created_at("2026-01-01T00:00:00Z")
        .role("first")
}

/// The pod that a controller makes in the place of [`old`]: the name is kept (`StatefulSet`), the address is used again.
fn successor(role: &str) -> Manifest {
    pod("app", READER)
        .uid("uid-of-the-second")
        .created_at("2126-01-01T00:00:00Z")
        .role(role)
}

#[tokio::test]
async fn an_open_connection_is_of_no_use_to_the_successor_of_its_pod() {
    let node = Node::start(&[old()], &[]).await;
    let mut connection = node.connect(READER).await;
    assert_eq!(connection.get(ROLES).await.text(), "first");

    let mut connections = vec![connection];
    for _ in 0..3 {
        let mut more = node.connect(READER).await;
        assert_eq!(more.get(ROLES).await.text(), "first");
        connections.push(more);
    }
    node.manifests.replace(&[successor("second")]);
    node.agent.gives(READER, "second").await;
    for (mut connection, target) in connections.into_iter().zip([
        ROLES,
        "/latest/meta-data/instance-id",
        "/latest/meta-data/iam/security-credentials/first",
        "/latest/meta-data/iam/security-credentials/second",
    ]) {
        let answer = connection.get(target).await;
        assert_refused(&answer, 503, "belongs to another pod");
        // A client that asks again must not do so on this connection.
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(connection.rest().await.is_empty());
    }
    let fresh = node.credentials(READER, "second").await;
    assert_eq!(fresh.status, 200, "{fresh:?}");
}

#[tokio::test]
async fn an_open_connection_of_a_pod_that_is_gone_gets_nothing() {
    let node = Node::start(&[old()], &[]).await;
    let mut connection = node.connect(READER).await;
    assert_eq!(connection.get(ROLES).await.text(), "first");
    node.manifests.replace(&[]);
    node.agent.refuses(READER, 503).await;
    let answer = connection.get(&format!("{ROLES}first")).await;
    assert_refused(&answer, 503, "no pod is known");
}

#[tokio::test]
async fn a_pod_that_only_changed_keeps_its_connection() {
    let node = Node::start(&[old()], &[]).await;
    let mut connection = node.connect(READER).await;
    assert_eq!(connection.get(ROLES).await.text(), "first");
    node.manifests.replace(&[old().role("other")]);
    node.agent.gives(READER, "other").await;
    assert_eq!(connection.get(ROLES).await.text(), "other");
    let answer = connection.get(&format!("{ROLES}first")).await;
    assert_refused(&answer, 403, "not the role of this pod");
}

#[tokio::test]
async fn tokens_outlive_a_restart_and_are_still_their_pods_alone() {
    let state = tempfile::tempdir().unwrap();
    let flags = [format!("--state-dir={}", state.path().display())];
    let manifests = [old(), pod("other", OTHER).role("first")];
    let mut node = Node::start(&manifests, &flags.each_ref().map(String::as_str)).await;
    let token = node.token(READER).await;
    node.restart().await;
    assert_eq!(node.roles_with(READER, &token).await.status, 200);
    assert_refused(&node.roles_with(OTHER, &token).await, 401, "token");

    node.manifests.replace(&[successor("first")]);
    node.agent.refuses(OTHER, 503).await;
    assert_refused(&node.roles_with(READER, &token).await, 401, "token");
    assert_eq!(node.get(READER, ROLES).await.text(), "first");
}

#[tokio::test]
async fn without_a_state_folder_tokens_end_with_the_agent() {
    let mut node = Node::start(&pods(), &[]).await;
    let token = node.token(READER).await;
    node.restart().await;
    assert_refused(&node.roles_with(READER, &token).await, 401, "token");
}

#[tokio::test]
async fn a_token_from_before_a_pod_was_known_is_good_for_that_pod_and_not_for_the_next() {
    let node = Node::start(&[], &[]).await;
    let token = node.token(READER).await;
    node.manifests.replace(&[old()]);
    node.agent.gives(READER, "first").await;
    assert_eq!(node.roles_with(READER, &token).await.status, 200);

    node.manifests.replace(&[successor("second")]);
    node.agent.gives(READER, "second").await;
    assert_refused(&node.roles_with(READER, &token).await, 401, "token");
}

#[tokio::test]
async fn who_asks_is_told_by_the_socket_and_by_nothing_that_is_sent() {
    let node = Node::start(&pods(), &[]).await;
    for name in ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"] {
        let headers = [(name, READER)];
        let answer = node.ask(NO_ROLE, "GET", ROLES, &headers).await;
        assert_refused(&answer, 404, "the pod has no annotation");
        let answer = node.ask(UNKNOWN, "GET", ROLES, &headers).await;
        assert_refused(&answer, 503, "no pod is known");
    }
    let token = node.token(READER).await;
    let answer = node.ask(UNKNOWN, "GET", ROLES, &[(TOKEN, &token)]).await;
    assert_refused(&answer, 503, "no pod is known");
}
