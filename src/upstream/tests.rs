use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::Method;
use hyper::header::HeaderName;
use tokio::time::Instant;

use super::responder::{Answer, Received, Responder, answer};
use super::*;

const HOSTNAME: &str = "/latest/meta-data/public-hostname";
const INSTANCE_ID: &str = "/latest/meta-data/instance-id";
const PUT: &str = "PUT /latest/api/token";

/// A metadata service that issues `token-1`, `token-2` ... and answers every path with its last part.
struct Imds {
    issued: AtomicUsize,
    refuses_before: AtomicUsize,
}

impl Imds {
    fn respond(&self, request: &Received) -> Answer {
        if request.method == Method::PUT {
            let number = self.issued.fetch_add(1, Ordering::SeqCst) + 1;
            return answer(200, format!("token-{number}"));
        }
        let token: usize = request
            .header("x-aws-ec2-metadata-token")
            .and_then(|token| token.strip_prefix("token-"))
            .and_then(|number| number.parse().ok())
            .unwrap_or(0);
        if token <= self.refuses_before.load(Ordering::SeqCst) {
            return answer(401, "");
        }
        match request.path.rsplit('/').next() {
            Some("absent") => answer(404, ""),
            Some("broken") => answer(500, "oops"),
            Some("moved") => answer(307, "").with_header("location", INSTANCE_ID),
            Some("large") => answer(200, vec![b'x'; BODY_LIMIT + 1]),
            last => answer(200, last.unwrap_or_default().to_owned()),
        }
    }
}

async fn start() -> (Arc<Imds>, Responder, Upstream) {
    let imds = Arc::new(Imds {
        issued: AtomicUsize::new(0),
        refuses_before: AtomicUsize::new(0),
    });
    let handler = Arc::clone(&imds);
    let server = Responder::start(move |request| handler.respond(request)).await;
    let upstream = Upstream::new(&server.authority()).unwrap();
    (imds, server, upstream)
}

async fn body(upstream: &Upstream, path: &str) -> Option<String> {
    let document = upstream.get(path).await.unwrap()?;
    Some(String::from_utf8(document.body.to_vec()).unwrap())
}

#[tokio::test]
async fn one_token_of_six_hours_serves_all_requests() {
    let (_imds, server, upstream) = start().await;
    assert_eq!(
        body(&upstream, HOSTNAME).await.unwrap(),
        "public-hostname".to_owned()
    );
    body(&upstream, HOSTNAME).await;
    let get = format!("GET {HOSTNAME}");
    assert_eq!(server.lines(), [PUT, &get, &get]);
    let received = server.received();
    assert_eq!(
        received[0].header("x-aws-ec2-metadata-token-ttl-seconds"),
        Some("21600")
    );
    assert_eq!(
        received[2].header("x-aws-ec2-metadata-token"),
        Some("token-1")
    );
}

#[tokio::test]
async fn a_request_carries_the_token_and_host_and_nothing_else() {
    let (_imds, server, upstream) = start().await;
    body(&upstream, HOSTNAME).await;
    let received = server.received();
    let mut names: Vec<_> = received[1].headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["host", "x-aws-ec2-metadata-token"]);
    assert_eq!(received[1].header("host"), Some(&*server.authority()));
}

#[tokio::test]
async fn many_first_requests_share_one_token_request() {
    let (_imds, server, upstream) = start().await;
    let upstream = Arc::new(upstream);
    let requests = (0..50).map(|_| {
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move { body(&upstream, HOSTNAME).await })
    });
    for request in futures::future::join_all(requests).await {
        assert!(request.unwrap().is_some());
    }
    let puts = server.lines().iter().filter(|line| *line == PUT).count();
    assert_eq!(puts, 1);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_the_request_asked_again() {
    let (imds, server, upstream) = start().await;
    body(&upstream, HOSTNAME).await;
    imds.refuses_before.store(1, Ordering::SeqCst);
    assert!(body(&upstream, HOSTNAME).await.is_some());
    let get = format!("GET {HOSTNAME}");
    assert_eq!(server.lines(), [PUT, &get, &get, PUT, &get]);

    imds.refuses_before.store(99, Ordering::SeqCst);
    let error = upstream.get(HOSTNAME).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unauthorized), "{error:?}");
    assert_eq!(server.lines().len(), 8);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let (_imds, server, upstream) = start().await;
    body(&upstream, HOSTNAME).await;
    // Paused only to jump: while requests run, the clock must not race ahead of the sockets.
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(355)).await;
    tokio::time::resume();
    body(&upstream, HOSTNAME).await;
    assert_eq!(
        server
            .received()
            .last()
            .unwrap()
            .header("x-aws-ec2-metadata-token"),
        Some("token-2")
    );
}

