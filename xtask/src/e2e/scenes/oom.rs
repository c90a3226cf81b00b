//! Something eats the agent's memory until the kernel kills it: pods are refused, and answered again by the next life of
//! the same container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::super::stage::Stage;
use super::super::{cgroups, wait};
use super::roles;
use crate::progress::human;
use crate::report::Report;

const NAMESPACE: &str = "oom";

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace(NAMESPACE, &["*"])?;
    report.command("helm upgrade podiam deploy/helm/podiam --set resources.limits.memory=64Mi");
    stage.helm(&json!({"resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}}}))?;
    wait::until("one agent", Duration::from_mins(1), || stage.agent())?;
    let reader = stage.pod(NAMESPACE, "reader", Some("reader"))?;
    reader.until("right answers", |counts| counts.right > 20)?;
    reader.reset()?;
    let container = stage.agent()?["status"]["containerStatuses"][0]["containerID"]
        .as_str()
        .and_then(|id| id.strip_prefix("containerd://"))
        .context("the agent's container has no ID")?
        .to_owned();
    let started = Instant::now();
    eat(stage, &container)?;
    let status = wait::until("the end of the agent", Duration::from_mins(1), || {
        let status = stage.agent()?["status"]["containerStatuses"][0].clone();
        ensure!(status["restartCount"].as_u64() > Some(0), "{status}");
        Ok(status)
    })?;
    let ends =
        [&status["lastState"], &status["state"]].map(|state| state["terminated"]["reason"].clone());
    report.expect(
        ends.contains(&json!("OOMKilled")),
        "the agent",
        &format!("{}", ends[0]),
    );
    // Some requests were refused by then; from here on they are counted anew.
    let meanwhile = wait::until("the next life", Duration::from_mins(1), || {
        let ready = &stage.agent()?["status"]["containerStatuses"][0]["ready"];
        ensure!(ready == true, "not ready");
        reader.counts()
    })?;
    report.fact("ready after", &human(started.elapsed()));
    report.fact(
        "meanwhile",
        &format!("{} right, {:?}", meanwhile.right, meanwhile.others),
    );
    report.expect(
        !meanwhile.others.is_empty(),
        "refused",
        "some requests, while there was no agent",
    );
    roles::has(report, &reader, "reader")?;
    stage.leaks(report)?;
    stage.helm(&json!({}))
}

/// Fills a file system in memory on the account of the agent's container, until its limit is reached. The kernel then
/// kills what is largest in it, which is the agent.
fn eat(stage: &Stage, container: &str) -> Result<()> {
    let groups = cgroups::controller("memory")?.join(stage.node.cgroup().trim_start_matches('/'));
    let group = find(&groups, container).context("the control group of the agent's container")?;
    let file = stage.memory.join("eaten");
    let script = r#"echo $$ > "$1/cgroup.procs" && exec head -c 100M /dev/zero > "$2""#;
    // It is killed too, or the container's end is its own.
    Command::new("sh")
        .args(["-c", script, "sh"])
        .args([&group, &file])
        .status()
        .context("sh")?;
    fs::remove_file(&file).context("nothing was eaten")
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let folders = fs::read_dir(folder).ok()?.flatten();
    for entry in folders.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        if entry.file_name() == name {
            return Some(entry.path());
        }
        if let Some(found) = find(&entry.path(), name) {
            return Some(found);
        }
    }
    None
}
