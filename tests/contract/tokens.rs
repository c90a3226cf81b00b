//! IMDSv2: who gets a token, and what it is good for.

use super::support::http::ROLES;
use super::support::node::{Node, TOKEN, TOKEN_PATH, TTL};
use super::{NO_ROLE, READER, UNKNOWN, V2_ONLY, assert_refused, pods};

#[tokio::test]
async fn every_pod_is_given_a_token_known_or_not_and_its_ttl_is_repeated() {
    let node = Node::start(&pods(), &[]).await;
    for (pod, ttl) in [
        (READER, "21600"),
        (NO_ROLE, "1"),
        (V2_ONLY, "300"),
        (UNKNOWN, "60"),
    ] {
        let answer = node.ask(pod, "PUT", TOKEN_PATH, &[(TTL, ttl)]).await;
        assert_eq!(answer.status, 200, "{pod}: {answer:?}");
        assert_eq!(answer.header(TTL), Some(ttl), "{pod}");
        assert_eq!(answer.header("content-type"), Some("text/plain"));
        assert!(!answer.text().contains('\n') && !answer.body.is_empty());
    }
}

#[tokio::test]
async fn a_token_without_a_right_ttl_or_through_a_proxy_is_refused() {
    let node = Node::start(&pods(), &[]).await;
    for headers in [
        &[][..],
        &[(TTL, "")],
        &[(TTL, "0")],
        &[(TTL, "-1")],
        &[(TTL, "21601")],
        &[(TTL, "4294967297")],
        &[(TTL, "6e1")],
        &[(TTL, "60"), (TTL, "60")],
    ] {
        let answer = node.ask(READER, "PUT", TOKEN_PATH, headers).await;
        assert_refused(&answer, 400, "a number from 1 to 21600");
    }
    let forwarded = [(TTL, "60"), ("X-Forwarded-For", "10.0.0.1")];
    let answer = node.ask(READER, "PUT", TOKEN_PATH, &forwarded).await;
    assert_refused(&answer, 403, "X-Forwarded-For");
}

#[tokio::test]
async fn a_token_that_is_sent_must_be_the_pods_own_even_where_none_is_required() {
    let node = Node::start(&pods(), &[]).await;
    let (mine, theirs) = (node.token(READER).await, node.token(NO_ROLE).await);
    assert_eq!(node.roles_with(READER, &mine).await.status, 200);
    let changed = mine.replacen(|_| true, if mine.starts_with('A') { "B" } else { "A" }, 1);
    for bad in [theirs.as_str(), &changed, &mine[1..], "bad", ""] {
        assert_refused(&node.roles_with(READER, bad).await, 401, "token");
        let credentials = format!("{ROLES}reader");
        let answer = node.ask(READER, "GET", &credentials, &[(TOKEN, bad)]).await;
        assert_refused(&answer, 401, "token");
    }
    let twice = [(TOKEN, mine.as_str()), (TOKEN, mine.as_str())];
    assert_refused(&node.ask(READER, "GET", ROLES, &twice).await, 401, "token");
}

#[tokio::test]
async fn a_pod_may_ask_for_imdsv2_only() {
    let node = Node::start(&pods(), &[]).await;
    for target in [
        ROLES,
        &format!("{ROLES}reader"),
        "/latest/meta-data/instance-id",
    ] {
        assert_refused(&node.get(V2_ONLY, target).await, 401, "token is required");
        let token = node.token(V2_ONLY).await;
        let answer = node.ask(V2_ONLY, "GET", target, &[(TOKEN, &token)]).await;
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert_eq!(node.get(READER, target).await.status, 200, "others may not");
    }
}

#[tokio::test]
async fn with_imdsv2_required_nothing_is_answered_without_a_token() {
    let node = Node::start(&pods(), &["--imdsv2=required"]).await;
    for target in [
        ROLES,
        "/latest/meta-data/",
        "/latest/meta-data/iam/",
        "/latest/meta-data/iam/info",
        "/latest/meta-data/iam/security-credentials/reader",
        "/latest/meta-data/instance-id",
    ] {
        assert_refused(&node.get(READER, target).await, 401, "token is required");
    }
    let token = node.token(READER).await;
    assert_eq!(node.roles_with(READER, &token).await.status, 200);
}
