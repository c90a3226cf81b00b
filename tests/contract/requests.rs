//! HTTP itself: methods, the Host header, bodies, sizes, times, pipelining.

use std::time::{Duration, Instant};

use podiam_lab::wire;
use serde_json::Value;

use super::support::http::ROLES;
use super::support::node::{IMDS_HOST, Node, TOKEN_PATH, TTL};
use super::{NO_ROLE, READER, UNKNOWN, assert_refused, pods};

#[tokio::test]
async fn only_reading_is_allowed_but_for_the_token() {
    let node = Node::start(&pods(), &[]).await;
    let instance_id = "/latest/meta-data/instance-id";
    for (method, target, allow) in [
        ("GET", TOKEN_PATH, "PUT"),
        ("HEAD", TOKEN_PATH, "PUT"),
        ("POST", TOKEN_PATH, "PUT"),
        ("PUT", ROLES, "GET, HEAD"),
        ("POST", ROLES, "GET, HEAD"),
        ("get", ROLES, "GET, HEAD"),
        ("DELETE", instance_id, "GET, HEAD"),
        ("OPTIONS", instance_id, "GET, HEAD"),
        ("PATCH", "/latest/meta-data/iam/info", "GET, HEAD"),
    ] {
        let answer = node.ask(READER, method, target, &[]).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some(allow)),
            "{method} {target}"
        );
    }
}

#[tokio::test]
async fn head_is_answered_as_get_without_the_body() {
    let node = Node::start(&pods(), &[]).await;
    let mut connection = node.connect(READER).await;
    for target in [
        ROLES,
        "/latest/meta-data/iam/security-credentials/reader",
        "/latest/meta-data/instance-id",
        "/latest/user-data",
    ] {
        let get = connection.get(target).await;
        let head = connection.ask("HEAD", target, &[]).await;
        assert_eq!(head.status, get.status, "{target}");
        for name in ["content-length", "content-type", "server"] {
            assert_eq!(head.header(name), get.header(name), "{target} {name}");
        }
        assert!(head.body.is_empty() && !get.body.is_empty(), "{target}");
    }
}

#[tokio::test]
async fn the_host_header_must_be_the_service_itself() {
    let node = Node::start(&pods(), &[]).await;
    for host in ["169.254.169.254", "169.254.169.254:80", "[fd00:ec2::254]"] {
        let request = wire::request("GET", ROLES, host, &[]);
        let answer = node.connect(READER).await.exchange(&request).await;
        assert_eq!(answer.status, 200, "{host}");
    }
    for host in [
        "metadata.example",
        "169.254.169.254.example",
        "localhost",
        "127.0.0.9",
        "169.254.169.253",
        "",
    ] {
        for (method, target) in [("GET", ROLES), ("PUT", TOKEN_PATH)] {
            let request = wire::request(method, target, host, &[(TTL, "60")]);
            let answer = node.connect(READER).await.exchange(&request).await;
            assert_refused(&answer, 403, "the Host header must be");
        }
    }
    for request in [
        format!("GET {ROLES} HTTP/1.1\r\n\r\n"),
        format!("GET {ROLES} HTTP/1.1\r\nHost: {IMDS_HOST}\r\nHost: {IMDS_HOST}\r\n\r\n"),
    ] {
        let answer = node
            .connect(READER)
            .await
            .exchange(request.as_bytes())
            .await;
        assert_refused(&answer, 400, "Host header");
    }
}

#[tokio::test]
async fn health_is_for_the_node_only_and_administration_is_not_on_this_port() {
    let node = Node::start(&pods(), &["--debug"]).await;
    for target in ["/healthz", "/readyz", "/metrics", "/debug/store"] {
        assert_refused(&node.get(READER, target).await, 404, "not found");
        assert_refused(&node.get(UNKNOWN, target).await, 404, "not found");
    }
    let health = node.get("127.0.0.1", "/healthz").await;
    assert_eq!(health.status, 200);
    assert_eq!(health.header("content-type"), Some("application/json"));
    let document: Value = serde_json::from_slice(&health.body).unwrap();
    assert_eq!(document["hostIP"], "127.0.0.1");
    assert!(
        document["instanceId"].as_str().unwrap().starts_with("i-"),
        "{document}"
    );
    let answer = node.get("127.0.0.1", ROLES).await;
    assert_refused(&answer, 403, "the node's own address");
}

