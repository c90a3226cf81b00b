//! The lab's STS answers as AWS's Query API does, logs what it was asked, and fails as it is told to.

use std::io;
use std::time::Duration;

use podiam_lab::aws::{Aws, Config, Fault, Injection, Now, Record, Service, Trust};
use podiam_lab::wire::{self, Answer};
use tokio::net::TcpStream;

const ROLE: &str = "arn:aws:iam::123456789012:role/team/reader";

async fn post(aws: &Aws, form: &str, key: &str, token: &str) -> io::Result<Answer> {
    let credential = format!(
        "AWS4-HMAC-SHA256 Credential={key}/20260101/eu-west-1/sts/aws4_request, Signature=0"
    );
    let length = form.len().to_string();
    let mut headers = vec![
        ("Content-Length", length.as_str()),
        ("X-Amz-Security-Token", token),
    ];
    if !key.is_empty() {
        headers.push(("Authorization", &credential));
    }
    let mut request = wire::request("POST", "/", "sts", &headers);
    request.extend_from_slice(form.as_bytes());
    let stream = TcpStream::connect(aws.sts_addr).await?;
    wire::once(stream, &request).await
}

async fn assume(aws: &Aws, rest: &str) -> io::Result<Answer> {
    let form =
        format!("Action=AssumeRole&Version=2011-06-15&RoleArn={ROLE}&RoleSessionName=pod-1{rest}");
    post(aws, &form, "AKIALAB", "").await
}

#[allow(clippy::unwrap_used, reason = "a test's helper")]
fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let (_, rest) = xml
        .split_once(&format!("<{name}>"))
        .unwrap_or_else(|| panic!("<{name}> in {xml}"));
    rest.split_once('<').unwrap().0
}

#[tokio::test]
async fn assume_role_hands_out_other_credentials_at_each_call_and_knows_whose_they_are() {
    let now = "2026-01-01T00:00:00.9Z".parse().unwrap();
    let aws = Aws::start(Config {
        now: Now::from_fn(move || now),
        ..Config::default()
    })
    .await
    .unwrap();
    let first = assume(&aws, "&DurationSeconds=900&ExternalId=a%2Fb")
        .await
        .unwrap()
        .text();
    let second = assume(&aws, "").await.unwrap().text();
    for name in ["AccessKeyId", "SecretAccessKey", "SessionToken"] {
        assert_ne!(element(&first, name), element(&second, name));
    }
    assert_eq!(element(&first, "AccessKeyId").len(), 20);
    assert_eq!(element(&first, "SecretAccessKey").len(), 40);
    assert_eq!(element(&first, "Expiration"), "2026-01-01T00:15:00Z");
    assert_eq!(element(&second, "Expiration"), "2026-01-01T01:00:00Z");

    let identity = "Action=GetCallerIdentity&Version=2011-06-15";
    let (key, token) = (
        element(&first, "AccessKeyId"),
        element(&first, "SessionToken"),
    );
    let caller = post(&aws, identity, key, token).await.unwrap().text();
    assert_eq!(
        element(&caller, "Arn"),
        "arn:aws:sts::123456789012:assumed-role/reader/pod-1"
    );
    let mixed = post(&aws, identity, key, element(&second, "SessionToken"))
        .await
        .unwrap();
    assert_eq!(
        (mixed.status, element(&mixed.text(), "Code")),
        (403, "InvalidClientTokenId")
    );

    let call = &aws.assume_role_calls()[0];
    assert_eq!(call.role_arn.as_deref(), Some(ROLE));
    assert_eq!(call.role_session_name.as_deref(), Some("pod-1"));
    assert_eq!(call.external_id.as_deref(), Some("a/b"));
    assert_eq!(call.duration_seconds, Some(900));
    assert_eq!(call.access_key_id.as_deref(), Some("AKIALAB"));
    assert_eq!(call.signing_region.as_deref(), Some("eu-west-1"));
    assert_eq!(call.issued.as_ref().unwrap().access_key_id, key);
}

