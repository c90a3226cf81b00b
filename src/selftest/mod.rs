//! Whether the kernel brings pods' requests to this process: asked from where pods are, at the address that they ask.
//!
//! [`run`] asks every minute for something that only this process can answer, through `probe`; `imds` answers it with
//! the [`Prover`]; /readyz, a metric and the log tell what came of it. It changes no rule.

mod probe;
mod proof;
mod verdict;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::Condition;
use crate::metrics::Metrics;

pub use proof::{NoRandom, Nonce, Prover};

pub(crate) use verdict::{Finding, Verdict};

/// Between two tests while pods' requests do not get here.
const WHEN_WRONG: Duration = Duration::from_secs(1);

/// What the self-test needs to know.
pub struct Setup {
    /// What only this process can answer with.
    pub prover: Arc<Prover>,
    /// Where pods ask: the address of each family that is intercepted.
    pub targets: Vec<SocketAddr>,
    /// Whether an address is a pod's.
    pub is_pod: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// Whether the rules must hold for a link of our own too: those that podiam writes do, unless its interface is
    /// left out; nobody knows that of others' rules.
    pub covers_own: bool,
    /// Whether another process of this node listens where we do, as in a hand-over.
    pub is_shared: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Between two tests. While requests do not get here, a second at most.
    pub interval: Duration,
}

/// Looks once, for who is no agent: from the namespaces of pods alone, and with the answer of any agent. Blocks for a few
/// seconds at most; makes nothing on the node.
pub(crate) fn look(
    targets: Vec<SocketAddr>,
    is_pod: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
) -> Result<Verdict, NoRandom> {
    let setup = Setup {
        prover: Arc::new(Prover::new()?),
        targets,
        is_pod,
        covers_own: false,
        is_shared: Arc::new(|| true),
        interval: Duration::ZERO,
    };
    Ok(probe::look(&setup))
}

/// Tests for ever. The caller has seen to it that the port listens and the rules are written.
pub async fn run(setup: Setup, condition: Condition, metrics: Arc<Metrics>) {
    let setup = Arc::new(setup);
    let mut last = None;
    loop {
        let testing = Arc::clone(&setup);
        let verdict = match tokio::task::spawn_blocking(move || probe::test(&testing)).await {
            Ok(verdict) => verdict,
            Err(error) => Verdict::unknown(format!("the test broke off: {error}")),
        };
        report(&verdict, &mut last, &condition, &metrics);
        let pause = match verdict.finding {
            Finding::Intercepted | Finding::Unknown => setup.interval,
            Finding::Bypassed | Finding::Closed => setup.interval.min(WHEN_WRONG),
        };
        tokio::time::sleep(pause).await;
    }
}

/// Ready is who answers pods, and who cannot know; never one whose pods ask somebody else.
fn report(verdict: &Verdict, last: &mut Option<Finding>, condition: &Condition, metrics: &Metrics) {
    let Verdict { finding, detail } = verdict;
    metrics
        .interception
        .set_state(finding.name(), &Finding::NAMES);
    let state = finding.name();
    if last.replace(*finding) == Some(*finding) {
        tracing::debug!(state, "self-test, as before: {detail}");
    } else {
        match finding {
            Finding::Intercepted => tracing::info!(state, "self-test: {detail}"),
            Finding::Unknown | Finding::Closed => tracing::warn!(state, "self-test: {detail}"),
            Finding::Bypassed => tracing::error!(state, "self-test: {detail}"),
        }
    }
    match finding {
        Finding::Intercepted | Finding::Unknown => condition.met(),
        Finding::Bypassed | Finding::Closed => {
            condition.missing(format!("{state}: {detail}"));
        }
    }
}
