//! A namespace allows some roles; what it allows changes while the pod runs.

use anyhow::Result;

use super::super::pods::CREDENTIALS;
use super::super::stage::Stage;
use super::roles;
use crate::report::Report;

const NAMESPACE: &str = "restricted";

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace(NAMESPACE, &["reader"])?;
    let reader = stage.pod(NAMESPACE, "reader", Some("reader"))?;
    let admin = stage.pod(NAMESPACE, "admin", Some("admin"))?;
    report.subject("Namespace", "allows reader");
    roles::has(report, &reader, "reader")?;
    roles::refused(report, &admin, "admin", 403)?;

    report.subject("Namespace", "allows reader and admin, from now on");
    stage.namespace(NAMESPACE, &["reader", "admin"])?;
    admin.until("right answers", |counts| counts.right > 20)?;
    roles::has(report, &admin, "admin")?;

    report.subject("Namespace", "allows nothing, from now on");
    stage.namespace(NAMESPACE, &[])?;
    super::super::wait::until("a refusal", std::time::Duration::from_secs(10), || {
        let told = reader.ask(&format!("{CREDENTIALS}reader"))?;
        anyhow::ensure!(told.status == 403, "{}", told.status);
        Ok(())
    })?;
    roles::refused(report, &reader, "reader", 403)?;
    roles::refused(report, &admin, "admin", 403)?;
    stage.leaks(report)
}