/// Sends these bytes and then nothing: the status of every answer until the agent closes the connection.
async fn statuses_until_the_end(node: &Node, bytes: &str) -> Vec<u16> {
    let mut connection = node.connect(READER).await;
    connection.send(bytes.as_bytes()).await;
    let text = String::from_utf8(connection.rest().await).unwrap();
    text.split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer[..3].parse().unwrap())
        .collect()
}

#[tokio::test]
async fn a_request_with_a_body_is_refused_and_nothing_behind_it_is_read_as_a_request() {
    let node = Node::start(&pods(), &[]).await;
    let hidden = format!("GET {ROLES} HTTP/1.1\r\nHost: {IMDS_HOST}\r\n\r\n");
    let length = hidden.len();
    for headers in [
        format!("Content-Length: {length}"),
        "Content-Length: 5".into(),
        format!("Content-Length: {length}\r\nContent-Length: {length}"),
        format!("Content-Length: 0\r\nContent-Length: {length}"),
        format!("Content-Length: {length}\r\nContent-Length: 0"),
        format!("Content-Length: {length}, {length}"),
        "Content-Length: -1".into(),
        "Content-Length: +0".into(),
        "Transfer-Encoding: chunked".into(),
        "Transfer-Encoding: identity".into(),
        "Transfer-Encoding: xchunked".into(),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"),
    ] {
        for line in [format!("GET {ROLES}"), format!("PUT {TOKEN_PATH}")] {
            let request = format!(
                "{line} HTTP/1.1\r\nHost: {IMDS_HOST}\r\n{TTL}: 60\r\n{headers}\r\n\r\n{hidden}"
            );
            let statuses = statuses_until_the_end(&node, &request).await;
            assert_eq!(statuses, [400], "{line} with {headers:?}");
        }
    }
    let request = format!(
        "POST {ROLES} HTTP/1.1\r\nHost: {IMDS_HOST}\r\nContent-Length: {length}\r\n\r\n{hidden}"
    );
    assert_eq!(statuses_until_the_end(&node, &request).await, [405]);
}

#[tokio::test]
async fn a_content_length_of_zero_is_no_body() {
    let node = Node::start(&pods(), &[]).await;
    let mut connection = node.connect(READER).await;
    let empty = [(TTL, "60"), ("Content-Length", "0")];
    for _ in 0..2 {
        assert_eq!(connection.ask("PUT", TOKEN_PATH, &empty).await.status, 200);
        assert_eq!(connection.ask("GET", ROLES, &empty).await.status, 200);
    }
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_the_connection_closed() {
    let node = Node::start(&pods(), &[]).await;
    for bytes in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\n folded: x\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
    ] {
        let statuses = statuses_until_the_end(&node, bytes).await;
        assert!(
            matches!(statuses[..], [] | [400]),
            "{bytes:?}: {statuses:?}"
        );
    }
}

#[tokio::test]
async fn headers_may_take_eight_kibibytes_and_no_more() {
    let node = Node::start(&pods(), &[]).await;
    let request = |padding: usize| {
        let padding = "x".repeat(padding);
        wire::request("GET", ROLES, IMDS_HOST, &[("X-Padding", &padding)])
    };
    let overhead = request(0).len();
    let mut fits = node.connect(READER).await;
    assert_eq!(
        fits.exchange(&request((8 << 10) - overhead)).await.status,
        200
    );
    for size in [(8 << 10) + 1, 20 << 10, 200 << 10] {
        let mut connection = node.connect(READER).await;
        let answer = connection.exchange(&request(size - overhead)).await;
        assert_eq!(answer.status, 431, "{size}");
        assert!(connection.rest().await.is_empty(), "closed");
    }
}

