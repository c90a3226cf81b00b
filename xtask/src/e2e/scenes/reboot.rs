//! The node loses its power: every process dies, every rule is gone. At boot the guard closes it before kubelet starts, and
//! pods that are there before the agent are refused.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::stage::Stage;
use super::super::wait;
use super::roles;
use crate::progress::human;
use crate::report::Report;

const NAMESPACE: &str = "reboot";

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace(NAMESPACE, &["*"])?;
    let names = ["reader", "writer"];
    for name in names {
        let pod = stage.pod(NAMESPACE, name, Some(name))?;
        pod.until("right answers", |counts| counts.right > 5)?;
    }
    stage.pods.clear();
    report.subject(
        "Power",
        "off, and on; `podiam intercept guard` runs before kubelet",
    );
    let started = Instant::now();
    stage.node.cut_power(&stage.network)?;
    stage.node.boot(&stage.network, None)?;
    for name in names {
        wait::until("the pods' next life", Duration::from_secs(120), || {
            stage.node.check()?;
            let pod = stage.kubectl.json(&["get", "pod", "-n", NAMESPACE, name])?;
            let container = &pod["status"]["containerStatuses"][0];
            ensure!(
                container["restartCount"].as_u64() > Some(0),
                "{name} was not restarted"
            );
            ensure!(container["ready"] == true, "{name} is not ready");
            Ok(())
        })?;
        let pod = stage.running(NAMESPACE, name)?;
        report.fact(
            &pod.name,
            &format!(
                "runs again after {}, at {}",
                human(started.elapsed()),
                pod.address
            ),
        );
    }
    for pod in stage.pods.clone() {
        let counts = pod.until("right answers", |counts| counts.right > 20)?;
        report.fact(
            &pod.name,
            &format!("{} right, {:?}", counts.right, counts.others),
        );
        roles::has(report, &pod, &pod.name)?;
    }
    report.fact("all after", &human(started.elapsed()));
    stage.leaks(report)
}
