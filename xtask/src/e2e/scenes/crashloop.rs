//! A container that asks AWS who it is and crashes, again and again: each of its lives has the pod's role.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::super::stage::Stage;
use super::super::{pods, wait};
use crate::report::Report;

const NAMESPACE: &str = "crashloop";
const LIVES: u64 = 3;

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace(NAMESPACE, &["*"])?;
    let template = pods::template(Some("reader"), "job", &[("FAIL", "1")]);
    stage
        .kubectl
        .apply(&pods::named(template, NAMESPACE, "crashing"))?;
    report.subject("crashing", "iam.amazonaws.com/role: reader; exits with 1");
    let (mut seen, mut looked, mut right) = (0, 0, 0);
    wait::until("crashes", Duration::from_mins(2), || {
        let pod = stage
            .kubectl
            .json(&["get", "pod", "-n", NAMESPACE, "crashing"])?;
        let container = &pod["status"]["containerStatuses"][0];
        let restarts = container["restartCount"].as_u64().unwrap_or_default();
        let terminated = [
            &container["state"]["terminated"],
            &container["lastState"]["terminated"],
        ];
        if restarts > seen {
            seen = restarts;
            looked += 1;
            let message = terminated
                .iter()
                .find_map(|state| state["message"].as_str())
                .unwrap_or_default();
            let identity: pods::Identity = serde_json::from_str(message).unwrap_or_default();
            stage.past.0 += identity.asked;
            stage.past.1 += identity.leaks;
            if identity.arn.contains(":assumed-role/reader/") {
                right += 1;
            } else {
                report.fact("told", message);
            }
        }
        ensure!(seen >= LIVES, "it crashed {seen} times");
        Ok(())
    })?;
    report.expect(
        right == looked,
        "own role",
        &format!("in {right} of {looked} lives"),
    );
    stage.leaks(report)
}
