//! A node whose pods share a bridge. Who asks cannot be told from the link there: podiam refuses pods, and says so, until it
//! may look into their network namespaces (`selfTest.enabled`).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::node::{self, Boot};
use super::super::pods::{self, CREDENTIALS};
use super::super::stage::Stage;
use super::super::wait;
use super::roles;
use crate::progress::human;
use crate::report::{Report, gist};

const NAMESPACE: &str = "bridge";

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace(NAMESPACE, &["*"])?;
    let bridged = Boot {
        bridge: true,
        ..Boot::default()
    };
    stage.power_cycle(bridged)?;
    let reader = stage.pod(NAMESPACE, "reader", Some("reader"))?;
    let writer = stage.pod(NAMESPACE, "writer", Some("writer"))?;
    report.subject("podiam", "without the right to look into pods");
    let told = wait::until("the agent's answer", Duration::from_mins(1), || {
        let told = reader.ask(CREDENTIALS)?;
        ensure!(told.body.contains("share a link"), "{told:?}");
        Ok(told)
    })?;
    report.expect(
        told.status == 503,
        "refused",
        &format!("{} {}", told.status, gist(&told.body)),
    );
    stage.leaks(report)?;

    report.command("helm upgrade podiam deploy/helm/podiam --set selfTest.enabled=true");
    let started = Instant::now();
    stage.helm(&json!({"selfTest": {"enabled": true}}))?;
    report.fact("ready after", &human(started.elapsed()));
    for pod in [&reader, &writer] {
        pod.until("right answers", |counts| counts.right > 5)?;
        roles::has(report, pod, &pod.name)?;
        pod.reset()?;
        let counts = pod.asked(30)?;
        report.expect(
            counts.right == counts.asked,
            &pod.name,
            &format!(
                "{} of {} answers are right {:?}",
                counts.right, counts.asked, counts.others
            ),
        );
    }
    let proven = |text: &str| {
        text.lines()
            .any(|line| line == r#"podiam_interception{state="intercepted"} 1"#)
    };
    let metrics = pods::exchange((node::ADDRESS, 9181).into(), "/metrics")?;
    report.expect(
        proven(&metrics),
        "self-test",
        "the agent's own question, from a pod's namespace, came to it",
    );
    stage.leaks(report)?;

    // In this order: without the right and with a bridge the agent is not ready, as it should be.
    stage.power_cycle(Boot::default())?;
    stage.helm(&json!({}))
}
