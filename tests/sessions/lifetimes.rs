//! Unmodified SDKs over several lifetimes. Sessions live for seconds, so what SDKs do minutes before the end is scaled down
//! likewise; STS refuses whatever is signed with an expired key, so a session that is served too long is an error.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use aws_credential_types::provider::ProvideCredentials;

use super::support::agent::{Agent, Host};
use super::support::manifest::{Folder, pod};
use super::support::moto::Moto;
use super::support::parts::{Part, program};
use super::support::process::Process;
use super::support::road::Road;
use super::support::{PATIENCE, rust_sdk};
use super::{PACE, served};

const LIFETIME: Duration = Duration::from_secs(6);
/// Sessions that each SDK must have used.
const SESSIONS: usize = 4;

/// One client for all calls. botocore refreshes 15 minutes before the end, tries hard from 10 minutes on, and stretches what
/// is shorter than that by itself; an hour being 6 s here, those are 1.5 s and 1 s, and nothing is stretched.
const BOTO3: &str = r#"
import sys, time, boto3, botocore.credentials as credentials, botocore.utils as utils
credentials.RefreshableCredentials._advisory_refresh_timeout = 1.5
credentials.RefreshableCredentials._mandatory_refresh_timeout = 1
utils.InstanceMetadataFetcher._evaluate_expiration = lambda self, credentials: None
session = boto3.session.Session()
sts, keys = session.client("sts"), set()
while len(keys) < int(sys.argv[1]):
    key = session.get_credentials().get_frozen_credentials().access_key
    arn = sts.get_caller_identity()["Arn"]
    assert ":assumed-role/lasting/" in arn, arn
    keys.add(key)
    time.sleep(0.05)
print("used", len(keys))
"#;

#[tokio::test]
async fn boto3_and_the_rust_sdk_live_through_several_lifetimes_without_one_error() {
    let moto = Moto::shared().await;
    let road = Road::to(moto.address(), LIFETIME).await;
    // Whoever connects on loopback without choosing an address comes from 127.0.0.1.
    let manifests = Folder::new(&[pod("lasting", "127.0.0.1").role("lasting")]);
    let agent = Agent::start_at(
        Host::Loopback(Ipv4Addr::new(127, 0, 0, 2)),
        &road.url(),
        &[&format!("--workloads={}", manifests.path().display())],
    );
    agent.ready().await;
    served(&agent, "127.0.0.1", "lasting").await;
    let endpoint = format!("http://{}", agent.pods);

    let mut python = Command::new("env");
    python
        .arg("-i")
        .args(["HOME=/nonexistent", "AWS_DEFAULT_REGION=eu-central-1"])
        // An error is an error: nothing may be retried away.
        .arg("AWS_MAX_ATTEMPTS=1")
        .arg(format!("AWS_ENDPOINT_URL_STS={}", road.url()))
        .arg(format!("AWS_EC2_METADATA_SERVICE_ENDPOINT={endpoint}"))
        .arg(program(Part::Python))
        .args(["-c", BOTO3, &SESSIONS.to_string()]);
    let boto3 = Process::spawn("boto3", &python);
    tokio::join!(used(&boto3), rust(&endpoint, &road));

    let calls = moto.assumptions("lasting").len();
    assert!(
        (SESSIONS..=SESSIONS + 6).contains(&calls),
        "{calls} calls for {SESSIONS} sessions that both SDKs share"
    );
}

/// Waits until the script says that it is done; it ends where it meets an error.
async fn used(boto3: &Process) {
    boto3.logs(&format!("used {SESSIONS}")).await;
}

/// The same in Rust: one client, and an error panics.
async fn rust(endpoint: &str, road: &Road) {
    let client = rust_sdk::sts(endpoint, &road.url(), Duration::from_secs(1));
    let provider = rust_sdk::credentials(endpoint);
    let mut keys = BTreeSet::new();
    let work = async {
        while keys.len() < SESSIONS {
            let identity = client.get_caller_identity().send().await.unwrap();
            let arn = identity.arn().unwrap();
            assert!(arn.contains(":assumed-role/lasting/"), "{arn}");
            let now = provider.provide_credentials().await.unwrap();
            keys.insert(now.access_key_id().to_owned());
            tokio::time::sleep(PACE).await;
        }
    };
    tokio::time::timeout(PATIENCE, work).await.unwrap();
}
