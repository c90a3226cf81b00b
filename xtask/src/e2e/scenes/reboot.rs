//! The node loses its power: every process dies, every rule is gone. At boot the guard closes it before kubelet starts, and
//! pods that run while there is no agent are refused, until there is one.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::helm::NAMESPACE as AGENTS;
use super::super::node::Boot;
use super::super::stage::Stage;
use super::super::wait;
use super::roles;
use crate::progress::human;
use crate::report::Report;

const NAMESPACE: &str = "reboot";
const PODS: [&str; 2] = ["reader", "writer"];

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace(NAMESPACE, &["*"])?;
    for name in PODS {
        let pod = stage.pod(NAMESPACE, name, Some(name))?;
        pod.until("right answers", |counts| counts.right > 5)?;
    }
    report.subject("Power", "off, and on; the guard runs before kubelet");
    let started = Instant::now();
    stage.power_cycle(Boot::default())?;
    alive_again(stage, report, 1, started)?;
    for pod in stage.pods.clone() {
        let counts = pod.until("right answers", |counts| counts.right > 20)?;
        report.fact(
            &pod.name,
            &format!("{} right, {:?}", counts.right, counts.others),
        );
        roles::has(report, &pod, &pod.name)?;
    }
    stage.leaks(report)?;

    report.subject("Power", "off, and on, without an agent to come back");
    let daemonset = ["-n", AGENTS, "delete", "daemonset", "podiam"];
    stage
        .kubectl
        .run(&[&daemonset[..], &["--cascade=foreground", "--timeout=90s"]].concat())?;
    let started = Instant::now();
    stage.power_cycle(Boot::default())?;
    alive_again(stage, report, 2, started)?;
    for pod in stage.pods.clone() {
        // The guard drops: each question takes as long as the client waits.
        let counts = pod.asked(6)?;
        report.expect(
            counts.right == 0 && counts.leaks == 0,
            "refused",
            &format!("{:?}", counts.others),
        );
    }
    stage.leaks(report)?;
    report.command("helm upgrade --install podiam deploy/helm/podiam");
    stage.helm(&json!({}))?;
    for pod in stage.pods.clone() {
        pod.until("right answers", |counts| counts.right > 5)?;
        roles::has(report, &pod, &pod.name)?;
    }
    stage.leaks(report)
}

/// Waits until the pods have been started so many times after their first.
fn alive_again(stage: &mut Stage, report: &mut Report, times: u64, started: Instant) -> Result<()> {
    for name in PODS {
        wait::until("the pods' next life", Duration::from_mins(2), || {
            stage.node.check()?;
            let pod = stage.kubectl.json(&["get", "pod", "-n", NAMESPACE, name])?;
            let container = &pod["status"]["containerStatuses"][0];
            let restarts = container["restartCount"].as_u64();
            ensure!(restarts >= Some(times), "{name} was not restarted");
            ensure!(container["ready"] == true, "{name} is not ready");
            Ok(())
        })?;
        let pod = stage.running(NAMESPACE, name)?;
        let when = human(started.elapsed());
        report.fact(
            &pod.name,
            &format!("runs again after {when}, at {}", pod.address),
        );
    }
    Ok(())
}
