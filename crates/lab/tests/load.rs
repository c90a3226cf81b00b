//! The load generator believes no answer that it has not checked.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use podiam_lab::aws::{Aws, Config, Fault, Injection, Service};
use podiam_lab::floor::Floor;
use podiam_lab::load::{Amount, Load, Reuse};
use podiam_lab::wire;
use tokio::net::TcpListener;

fn load(target: std::net::SocketAddr) -> Load {
    Load {
        target,
        request: wire::request(
            "GET",
            "/latest/meta-data/instance-id",
            "169.254.169.254",
            &[],
        )
        .into(),
        status: 200,
        body: None,
        connections: 4,
        reuse: Reuse::KeepAlive,
        sources: Vec::new(),
        amount: Amount::Requests(200),
    }
}

#[tokio::test]
async fn it_asks_exactly_as_often_as_it_is_told_and_from_every_source() {
    for reuse in [Reuse::KeepAlive, Reuse::Never] {
        let aws = Aws::start(Config::default()).await.unwrap();
        let sources: Vec<IpAddr> = (2..=5).map(|n| IpAddr::from([127, 0, 0, n])).collect();
        let body = Some(Bytes::from("i-0aab1ab1ab1ab1ab1"));
        let report = Load {
            sources: sources.clone(),
            reuse,
            body,
            ..load(aws.imds_addr)
        }
        .run()
        .await
        .unwrap();
        assert_eq!(
            (report.right, report.wrong, report.first_problem),
            (200, 0, None)
        );
        assert_eq!(report.latency.len(), 200);
        let requests = aws.imds_requests();
        assert_eq!(requests.len(), 200);
        assert!(
            sources
                .iter()
                .all(|source| requests.iter().any(|request| request.peer.ip() == *source))
        );
        let mut peers: Vec<_> = requests.iter().map(|request| request.peer).collect();
        peers.sort_unstable();
        peers.dedup();
        match reuse {
            Reuse::KeepAlive => assert_eq!(peers.len(), 4),
            // The kernel may deal out a port a second time.
            Reuse::Never => assert!(peers.len() > 190, "{}", peers.len()),
        }
    }
}

#[tokio::test]
async fn wrong_bodies_wrong_statuses_and_broken_connections_are_counted_and_told() {
    for (fault, told) in [
        (Fault::Garbage, "not what you asked for"),
        (Fault::Status(503), "status 503"),
        (Fault::Reset, "reset"),
    ] {
        let aws = Aws::start(Config::default()).await.unwrap();
        aws.inject(Service::Imds, Injection::fault(fault).times(3));
        let body = Some(Bytes::from("i-0aab1ab1ab1ab1ab1"));
        let report = Load {
            body,
            ..load(aws.imds_addr)
        }
        .run()
        .await
        .unwrap();
        assert_eq!((report.right, report.wrong), (197, 3), "{fault:?}");
        let problem = report.first_problem.unwrap();
        assert!(problem.contains(told), "{problem}");
    }
}

#[tokio::test]
async fn the_floor_gives_the_body_and_headers_that_it_was_given() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let headers = vec![("server".parse().unwrap(), "EC2ws".parse().unwrap())];
    tokio::spawn(
        Floor {
            body: "{}".into(),
            headers,
        }
        .serve(listener),
    );
    let amount = Amount::For(Duration::from_millis(20));
    let report = Load {
        body: Some("{}".into()),
        amount,
        ..load(target)
    }
    .run()
    .await
    .unwrap();
    assert!(report.right > 0 && report.wrong == 0, "{report:?}");
    let stream = tokio::net::TcpStream::connect(target).await.unwrap();
    let answer = wire::once(stream, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.unwrap().header("server"), Some("EC2ws"));
}

#[tokio::test]
async fn it_tells_how_long_the_answers_took() {
    let aws = Aws::start(Config::default()).await.unwrap();
    let delay = Duration::from_millis(30);
    aws.inject(Service::Imds, Injection::delay(delay));
    let report = Load {
        amount: Amount::Requests(8),
        ..load(aws.imds_addr)
    }
    .run()
    .await
    .unwrap();
    assert_eq!(report.right, 8);
    assert!(
        report.within(0.0) >= delay * 99 / 100,
        "{:?}",
        report.within(0.0)
    );
    assert!(report.within(1.0) < delay * 100, "{:?}", report.within(1.0));
}
