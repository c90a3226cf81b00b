//! A pod gets its role; one without an annotation gets none; nobody gets another's.

use anyhow::Result;

use super::super::node;
use super::super::pods::{CREDENTIALS, Pod};
use super::super::stage::Stage;
use crate::report::{Report, gist};

const NAMESPACE: &str = "roles";

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace(NAMESPACE, &["*"])?;
    let reader = stage.pod(NAMESPACE, "reader", Some("reader"))?;
    let writer = stage.pod(NAMESPACE, "writer", Some("writer"))?;
    let nobody = stage.pod(NAMESPACE, "nobody", None)?;
    for (pod, role) in [(&reader, "reader"), (&writer, "writer")] {
        report.subject(
            &pod.name,
            &format!("{}, iam.amazonaws.com/role: {role}", pod.address),
        );
        has(report, pod, role)?;
    }
    refused(report, &reader, "writer", 403)?;

    report.subject(&nobody.name, &format!("{}, no annotation", nobody.address));
    let list = nobody.ask(CREDENTIALS)?;
    report.expect(
        list.status == 404,
        "role",
        &format!("{} {}", list.status, gist(&list.body)),
    );
    refused(report, &nobody, "reader", 404)?;
    let identity = nobody.identity()?;
    report.expect(
        !identity.error.is_empty(),
        "AWS SDK",
        &gist(&identity.error),
    );

    for pod in [&reader, &writer, &nobody] {
        let first = pod.until("right answers", |counts| counts.right > 5)?;
        let until_then = format!(
            "{} ms after the pod's start; before, {:?}",
            first.first_millis, first.others
        );
        report.fact("first answer", &until_then);
        pod.reset()?;
        let counts = pod.asked(50)?;
        report.expect(
            counts.right == counts.asked,
            &pod.name,
            &format!(
                "{} of {} answers are right {:?}",
                counts.right, counts.asked, counts.others
            ),
        );
    }
    report.subject(&reader.name, "asks the agent's port itself");
    let door = reader.reach(&format!("{}:8181", node::ADDRESS))?;
    report.expect(
        door.status == 0,
        "no answer",
        &format!("{} {}", door.error, gist(&door.body)),
    );
    stage.leaks(report)
}

/// The SDK of a pod has a session of this role, from the metadata service.
pub(super) fn has(report: &mut Report, pod: &Pod, role: &str) -> Result<()> {
    let identity = pod.identity()?;
    let whose = format!("arn:aws:sts::123456789012:assumed-role/{role}/");
    let said = if identity.error.is_empty() {
        format!(
            "{} ({}, {} ms)",
            identity.arn, identity.source, identity.millis
        )
    } else {
        identity.error.clone()
    };
    report.expect(identity.arn.starts_with(&whose), "AWS SDK", &said);
    Ok(())
}

/// The credentials of a role are not a pod's to have.
pub(super) fn refused(report: &mut Report, pod: &Pod, role: &str, status: u16) -> Result<()> {
    let told = pod.ask(&format!("{CREDENTIALS}{role}"))?;
    let said = format!(
        "{} for {role}: {}{}",
        told.status,
        gist(&told.body),
        told.error
    );
    report.expect(told.status == status, "other role", &said);
    Ok(())
}
