//! Gets pods' requests to the agent, and finds out whether they do: the rules in the kernel and the self-test.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use podiam_intercept::{METADATA_V4, METADATA_V6, Rules, probe};

use crate::authorize::Grant;
use crate::config::{Config, Interception, Listen};
use crate::handover;
use crate::index::Reader;
use crate::interception;
use crate::lifecycle::{Condition, Readiness};
use crate::metrics::Metrics;
use crate::selftest::{self, Prover};

/// Keeps the rules, now that the port listens. They stay when the agent leaves.
pub(super) async fn intercept(
    interception: Interception,
    listen: Listen,
    condition: Condition,
    metrics: Arc<Metrics>,
) {
    let Interception {
        mode,
        interfaces,
        reverse_path,
    } = interception;
    if !mode.writes_rules() {
        return condition.met();
    }
    let rules = Rules::new(METADATA_V4, listen.pods, interfaces)
        .also_to(listen.pods_v6)
        .with_reverse_path(reverse_path);
    let backend = podiam_intercept::open(mode);
    interception::keep(backend, rules, condition, metrics).await;
}

/// Asks every `interval` whether pods' requests get here; from when they should.
pub(super) async fn self_test(
    config: &Config,
    interval: Duration,
    prover: Arc<Prover>,
    pods: Reader<Grant>,
    condition: Condition,
    readiness: Readiness,
    metrics: Arc<Metrics>,
) {
    let (address, own) = (config.listen.pods, config.listen.data_workers);
    let setup = selftest::Setup {
        prover,
        targets: asked_by_pods(&config.listen),
        is_pod: Arc::new(move |address| pods.lookup(address).is_settled()),
        covers_own: covers(&config.interception, probe::OWN_INTERFACE),
        is_shared: Arc::new(move || handover::others(address, own) > 0),
        interval,
    };
    // Before that it could only find what is known: pods' requests do not get here yet.
    readiness.hold(&["pods-port", "interception"]).await;
    selftest::run(setup, condition, metrics).await;
}

/// Where pods ask: at the address of each family in which the agent answers.
fn asked_by_pods(listen: &Listen) -> Vec<SocketAddr> {
    let v4 = listen.pods.is_ipv4().then_some(IpAddr::V4(METADATA_V4));
    let has_v6 = listen.pods.is_ipv6() || listen.pods_v6.is_some();
    let v6 = has_v6.then_some(IpAddr::V6(METADATA_V6));
    let asked = v4.into_iter().chain(v6);
    asked.map(|ip| SocketAddr::new(ip, 80)).collect()
}

/// Whether podiam's rules intercept what comes in on an interface of this name.
fn covers(interception: &Interception, interface: &str) -> bool {
    interception.mode.writes_rules() && interception.interfaces.contains(interface)
}
