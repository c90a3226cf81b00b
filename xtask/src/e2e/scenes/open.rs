//! Before the first scene: without podiam a pod has the node's role, which shows that the count of leaks can count; then
//! Helm installs podiam, and the same pod has its own.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::super::helm::NAMESPACE;
use super::super::stage::Stage;
use crate::progress::human;
use crate::report::Report;

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace("install", &["*"])?;
    report.subject(
        "Pod",
        "iam.amazonaws.com/role: reader, on a node without podiam",
    );
    let pod = stage.pod("install", "reader", Some("reader"))?;
    let counts = pod.until("leaks", |counts| counts.leaks > 2)?;
    report.expect(
        counts.leaks > 0,
        "counted",
        &format!("{} leaks of the node's role", counts.leaks),
    );
    let strangers = stage.strangers();
    report.expect(
        strangers > 0,
        "counted",
        &format!("{strangers} requests at the real metadata service"),
    );

    report.subject("Helm", "");
    report.command(&format!(
        "helm upgrade --install podiam deploy/helm/podiam --namespace {NAMESPACE} --wait"
    ));
    let started = Instant::now();
    stage.helm(&json!({}))?;
    report.fact("ready after", &human(started.elapsed()));
    // Connections from before are ended with the rules; what was on its way is not counted.
    pod.reset()?;
    stage.seen = stage.aws.imds_requests().len();
    pod.until("right answers", |counts| counts.right > 20)?;
    let counts = pod.reset()?;
    report.fact(
        "meanwhile",
        &format!("{} right, {:?}", counts.right, counts.others),
    );
    pod.asked(30)?;
    stage.leaks(report)
}
