use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use podiam_iam::{ExternalId, RoleArn, SessionName};

use super::*;
use crate::authorize::Attributes;
use crate::sts::Kind;
use crate::upstream::responder::{Answer, Received, Responder, answer};

const NOW: &str = "2026-01-01T00:00:00.5Z";

fn grant(external_id: Option<&str>) -> Grant {
    Grant {
        role: RoleArn::parse("arn:aws:iam::123456789012:role/apps/web").unwrap(),
        external_id: external_id.map(|id| ExternalId::parse(id).unwrap()),
        session_name: SessionName::parse("ns-pod-1a2b").unwrap(),
        duration: Duration::from_hours(1),
        attributes: Attributes::default(),
    }
}

fn success() -> Answer {
    answer(
        200,
        r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
        <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/web/ns-pod-1a2b</Arn><AssumedRoleId>A:b</AssumedRoleId></AssumedRoleUser>
        <Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>canary-secret</SecretAccessKey>
        <SessionToken>canary-token</SessionToken><Expiration>2026-01-01T01:00:00Z</Expiration></Credentials>
        </AssumeRoleResult></AssumeRoleResponse>"#,
    )
}

fn failure(status: u16, code: &str) -> Answer {
    answer(
        status,
        format!(
            r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>{code}</Code>
            <Message>told by AWS</Message></Error><RequestId>r</RequestId></ErrorResponse>"#
        ),
    )
}

