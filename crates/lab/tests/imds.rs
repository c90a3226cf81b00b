//! The lab's IMDS answers as AWS's does.

use podiam_lab::aws::{Aws, CANARY, Config, TokenPolicy};
use podiam_lab::wire::{self, Answer};
use tokio::net::TcpStream;

const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "X-aws-ec2-metadata-token";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

#[allow(clippy::unwrap_used, reason = "a test's helper")]
async fn ask(aws: &Aws, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    let stream = TcpStream::connect(aws.imds_addr).await.unwrap();
    let request = wire::request(method, target, "169.254.169.254", headers);
    wire::once(stream, &request).await.unwrap()
}

#[tokio::test]
async fn every_mistake_with_a_token_has_its_status() {
    let aws = Aws::start(Config {
        tokens: TokenPolicy::Required,
        ..Config::default()
    })
    .await
    .unwrap();
    let token = ask(&aws, "PUT", "/latest/api/token", &[(TTL, "60")]).await;
    assert_eq!((token.status, token.header(TTL)), (200, Some("60")));
    let good = token.text();
    for (method, target, headers, status) in [
        ("PUT", "/latest/api/token", vec![], 400),
        ("PUT", "/latest/api/token", vec![(TTL, "0")], 400),
        ("PUT", "/latest/api/token", vec![(TTL, "21601")], 400),
        ("PUT", "/latest/api/token", vec![(TTL, "a")], 400),
        (
            "PUT",
            "/latest/api/token",
            vec![(TTL, "60"), ("X-Forwarded-For", "10.0.0.1")],
            403,
        ),
        ("GET", "/latest/api/token", vec![], 405),
        ("POST", ROLES, vec![(TOKEN, good.as_str())], 405),
        ("GET", ROLES, vec![], 401),
        ("GET", ROLES, vec![(TOKEN, "no-such-token")], 401),
        ("GET", ROLES, vec![(TOKEN, good.as_str())], 200),
        ("HEAD", ROLES, vec![(TOKEN, good.as_str())], 200),
        (
            "GET",
            "/latest/meta-data/nothing",
            vec![(TOKEN, good.as_str())],
            404,
        ),
    ] {
        let answer = ask(&aws, method, target, &headers).await;
        assert_eq!(answer.status, status, "{method} {target} {headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_when_its_lifetime_does() {
    let aws = Aws::start(Config::default()).await.unwrap();
    let token = ask(&aws, "PUT", "/latest/api/token", &[(TTL, "60")])
        .await
        .text();
    tokio::time::advance(std::time::Duration::from_secs(59)).await;
    assert_eq!(
        ask(&aws, "GET", ROLES, &[(TOKEN, &token)]).await.status,
        200
    );
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    assert_eq!(
        ask(&aws, "GET", ROLES, &[(TOKEN, &token)]).await.status,
        401,
        "also where v1 is allowed"
    );
    assert_eq!(ask(&aws, "GET", ROLES, &[]).await.status, 200);
}

#[tokio::test]
async fn the_nodes_credentials_are_there_to_be_leaked() {
    let aws = Aws::start(Config::default()).await.unwrap();
    assert_eq!(ask(&aws, "GET", ROLES, &[]).await.text(), "lab-node-role");
    for target in [
        &format!("{ROLES}lab-node-role"),
        "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
    ] {
        let body: serde_json::Value =
            serde_json::from_slice(&ask(&aws, "GET", target, &[]).await.body).unwrap();
        for key in ["AccessKeyId", "SecretAccessKey", "Token"] {
            assert!(
                body[key].as_str().unwrap().contains(CANARY),
                "{target} {key}"
            );
        }
        assert_eq!(body["Code"], "Success");
    }
    assert!(
        ask(&aws, "GET", "/latest/user-data", &[])
            .await
            .contains(CANARY)
    );
}

#[tokio::test]
async fn the_log_shows_what_came_in_byte_for_byte() {
    let aws = Aws::start(Config::default()).await.unwrap();
    ask(
        &aws,
        "GET",
        "/latest//meta-data/%2e%2e/user-data?x=1",
        &[("X-Test", "Value")],
    )
    .await;
    let [request] = aws.imds_requests().try_into().unwrap();
    assert_eq!(request.target, "/latest//meta-data/%2e%2e/user-data?x=1");
    assert!(request.headers.contains(&("x-test".into(), "Value".into())));
    assert_eq!(request.status, Some(200));
}
