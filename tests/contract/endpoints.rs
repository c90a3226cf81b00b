//! Which STS is asked: the SDK's own settings hold, through the loader that the agent really uses. Nothing leaves this
//! machine: the names of AWS lead to a listener in a network namespace, which reads whom the agent wants to speak to
//! from its TLS greeting.

use std::process::Command;

use podiam_lab::aws::{Aws, Config};
use podiam_lab::netns::Namespace;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::READER;
use super::support::PATIENCE;
use super::support::agent::{Agent, enter};
use super::support::http::ROLES;
use super::support::manifest::{Folder, pod};

const PROGRAM: &str = env!("CARGO_BIN_EXE_podiam");
/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

/// Every name that STS could be asked by in the region of these tests.
const NAMES: [&str; 6] = [
    "sts.amazonaws.com",
    "sts.us-east-1.amazonaws.com",
    "sts.eu-central-1.amazonaws.com",
    "sts-fips.eu-central-1.amazonaws.com",
    "sts.eu-central-1.api.aws",
    "sts-fips.eu-central-1.api.aws",
];

/// Starts `program` with this environment, and without the endpoint that other tests need.
fn with_environment(mut command: Command, settings: &[(&str, &str)]) -> Command {
    command.args(["-u", "AWS_ENDPOINT_URL_STS"]);
    command.args(
        settings
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    command.arg(PROGRAM);
    command
}

/// The name in whose TLS greeting the agent asks for STS under these settings.
async fn host_asked(settings: &[(&str, &str)]) -> &'static str {
    let manifests = Folder::new(&[pod("reader", READER).role("reader")]);
    let hosts = manifests.path().join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 {}\n", NAMES.join(" "))).unwrap();
    let namespace = Namespace::new().unwrap();
    let listener = namespace.listen(([127, 0, 0, 1], 443).into()).unwrap();

    // A mount namespace in which those names are what /etc/hosts says.
    let mut command = enter(&namespace, "unshare");
    command
        .args(["--mount", "--", "sh", "-c"])
        .arg(r#"mount --bind "$0" /etc/hosts && exec "$@""#)
        .arg(&hosts)
        .arg("env");
    let agent = Agent::start_as(
        with_environment(command, settings),
        NOWHERE,
        &[&format!("--workloads={}", manifests.path().display())],
    );
    let greeting = tokio::time::timeout(PATIENCE, server_name(&listener)).await;
    greeting.unwrap_or_else(|late| panic!("no greeting ({late}):\n{}", agent.process().log()))
}

/// Reads the name that the next client asks for (RFC 6066: type 0, length, name).
async fn server_name(listener: &TcpListener) -> &'static str {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut greeting = Vec::new();
    loop {
        let asked = NAMES.into_iter().find(|name| {
            let length = u16::try_from(name.len()).unwrap().to_be_bytes();
            let entry = [&[0][..], &length, name.as_bytes()].concat();
            greeting.windows(entry.len()).any(|window| window == entry)
        });
        if let Some(asked) = asked {
            assert_eq!(greeting[0], 0x16, "a TLS handshake");
            return asked;
        }
        let more = stream.read_buf(&mut greeting).await.unwrap();
        assert!(more > 0, "the greeting ends without a name: {greeting:?}");
    }
}

#[tokio::test]
async fn sts_is_asked_in_the_region_and_in_the_variant_that_the_sdks_settings_name() {
    let fips = ("AWS_USE_FIPS_ENDPOINT", "true");
    let dual_stack = ("AWS_USE_DUALSTACK_ENDPOINT", "true");
    for (settings, host) in [
        (&[][..], "sts.eu-central-1.amazonaws.com"),
        (&[fips], "sts-fips.eu-central-1.amazonaws.com"),
        (&[dual_stack], "sts.eu-central-1.api.aws"),
        (&[fips, dual_stack], "sts-fips.eu-central-1.api.aws"),
        (
            &[("AWS_USE_FIPS_ENDPOINT", "false")],
            "sts.eu-central-1.amazonaws.com",
        ),
    ] {
        assert_eq!(host_asked(settings).await, host, "{settings:?}");
    }
}

#[tokio::test]
async fn no_proxy_of_the_environment_is_used() {
    let proxies = [
        ("HTTPS_PROXY", NOWHERE),
        ("https_proxy", NOWHERE),
        ("ALL_PROXY", NOWHERE),
    ];
    assert_eq!(host_asked(&proxies).await, "sts.eu-central-1.amazonaws.com");
}

#[tokio::test]
async fn an_endpoint_for_every_service_is_honoured_and_one_for_sts_wins() {
    let aws = Aws::start(Config::default()).await.unwrap();
    let manifests = Folder::new(&[pod("reader", READER).role("reader")]);
    let workloads = format!("--workloads={}", manifests.path().display());
    let url = aws.sts_url();
    for settings in [
        &[("AWS_ENDPOINT_URL", url.as_str())][..],
        &[
            ("AWS_ENDPOINT_URL", NOWHERE),
            ("AWS_ENDPOINT_URL_STS", url.as_str()),
        ],
    ] {
        let before = aws.assume_role_calls().len();
        let command = with_environment(Command::new("env"), settings);
        let agent = Agent::start_as(command, NOWHERE, &[&workloads]);
        agent.ready().await;
        agent.gives(READER, "reader").await;
        let reply = agent.ask(READER, &format!("{ROLES}reader")).await;
        assert_eq!(reply.status, 200, "{settings:?}: {}", reply.body);
        assert_eq!(aws.assume_role_calls().len(), before + 1, "{settings:?}");
    }
}