/// Our client as it is, but with `server` for its endpoint and the test's credentials for the node's.
async fn client_of(server: &Responder) -> Sts {
    let credentials = Credentials::new("ANODEKEY", "node-secret", None, None, "test");
    let config = base(http_client(), Region::new("eu-central-1"))
        .await
        .into_builder()
        .endpoint_url(format!("http://{}", server.authority()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    with_config(&config)
}

fn with_config(config: &SdkConfig) -> Sts {
    let sts = Sts::new(Settings::default(), Clock::held_at(NOW.parse().unwrap()));
    *sts.connection.try_lock().unwrap() = Some(Arc::new(Connection::of(config).unwrap()));
    sts
}

async fn error_of(answers: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> StsError {
    let server = Responder::start(answers).await;
    let sts = client_of(&server).await;
    sts.assume(&grant(None)).await.unwrap_err()
}

#[tokio::test]
async fn a_grant_becomes_a_signed_call_and_its_answer_a_session() {
    let server = Responder::start(|_| success()).await;
    let sts = client_of(&server).await;
    let session = sts.assume(&grant(Some("ext:1/a"))).await.unwrap();
    assert_eq!(session.access_key_id, "ASIAEXAMPLE");
    assert_eq!(session.secret_access_key.expose(), "canary-secret");
    assert_eq!(session.token.expose(), "canary-token");
    assert_eq!(session.expires_at.to_string(), "2026-01-01T01:00:00Z");
    assert_eq!(session.obtained_at.to_string(), "2026-01-01T00:00:00.5Z");

    let received = &server.received()[0];
    for part in [
        "Action=AssumeRole",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fapps%2Fweb",
        "RoleSessionName=ns-pod-1a2b",
        "ExternalId=ext%3A1%2Fa",
        "DurationSeconds=3600",
    ] {
        assert!(received.body.split('&').any(|p| p == part), "{part}");
    }
    let signature = received.header("authorization").unwrap();
    assert!(signature.contains("Credential=ANODEKEY/"), "{signature}");
    assert!(signature.contains("/eu-central-1/sts/"), "{signature}");
}

#[tokio::test]
async fn a_grant_without_an_external_id_sends_none() {
    let server = Responder::start(|_| success()).await;
    let sts = client_of(&server).await;
    sts.assume(&grant(None)).await.unwrap();
    assert!(!server.received()[0].body.contains("ExternalId"));
}

#[tokio::test]
async fn nothing_that_was_not_asked_for_is_sent() {
    let server = Responder::start(|_| success()).await;
    let sts = client_of(&server).await;
    sts.assume(&grant(None)).await.unwrap();
    let body = &server.received()[0].body;
    let mut names: Vec<_> = body
        .split('&')
        .filter_map(|pair| Some(pair.split_once('=')?.0))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "Action",
            "DurationSeconds",
            "RoleArn",
            "RoleSessionName",
            "Version"
        ]
    );
}

#[tokio::test]
async fn a_session_can_be_logged_without_its_secrets() {
    let server = Responder::start(|_| success()).await;
    let session = client_of(&server).await.assume(&grant(None)).await.unwrap();
    let shown = format!("{session:?}");
    assert!(shown.contains("ASIAEXAMPLE"), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
}

#[tokio::test]
async fn errors_are_read_from_the_wire_and_sorted() {
    for (status, code, kind) in [
        (403, "AccessDenied", Kind::Final),
        (400, "ValidationError", Kind::Final),
        (400, "MalformedPolicyDocument", Kind::Final),
        (400, "PackedPolicyTooLarge", Kind::Final),
        (403, "RegionDisabledException", Kind::Final),
        (403, "ExpiredToken", Kind::Transient),
        (403, "InvalidClientTokenId", Kind::Transient),
        (403, "SignatureDoesNotMatch", Kind::Transient),
        (400, "Throttling", Kind::Throttled),
        (503, "ServiceUnavailable", Kind::Transient),
        (500, "InternalFailure", Kind::Transient),
    ] {
        let error = error_of(move |_| failure(status, code)).await;
        assert_eq!((error.code, error.kind), (code, kind));
        assert_eq!(error.message, "told by AWS");
    }
}

#[tokio::test]
async fn an_error_page_of_something_else_is_transient() {
    let error = error_of(|_| answer(403, "<html>a proxy</html>")).await;
    assert_eq!((error.code, error.kind), ("UnknownError", Kind::Transient));
}

#[tokio::test]
async fn the_sdk_asks_once_and_leaves_the_retry_to_us() {
    for status in [400, 500] {
        let server = Responder::start(move |_| failure(status, "Throttling")).await;
        let sts = client_of(&server).await;
        sts.assume(&grant(None)).await.unwrap_err();
        assert_eq!(server.lines(), ["POST /"]);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Responder::start(|_| success()).await;
    let target = format!("http://{}/", other.authority());
    let error = error_of(move |_| answer(307, "").with_header("location", &target)).await;
    assert_eq!(error.kind, Kind::Transient);
    assert!(other.lines().is_empty());
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_transient_and_its_secrets_stay_out_of_the_error() {
    let begin = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId>\
                 <SecretAccessKey>canary-secret</SecretAccessKey>";
    for rest in [
        "",
        "<SessionToken>t</SessionToken><Expiration>soon</Expiration></Credentials>",
        "<SessionToken>t</",
    ] {
        let error = error_of(move |_| answer(200, format!("{begin}{rest}"))).await;
        assert_eq!(
            (error.code, error.kind),
            ("MalformedResponse", Kind::Transient)
        );
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_sts_is_given_up_after_the_attempts_time() {
    let server = Responder::start(|_| Answer::Never).await;
    let sts = client_of(&server).await;
    let start = Instant::now();
    let error = sts.assume(&grant(None)).await.unwrap_err();
    assert_eq!((error.code, error.kind), ("Timeout", Kind::Transient));
    assert!(start.elapsed() <= ATTEMPT_TIMEOUT + Duration::from_millis(10));
}

#[tokio::test]
async fn an_endpoint_that_nobody_serves_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let config = base(http_client(), Region::new("eu-central-1"))
        .await
        .into_builder()
        .endpoint_url(format!("http://{free}"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "A", "s", None, None, "test",
        )))
        .build();
    let error = with_config(&config).assume(&grant(None)).await.unwrap_err();
    assert_eq!((error.code, error.kind), ("Unreachable", Kind::Transient));
}

#[tokio::test]
async fn only_errors_about_the_nodes_credentials_make_it_load_them_anew() {
    for (code, kept) in [
        ("ExpiredToken", false),
        ("InvalidClientTokenId", false),
        ("AccessDenied", true),
    ] {
        let server = Responder::start(move |_| failure(403, code)).await;
        let sts = client_of(&server).await;
        sts.assume(&grant(None)).await.unwrap_err();
        assert_eq!(sts.connection.lock().await.is_some(), kept, "{code}");
    }
}

/// A metadata service with an instance profile, and STS, in one.
fn instance(request: &Received) -> Answer {
    match &*request.path {
        "/latest/api/token" => {
            answer(200, "token").with_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
        }
        "/latest/meta-data/placement/region" => answer(200, "ap-south-1"),
        "/latest/meta-data/iam/security-credentials/" => answer(200, "node-role"),
        "/latest/meta-data/iam/security-credentials/node-role" => answer(
            200,
            r#"{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2026-01-01T00:00:00Z","Expiration":"2999-01-01T00:00:00Z",
            "AccessKeyId":"ANODEROLEKEY","SecretAccessKey":"s","Token":"t"}"#,
        ),
        "/" => success(),
        _ => answer(404, ""),
    }
}

fn settings_of(server: &Responder) -> Settings {
    Settings {
        region: None,
        metadata_address: Some(server.authority()),
        profile: None,
    }
}

/// Expects that no `AWS_*` variable is set for the tests: they stand before the metadata service in the SDK's chain.
#[tokio::test]
async fn region_and_node_credentials_come_from_the_metadata_service_that_was_named() {
    let server = Responder::start(instance).await;
    let config = load(&settings_of(&server)).await.unwrap();
    let config = config
        .into_builder()
        .endpoint_url(format!("http://{}", server.authority()))
        .build();
    let sts = with_config(&config);
    sts.assume(&grant(None)).await.unwrap();
    let received = server.received();
    let signature = received.last().unwrap().header("authorization").unwrap();
    assert!(
        signature.contains("Credential=ANODEROLEKEY/"),
        "{signature}"
    );
    assert!(signature.contains("/ap-south-1/sts/"), "{signature}");
}

#[tokio::test]
async fn a_region_that_was_named_wins_over_the_metadata_services() {
    let server = Responder::start(instance).await;
    let settings = Settings {
        region: Some("eu-south-2".into()),
        ..settings_of(&server)
    };
    let config = load(&settings).await.unwrap();
    assert_eq!(config.region(), Some(&Region::new("eu-south-2")));
    assert!(!server.lines().iter().any(|line| line.ends_with("/region")));
}

#[tokio::test]
async fn without_a_region_nothing_is_asked_and_the_error_says_what_to_set() {
    let server = Responder::start(|request| match &*request.path {
        "/latest/meta-data/placement/region" => answer(404, ""),
        _ => instance(request),
    })
    .await;
    let sts = Sts::new(settings_of(&server), Clock::system());
    let error = sts.assume(&grant(None)).await.unwrap_err();
    assert_eq!((error.code, error.kind), ("NoRegion", Kind::Transient));
    assert!(error.cause.contains("--aws-region"));
}

#[tokio::test]
async fn the_node_can_identify_itself_where_it_has_an_instance_profile_and_sts_is_not_asked() {
    let server = Responder::start(instance).await;
    let sts = Sts::new(settings_of(&server), Clock::system());
    sts.node_identity_usable().await.unwrap();
    let asked = server.lines();
    assert!(!asked.iter().any(|line| line == "POST /"), "{asked:?}");
    sts.node_identity_usable().await.unwrap();
    assert_eq!(server.lines(), asked, "the answer is kept");
}

#[tokio::test]
async fn a_node_without_credentials_is_told_from_an_sts_that_cannot_be_reached() {
    let server = Responder::start(|request| match &*request.path {
        "/latest/meta-data/iam/security-credentials/" => answer(404, ""),
        _ => instance(request),
    })
    .await;
    let sts = Sts::new(settings_of(&server), Clock::system());
    let error = sts.node_identity_usable().await.unwrap_err();
    assert_eq!(error.code, "NoNodeCredentials");
    let error = sts.assume(&grant(None)).await.unwrap_err();
    assert_eq!(
        (error.code, error.kind),
        ("NoNodeCredentials", Kind::Transient)
    );
}

#[tokio::test]
async fn the_nodes_credentials_are_kept_while_valid_when_the_metadata_service_is_down() {
    let down = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&down);
    let server = Responder::start(move |request| match &*request.path {
        "/" => success(),
        _ if switch.load(Ordering::SeqCst) => answer(503, ""),
        _ => instance(request),
    })
    .await;
    let config = load(&settings_of(&server)).await.unwrap();
    let config = config
        .into_builder()
        .endpoint_url(format!("http://{}", server.authority()))
        .build();
    let sts = with_config(&config);
    sts.node_identity().await.unwrap();
    down.store(true, Ordering::SeqCst);
    sts.node_identity().await.unwrap();
    sts.assume(&grant(None)).await.unwrap();
    let asked_in_vain = server.lines().len();
    assert!(asked_in_vain > 4, "the metadata service was asked again");

    let expired = Clock::held_at("2999-01-01T00:00:00Z".parse().unwrap());
    let later = Sts {
        clock: expired,
        ..sts
    };
    assert_eq!(
        later.node_identity().await.unwrap_err().code,
        "NoNodeCredentials"
    );
}