#[tokio::test]
async fn an_absent_document_is_none_and_asked_for_again() {
    let (_imds, server, upstream) = start().await;
    let path = "/latest/meta-data/absent";
    assert_eq!(body(&upstream, path).await, None);
    assert_eq!(body(&upstream, path).await, None);
    assert_eq!(server.lines().len(), 3);
}

#[tokio::test]
async fn an_immutable_document_is_asked_for_once_even_by_many_at_once() {
    let (_imds, server, upstream) = start().await;
    let asked = futures::future::join_all((0..20).map(|_| upstream.instance_id())).await;
    for id in asked {
        assert_eq!(id.unwrap().unwrap(), "instance-id");
    }
    assert_eq!(server.lines(), [PUT, &format!("GET {INSTANCE_ID}")]);
}

#[tokio::test]
async fn an_error_on_an_immutable_document_is_not_remembered() {
    let (imds, _server, upstream) = start().await;
    imds.refuses_before.store(99, Ordering::SeqCst);
    assert!(upstream.instance_id().await.is_err());
    imds.refuses_before.store(0, Ordering::SeqCst);
    assert_eq!(
        upstream.instance_id().await.unwrap().unwrap(),
        "instance-id"
    );
}

#[tokio::test]
async fn a_redirect_is_an_error_and_never_followed() {
    let (_imds, server, upstream) = start().await;
    let error = upstream.get("/latest/meta-data/moved").await.unwrap_err();
    assert!(
        matches!(error, UpstreamError::Status { status } if status == 307),
        "{error:?}"
    );
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let (_imds, _server, upstream) = start().await;
    let error = upstream.get("/latest/meta-data/large").await.unwrap_err();
    assert!(matches!(error, UpstreamError::TooLarge), "{error:?}");
}

#[tokio::test]
async fn a_server_error_is_an_error_and_not_an_absent_document() {
    let (_imds, _server, upstream) = start().await;
    let error = upstream.get("/latest/meta-data/broken").await.unwrap_err();
    assert!(
        matches!(error, UpstreamError::Status { status } if status == 500),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hanging_service_is_given_up_after_one_second() {
    let server = Responder::start(|_| Answer::Never).await;
    let upstream = Upstream::new(&server.authority()).unwrap();
    let start = Instant::now();
    let error = upstream.get(INSTANCE_ID).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout), "{error:?}");
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[tokio::test]
async fn a_service_that_is_switched_off_is_said_to_be() {
    let server = Responder::start(|_| answer(403, "")).await;
    let upstream = Upstream::new(&server.authority()).unwrap();
    let error = upstream.get(INSTANCE_ID).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Disabled), "{error:?}");
}

#[tokio::test]
async fn what_cannot_stand_in_a_request_line_is_never_sent() {
    let (_imds, server, upstream) = start().await;
    for path in ["", "no-slash", "/a b", "/a\r\nX-Forwarded-For: 1"] {
        let error = upstream.get(path).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Path { .. }), "{path:?}");
    }
    assert!(server.lines().is_empty());
}

#[tokio::test]
async fn the_base_arn_and_the_nodes_role_are_discovered_as_kube2iam_does() {
    let server = Responder::start(|request| match &*request.path {
        "/latest/api/token" => answer(200, "token"),
        "/latest/meta-data/iam/info" => answer(
            200,
            r#"{"Code":"Success","InstanceProfileArn":"arn:aws-us-gov:iam::123456789012:instance-profile/k/nodes"}"#,
        ),
        "/latest/meta-data/iam/security-credentials/" => answer(200, "node-role\n"),
        _ => answer(404, ""),
    })
    .await;
    let upstream = Upstream::new(&server.authority()).unwrap();
    assert_eq!(
        upstream.base_arn().await.unwrap().unwrap().to_string(),
        "arn:aws-us-gov:iam::123456789012:role/"
    );
    assert_eq!(
        upstream.node_role_name().await.unwrap().unwrap(),
        "node-role"
    );
    assert_eq!(upstream.region().await.unwrap(), None);
}
