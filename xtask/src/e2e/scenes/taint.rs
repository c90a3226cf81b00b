//! A node joins with the startup taint: pods wait until the agent has taken it away, and their first request is answered.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::node::Boot;
use super::super::stage::{PATIENCE, Stage};
use super::super::{node, pods, wait};
use crate::report::Report;

const NAMESPACE: &str = "taint";
const TAINT: &str = "podiam.io/agent-not-ready";

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace(NAMESPACE, &["*"])?;
    report.command(&format!(
        "helm upgrade podiam deploy/helm/podiam --set startupTaint={TAINT}"
    ));
    stage.helm(&json!({"startupTaint": TAINT}))?;
    stage.node.cut_power(&stage.network)?;
    stage.kubectl.run(&["delete", "node", node::NAME])?;
    let mut template = pods::template(Some("reader"), "job", &[]);
    template["spec"]["restartPolicy"] = json!("Never");
    stage
        .kubectl
        .apply(&pods::named(template, NAMESPACE, "early"))?;
    let taint = format!("{TAINT}=true:NoSchedule");
    let joining = Boot {
        taint: Some(&taint),
        ..Boot::default()
    };
    stage.node.boot(&stage.network, joining)?;
    let joined = wait::until("the node", Duration::from_mins(1), || {
        stage.node.check()?;
        stage.kubectl.json(&["get", "node", node::NAME])
    })?;
    let tainted = |node: &serde_json::Value| node["spec"]["taints"].to_string().contains(TAINT);
    report.expect(
        tainted(&joined),
        "joins",
        &format!("with the taint {TAINT}"),
    );
    wait::until(
        "the end of the taint",
        Duration::from_secs(PATIENCE.into()),
        || {
            let node = stage.kubectl.json(&["get", "node", node::NAME])?;
            ensure!(!tainted(&node), "it is still there");
            Ok(())
        },
    )?;
    let ready = stage.agent()?["status"]["conditions"].clone();
    let ready = ready
        .as_array()
        .into_iter()
        .flatten()
        .any(|it| it["type"] == "Ready" && it["status"] == "True");
    report.fact(
        "taint",
        &format!(
            "gone; the agent's pod is {}",
            if ready { "Ready" } else { "about to be Ready" }
        ),
    );
    stage.kubectl.wait(
        NAMESPACE,
        "pod/early",
        "jsonpath={.status.phase}=Succeeded",
        PATIENCE,
    )?;
    let pod = stage
        .kubectl
        .json(&["get", "pod", "-n", NAMESPACE, "early"])?;
    let message = &pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"];
    report.expect(
        message
            .as_str()
            .unwrap_or_default()
            .contains(":assumed-role/reader/"),
        "first ask",
        &message.to_string(),
    );
    stage.leaks(report)?;
    stage.helm(&json!({}))
}