#[tokio::test]
async fn requests_that_come_in_one_segment_are_answered_each_and_in_their_order() {
    let node = Node::start(&pods(), &[]).await;
    let targets = [
        ("GET", "/latest/meta-data/instance-id", 200),
        ("GET", ROLES, 200),
        ("GET", "/latest/user-data", 404),
        ("PUT", TOKEN_PATH, 200),
        (
            "GET",
            "/latest/meta-data/iam/security-credentials/reader",
            200,
        ),
        (
            "GET",
            "/latest/meta-data/iam/security-credentials/writer",
            403,
        ),
        ("DELETE", ROLES, 405),
        ("GET", ROLES, 200),
    ];
    let segment: Vec<u8> = targets
        .iter()
        .flat_map(|(method, target, _)| wire::request(method, target, IMDS_HOST, &[(TTL, "60")]))
        .collect();
    let mut alone = Vec::new();
    for (method, target, _) in targets {
        alone.push(node.ask(READER, method, target, &[(TTL, "60")]).await);
    }
    let mut connection = node.connect(READER).await;
    connection.send(&segment).await;
    for ((method, target, status), alone) in targets.into_iter().zip(alone) {
        let answer = connection.answer().await;
        assert_eq!(answer.status, status, "{method} {target}");
        // A token has its time in it.
        if method != "PUT" {
            assert_eq!(answer.text(), alone.text(), "{method} {target}");
        }
    }
}

#[tokio::test]
async fn a_request_that_waits_does_not_let_the_next_one_overtake_it() {
    let node = Node::start(&pods(), &[]).await;
    let mut connection = node.connect(UNKNOWN).await;
    let waits = wire::request("GET", ROLES, IMDS_HOST, &[]);
    let quick = wire::request("GET", "/nowhere", IMDS_HOST, &[]);
    connection.send(&[waits, quick].concat()).await;
    assert_refused(&connection.answer().await, 503, "no pod is known");
    assert_refused(&connection.answer().await, 404, "not found");
}

#[tokio::test]
async fn a_connection_is_kept_as_long_as_the_client_wants_it() {
    let node = Node::start(&pods(), &[]).await;
    let mut connection = node.connect(NO_ROLE).await;
    for _ in 0..100 {
        assert_refused(&connection.get(ROLES).await, 404, "no annotation");
        let answer = connection.get("/latest/meta-data/instance-id").await;
        assert_eq!(answer.status, 200);
    }
    let close = [("Connection", "close")];
    let answer = connection.ask("GET", ROLES, &close).await;
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(connection.rest().await.is_empty());

    let mut old = node.connect(READER).await;
    let request = format!("GET {ROLES} HTTP/1.0\r\n\r\n");
    old.send(request.as_bytes()).await;
    let text = String::from_utf8(old.rest().await).unwrap();
    assert!(
        text.starts_with("HTTP/1.0 200 OK") && text.ends_with("\r\n\r\nreader"),
        "{text}"
    );
}

#[tokio::test]
async fn a_header_that_is_begun_must_end_within_five_seconds_while_a_connection_may_be_idle_for_longer()
 {
    let node = Node::start(&pods(), &[]).await;
    let mut idle = node.connect(READER).await;
    assert_eq!(idle.get(ROLES).await.text(), "reader");
    let mut used = node.connect(READER).await;
    assert_eq!(used.get(ROLES).await.text(), "reader");

    let started = Instant::now();
    let silent = node.connect(READER).await;
    let mut half = node.connect(READER).await;
    half.send(b"GET /latest/meta-data/ HTTP/1.1\r\nHost: 169.254")
        .await;
    used.send(b"GET /latest/meta-data/ HTTP/1.1\r\n").await;
    for slow in [silent, half, used] {
        assert!(slow.rest().await.is_empty(), "closed without a word");
        let took = started.elapsed();
        assert!(
            took >= Duration::from_millis(4900) && took < Duration::from_secs(8),
            "{took:?}"
        );
    }
    assert_eq!(idle.get(ROLES).await.text(), "reader", "idle all the while");
}