#[tokio::test]
async fn what_aws_refuses_is_refused() {
    let trusts = [(ROLE.to_owned(), Trust::ExternalId("secret-id".into()))].into();
    let aws = Aws::start(Config {
        trusts,
        ..Config::default()
    })
    .await
    .unwrap();
    let node = "ASIALABCANARY0000001";
    let node_token = "LABCANARY-node-session-token-1//////////AAAAAAAAAA==";
    let role = |rest: &str| format!("Action=AssumeRole&Version=2011-06-15&RoleArn={ROLE}&{rest}");
    for (form, key, token, status, code) in [
        (
            role("RoleSessionName=p&ExternalId=secret-id"),
            "AKIALAB",
            "",
            400,
            "ValidationError",
        ),
        (
            role("RoleSessionName=p/d&ExternalId=secret-id"),
            "AKIALAB",
            "",
            400,
            "ValidationError",
        ),
        (
            role("RoleSessionName=pod&ExternalId=secret-id&DurationSeconds=899"),
            "AKIALAB",
            "",
            400,
            "ValidationError",
        ),
        (
            role("RoleSessionName=pod&ExternalId=secret-id&DurationSeconds=3601"),
            node,
            node_token,
            400,
            "ValidationError",
        ),
        (
            role("RoleSessionName=pod&ExternalId=other"),
            "AKIALAB",
            "",
            403,
            "AccessDenied",
        ),
        (
            role("RoleSessionName=pod"),
            "AKIALAB",
            "",
            403,
            "AccessDenied",
        ),
        (
            role("RoleSessionName=pod&ExternalId=secret-id"),
            "",
            "",
            403,
            "MissingAuthenticationToken",
        ),
        (
            role("RoleSessionName=pod&ExternalId=secret-id"),
            node,
            "wrong",
            403,
            "InvalidClientTokenId",
        ),
        (
            "Action=Other&Version=2011-06-15".into(),
            "AKIALAB",
            "",
            400,
            "InvalidAction",
        ),
        (
            "Action=AssumeRole&Version=2011-06-15&RoleSessionName=pod&RoleArn=reader".into(),
            "AKIALAB",
            "",
            400,
            "ValidationError",
        ),
    ] {
        let answer = post(&aws, &form, key, token).await.unwrap();
        assert_eq!(
            (answer.status, element(&answer.text(), "Code")),
            (status, code),
            "{form}"
        );
    }
    let right = post(
        &aws,
        &role("RoleSessionName=pod&ExternalId=secret-id&DurationSeconds=3600"),
        node,
        node_token,
    )
    .await;
    assert_eq!(right.unwrap().status, 200);
}

#[tokio::test]
async fn faults_come_when_ordered_over_http_and_go_when_healed() {
    let aws = Aws::start(Config::default()).await.unwrap();
    let order = |method: &'static str, body: &'static str| {
        let address = aws.sts_addr;
        async move {
            let mut request = wire::request(
                method,
                "/lab/faults",
                "lab",
                &[("Content-Length", &body.len().to_string())],
            );
            request.extend_from_slice(body.as_bytes());
            let stream = TcpStream::connect(address).await.unwrap();
            wire::once(stream, &request).await.unwrap().status
        }
    };
    for (body, status, code) in [
        (
            r#"{"service":"sts","fault":"throttling","times":1}"#,
            400,
            "Throttling",
        ),
        (
            r#"{"service":"sts","fault":"access-denied","times":1,"only":"team/reader"}"#,
            403,
            "AccessDenied",
        ),
        (
            r#"{"service":"sts","fault":{"status":500},"times":1,"delay_ms":1}"#,
            500,
            "InternalFailure",
        ),
    ] {
        assert_eq!(order("POST", body).await, 200, "{body}");
        let answer = assume(&aws, "").await.unwrap();
        assert_eq!(
            (answer.status, element(&answer.text(), "Code")),
            (status, code)
        );
    }
    assert_eq!(
        order("POST", r#"{"service":"sts","fault":"garbage"}"#).await,
        200
    );
    assert!(
        !assume(&aws, "")
            .await
            .unwrap()
            .contains("AssumeRoleResponse")
    );
    assert_eq!(order("DELETE", "").await, 200);
    assert!(
        assume(&aws, "")
            .await
            .unwrap()
            .contains("AssumeRoleResponse")
    );
    assert_eq!(
        order("POST", r#"{"service":"sts","fualt":"hang"}"#).await,
        400,
        "a typing error is no fault"
    );
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let aws = Aws::start(Config::default()).await.unwrap();
    aws.inject(Service::Sts, Injection::fault(Fault::Reset));
    assert_eq!(
        assume(&aws, "").await.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn a_call_that_hangs_is_in_the_log_and_is_answered_when_healed() {
    let aws = Aws::start(Config::default()).await.unwrap();
    aws.inject(Service::Sts, Injection::fault(Fault::Hang));
    let hanging = assume(&aws, "");
    tokio::pin!(hanging);
    tokio::select! {
        _ = &mut hanging => panic!("it does not hang"),
        log = aws.log_until(|log| log.len() == 1) => {
            assert!(matches!(&log[0], Record::Sts(call) if call.status.is_none()));
        }
    }
    aws.heal(Service::Sts);
    let answer = tokio::time::timeout(Duration::from_secs(10), hanging)
        .await
        .unwrap();
    assert_eq!(answer.unwrap().status, 200);
}
