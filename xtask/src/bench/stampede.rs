//! `cargo xtask bench`, section `stampede`: many pods at once, a slow STS, an STS that hangs, and a new process that warms.
//! STS is the lab's, by TLS, and as slow as each figure says.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::stage::{Stage, Way};

/// Pods that ask at once.
const CROWD: u16 = 500;
/// Pods of a new process: the default limit of a kubelet.
const PODS: u16 = 110;
/// Longer than the agent keeps an idle connection to STS, so that the stampede begins with a handshake.
const UNTIL_COLD: Duration = Duration::from_secs(22);
/// A refusal is remembered this long, and the first request after it asks STS: that is how pods that are known can be
/// without credentials at a moment of our choice.
const FORGETFUL: &str = "--iam-role-error-ttl=2s";
const REFUSE: &str = r#"{"service": "sts", "fault": "access-denied"}"#;
const SLOW: &str = r#"{"service": "sts", "delay_ms": 50}"#;
const HANG: &str = r#"{"service": "sts", "fault": "hang"}"#;

/// One figure and what is wanted of it.
pub(super) struct Figure {
    pub(super) what: &'static str,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    /// The most that is wanted; `None`: it is for information.
    pub(super) bar: Option<f64>,
}

impl Figure {
    pub(super) fn misses(&self) -> bool {
        self.bar.is_some_and(|bar| self.value > bar)
    }
}

/// Measures everything.
pub(super) async fn run(release: &Path) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    println!("  a new process warms {PODS} pods");
    figures.push(warm(release, &[], "warm 110 pods, default budget").await?);
    let unlimited = ["--sts-rate=0", "--sts-concurrency=0"];
    figures.push(warm(release, &unlimited, "warm 110 pods, no budget").await?);
    println!("  first requests of pods seen a second before");
    figures.push(first_requests(release).await?);
    println!("  {CROWD} pods at once, one role");
    figures.extend(one_role(release).await?);
    println!("  {CROWD} pods at once, {CROWD} roles");
    figures.extend(distinct_roles(release).await?);
    println!("  an STS that hangs");
    figures.push(hanging(release).await?);
    Ok(figures)
}

/// From the start of the process until every pod has credentials.
async fn warm(release: &Path, flags: &[&str], what: &'static str) -> Result<Figure> {
    let stage = Stage::new(release, Duration::from_millis(50))?;
    stage.run_pods(PODS, own)?;
    let started = Instant::now();
    let _agent = stage.agent(flags)?;
    stage.until(READY, f64::from(PODS)).await?;
    Ok(Figure {
        what,
        value: milliseconds(started.elapsed()),
        unit: "ms",
        bar: None,
    })
}

/// Pods come by fifteen a second, and each asks when it has been there for a second.
async fn first_requests(release: &Path) -> Result<Figure> {
    const ROUND: u16 = 15;
    let stage = Stage::new(release, Duration::from_millis(200))?;
    stage.run_pods(0, own)?;
    let _agent = stage.agent(&[])?;
    let mut ways = Vec::new();
    for known in (0..14 * ROUND).step_by(usize::from(ROUND)) {
        let count = known + ROUND;
        stage.run_pods(count, own)?;
        stage.until("podiam_credentials{", f64::from(count)).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let new: Vec<_> = (known..count).map(|pod| (pod, own(pod))).collect();
        ways.extend(stage.ask_each(&new).await?);
    }
    Ok(Figure {
        what: "first request, pod seen 1 s before, STS 200 ms, p99",
        value: p99(&ways),
        unit: "ms",
        bar: Some(5.0),
    })
}

async fn one_role(release: &Path) -> Result<Vec<Figure>> {
    let shared = |_| "shared".to_owned();
    let stage = Stage::new(release, Duration::ZERO)?;
    let flags = ["--session=role", FORGETFUL];
    let (ways, calls, _) = stampede(&stage, shared, 1, &flags).await?;
    Ok(vec![
        Figure {
            what: "500 pods at once, one role, STS 50 ms: p99",
            value: p99(&ways),
            unit: "ms",
            bar: Some(120.0),
        },
        Figure {
            what: "calls to STS",
            value: calls,
            unit: "",
            bar: Some(1.0),
        },
        in_vain(&ways),
    ])
}

async fn distinct_roles(release: &Path) -> Result<Vec<Figure>> {
    let stage = Stage::new(release, Duration::ZERO)?;
    let flags = ["--sts-rate=0", FORGETFUL];
    let (ways, _, memory) = stampede(&stage, own, CROWD, &flags).await?;
    let refused = ways.iter().filter(|way| way.refused > 0).count();
    Ok(vec![
        Figure {
            what: "500 pods at once, 500 roles, STS 50 ms: p99",
            value: p99(&ways),
            unit: "ms",
            bar: Some(900.0),
        },
        in_vain(&ways),
        Figure {
            what: "pods that were told to ask again",
            value: count(refused),
            unit: "",
            bar: Some(0.0),
        },
        Figure {
            what: "resident memory, the most",
            value: memory,
            unit: "MiB",
            bar: Some(40.0),
        },
    ])
}

/// A crowd of pods without credentials asks at once. Gives their ways, the calls that were made for them, and the most
/// memory that the agent had in MiB.
async fn stampede(
    stage: &Stage,
    role: impl Fn(u16) -> String,
    grants: u16,
    flags: &[&str],
) -> Result<(Vec<Way>, f64, f64)> {
    stage.run_pods(CROWD, &role)?;
    stage.order("POST", REFUSE).await?;
    let agent = stage.agent(flags)?;
    stage.until(REFUSED, f64::from(grants)).await?;
    stage.order("DELETE", "").await?;
    stage.order("POST", SLOW).await?;
    tokio::time::sleep(UNTIL_COLD).await;
    let before = stage.metric(CALLS).await;
    let crowd: Vec<_> = (0..CROWD).map(|pod| (pod, role(pod))).collect();
    let ways = stage.ask_all(&crowd, true).await?;
    Ok((ways, stage.metric(CALLS).await - before, agent.peak_mib()?))
}

/// The longest that a request is held which cannot be answered.
async fn hanging(release: &Path) -> Result<Figure> {
    let stage = Stage::new(release, Duration::ZERO)?;
    stage.run_pods(PODS, own)?;
    stage.order("POST", HANG).await?;
    let _agent = stage.agent(&[])?;
    stage.until("podiam_credentials{", f64::from(PODS)).await?;
    let pods: Vec<_> = (0..PODS).map(|pod| (pod, own(pod))).collect();
    let ways = stage.ask_all(&pods, false).await?;
    Ok(Figure {
        what: "110 pods at once, STS hangs: longest wait",
        value: ways
            .iter()
            .map(|way| milliseconds(way.took))
            .fold(0.0, f64::max),
        unit: "ms",
        bar: Some(400.0),
    })
}

const READY: &str = "podiam_credentials{state=\"ready\"}";
const REFUSED: &str = "podiam_credentials{state=\"refused\"}";
const CALLS: &str = "podiam_sts_calls_total{";

/// A role of the pod's own.
fn own(pod: u16) -> String {
    format!("role-{pod}")
}

fn in_vain(ways: &[Way]) -> Figure {
    Figure {
        what: "clients that waited 1 s in vain",
        value: count(ways.iter().filter(|way| !way.given).count()),
        unit: "",
        bar: Some(0.0),
    }
}

fn p99(ways: &[Way]) -> f64 {
    let mut times: Vec<f64> = ways.iter().map(|way| milliseconds(way.took)).collect();
    times.sort_by(f64::total_cmp);
    times[(times.len() * 99).div_ceil(100) - 1]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}
