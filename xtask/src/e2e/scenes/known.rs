//! How long after its start a pod gets its first credentials: the API shows a pod's address some time after its process
//! runs. Measured with the API alone, and with the container runtime's word (`--cri-socket`).

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::helm::NAMESPACE as AGENTS;
use super::super::stage::Stage;
use crate::report::Report;

const NAMESPACE: &str = "known";
const PODS: usize = 8;
const SOCKET: &str = "/run/containerd/containerd.sock";

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace(NAMESPACE, &["*"])?;
    let api = measure(stage, report, "api")?;
    report.command(&format!("podiam agent --cri-socket={SOCKET}"));
    ask_the_runtime(stage)?;
    let runtime = measure(stage, report, "runtime")?;
    report.expect(
        runtime < api,
        "sooner",
        &format!("{runtime} ms instead of {api} ms in the middle"),
    );
    stage.leaks(report)?;
    // What was patched is not Helm's, which would leave it.
    stage
        .kubectl
        .run(&["-n", AGENTS, "delete", "daemonset", "podiam"])?;
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

/// Adds the flag, and the socket to the agent's container.
fn ask_the_runtime(stage: &Stage) -> Result<()> {
    let patch = json!([
        {"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": format!("--cri-socket={SOCKET}")},
        {"op": "add", "path": "/spec/template/spec/volumes/-",
            "value": {"name": "cri", "hostPath": {"path": SOCKET, "type": "Socket"}}},
        {"op": "add", "path": "/spec/template/spec/containers/0/volumeMounts/-",
            "value": {"name": "cri", "mountPath": SOCKET}},
    ]);
    let (kubectl, text) = (&stage.kubectl, patch.to_string());
    let daemonset = ["-n", AGENTS, "patch", "daemonset", "podiam"];
    kubectl.run(&[&daemonset[..], &["--type=json", "--patch", &text]].concat())?;
    let rollout = ["rollout", "status", "daemonset/podiam", "--timeout=2m"];
    kubectl.run(&[&["-n", AGENTS], &rollout[..]].concat())?;
    let arguments = stage.agent_arguments()?;
    ensure!(
        arguments.contains(SOCKET),
        "the agent runs with {arguments}"
    );
    Ok(())
}
