//! The `DaemonSet` is updated while pods ask all the time: no request fails, none gets elsewhere.

use std::time::Instant;

use anyhow::Result;

use super::super::helm::NAMESPACE as AGENTS;
use super::super::stage::Stage;
use crate::progress::human;
use crate::report::Report;

const NAMESPACE: &str = "rollout";
const UPDATES: usize = 2;

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace(NAMESPACE, &["*"])?;
    let names = ["reader", "writer", "copier"];
    for name in names {
        stage.pod(NAMESPACE, name, Some(name))?;
    }
    for pod in &stage.pods {
        pod.until("right answers", |counts| counts.right > 20)?;
    }
    for _ in 0..UPDATES {
        let before = name(&stage.agent()?);
        for pod in &stage.pods {
            pod.reset()?;
        }
        report.command(&format!(
            "kubectl -n {AGENTS} rollout restart daemonset/podiam"
        ));
        let started = Instant::now();
        stage
            .kubectl
            .run(&["-n", AGENTS, "rollout", "restart", "daemonset/podiam"])?;
        stage.kubectl.run(&[
            "-n",
            AGENTS,
            "rollout",
            "status",
            "daemonset/podiam",
            "--timeout=2m",
        ])?;
        // The old one is still leaving when the new one is ready.
        stage
            .kubectl
            .wait(AGENTS, &format!("pod/{before}"), "delete", 60)?;
        let took = started.elapsed();
        let after = name(&stage.agent()?);
        report.expect(
            before != after,
            "agent",
            &format!("{after} instead of {before}, after {}", human(took)),
        );
        let (mut asked, mut right, mut slowest, mut first) = (0, 0, 0, None);
        for pod in &stage.pods {
            let asked_so_far = pod.counts()?.asked;
            let counts = pod.asked(asked_so_far + 20)?;
            asked += counts.asked;
            right += counts.right;
            slowest = slowest.max(counts.slowest_millis);
            first = first.or(counts.first_other);
        }
        report.expect(
            asked == right,
            "requests",
            &format!("{right} of {asked} are right; the slowest took {slowest} ms"),
        );
        if let Some(first) = first {
            report.fact("the first", &first);
        }
        stage.leaks(report)?;
    }
    Ok(())
}

fn name(pod: &serde_json::Value) -> String {
    pod["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
