//! The `DaemonSet` is deleted: the node stays closed. Helm brings it back.

use anyhow::Result;
use serde_json::json;

use super::super::helm::NAMESPACE as AGENTS;
use super::super::stage::Stage;
use super::roles;
use crate::report::Report;

const NAMESPACE: &str = "removal";

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace(NAMESPACE, &["*"])?;
    let reader = stage.pod(NAMESPACE, "reader", Some("reader"))?;
    reader.until("right answers", |counts| counts.right > 20)?;
    report.command(&format!("kubectl -n {AGENTS} delete daemonset podiam"));
    stage.kubectl.run(&[
        "-n",
        AGENTS,
        "delete",
        "daemonset",
        "podiam",
        "--cascade=foreground",
        "--timeout=90s",
    ])?;
    let gone = stage.agents()?.len();
    report.expect(gone == 0, "agents", &format!("{gone}"));
    reader.reset()?;
    let counts = reader.asked(30)?;
    report.expect(
        counts.right == 0 && counts.leaks == 0,
        "refused",
        &format!("{:?}", counts.others),
    );
    let rules = stage
        .node
        .run("nft", &["list", "table", "inet", "podiam"])?;
    report.expect(
        rules.contains("169.254.169.254"),
        "rules",
        "the table inet podiam is where it was",
    );
    report.subject("New pod", "while there is no agent");
    let late = stage.pod(NAMESPACE, "late", Some("reader"))?;
    let counts = late.asked(20)?;
    report.expect(
        counts.right == 0 && counts.leaks == 0,
        "refused",
        &format!("{:?}", counts.others),
    );
    stage.leaks(report)?;

    report.command("helm upgrade --install podiam deploy/helm/podiam");
    stage.helm(&json!({}))?;
    for pod in [&reader, &late] {
        pod.until("right answers", |counts| counts.right > 5)?;
        roles::has(report, pod, "reader")?;
    }
    stage.leaks(report)
}
