//! How long after its start a pod gets its first credentials: the API shows a pod's address some time after its process
//! runs. Measured with the API alone, and with the container runtime's word (`--cri-socket`).

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::stage::Stage;
use crate::report::Report;

const NAMESPACE: &str = "known";
const PODS: usize = 8;
const SOCKET: &str = "/run/containerd/containerd.sock";

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace(NAMESPACE, &["*"])?;
    let api = measure(stage, report, "api")?;
    report.command(&format!(
        "helm upgrade podiam deploy/helm/podiam --set criSocket={SOCKET}"
    ));
    stage.helm(&json!({"criSocket": SOCKET}))?;
    let arguments = stage.agent_arguments()?;
    ensure!(
        arguments.contains(SOCKET),
        "the agent runs with {arguments}"
    );
    let runtime = measure(stage, report, "runtime")?;
    report.expect(
        runtime < api,
        "sooner",
        &format!("{runtime} ms instead of {api} ms in the middle"),
    );
    stage.leaks(report)?;
    stage.helm(&json!({}))
}

/// The time of the one in the middle, in milliseconds.
fn measure(stage: &mut Stage, report: &mut Report, who: &str) -> Result<u64> {
    let (mut times, mut refused) = (Vec::new(), 0);
    for number in 0..PODS {
        let name = format!("{who}-{number}");
        let pod = stage.pod(NAMESPACE, &name, Some("reader"))?;
        let counts = pod.until("right answers", |counts| counts.right > 5)?;
        times.push(counts.first_millis);
        refused += counts.others.values().sum::<u64>();
    }
    times.sort_unstable();
    let median = times[times.len() / 2];
    report.fact(
        who,
        &format!("first credentials after {times:?} ms; {refused} requests were told 503 before"),
    );
    Ok(median)
}
