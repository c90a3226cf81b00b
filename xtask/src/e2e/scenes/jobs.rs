//! Two Jobs of different roles, side by side, with more pods than the node has addresses: each pod has its own role, also
//! where the pod that had its address a moment before had another.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::{Value, json};

use super::super::pods;
use super::super::stage::{PATIENCE, Stage};
use crate::report::Report;

const NAMESPACE: &str = "jobs";
const ROLES: [&str; 2] = ["importer", "exporter"];
const PODS: usize = 20;

pub(super) fn play(stage: &mut Stage, report: &mut Report) -> Result<()> {
    stage.namespace(NAMESPACE, &["*"])?;
    for role in ROLES {
        let mut template = pods::template(Some(role), "job", &[]);
        template["spec"]["restartPolicy"] = json!("Never");
        stage.kubectl.apply(&json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": role, "namespace": NAMESPACE},
            "spec": {"completions": PODS, "parallelism": 3, "backoffLimit": 0, "template": template},
        }))?;
    }
    let mut addresses: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for role in ROLES {
        let done = stage.kubectl.wait(
            NAMESPACE,
            &format!("job/{role}"),
            "condition=Complete",
            PATIENCE,
        );
        let selector = format!("job-name={role}");
        let found = stage
            .kubectl
            .json(&["get", "pods", "-n", NAMESPACE, "-l", &selector])?;
        let found: Vec<Outcome> = found["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(Outcome::of)
            .collect();
        report.subject(role, &format!("{PODS} pods, three at a time"));
        let right = found.iter().filter(|pod| pod.has(role)).count();
        report.expect(
            right == PODS,
            "own role",
            &format!("{right} of {}", found.len()),
        );
        if let Some(other) = found.iter().find(|pod| !pod.has(role)) {
            report.fact("the first", &format!("{}: {}", other.name, other.message));
        }
        let mut times: Vec<u64> = found.iter().map(|pod| pod.identity.millis).collect();
        times.sort_unstable();
        let at = |share: usize| {
            times
                .get(times.len() * share / 100)
                .copied()
                .unwrap_or_default()
        };
        report.fact(
            "SDK took",
            &format!(
                "{} ms in the middle, {} ms at most",
                at(50),
                times.last().unwrap_or(&0)
            ),
        );
        for pod in found {
            stage.past.0 += pod.identity.asked;
            stage.past.1 += pod.identity.leaks;
            addresses.entry(pod.address).or_default().insert(role);
        }
        done?;
    }
    let shared = addresses.values().filter(|roles| roles.len() > 1).count();
    report.expect(
        shared > 0,
        "addresses",
        &format!(
            "{shared} of {} were used by pods of both roles",
            addresses.len()
        ),
    );
    stage.leaks(report)
}

/// How a pod of a Job ended.
struct Outcome {
    name: String,
    address: String,
    message: String,
    identity: pods::Identity,
}

impl Outcome {
    fn of(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let message =
            text(&pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"]);
        Self {
            name: text(&pod["metadata"]["name"]),
            address: text(&pod["status"]["podIP"]),
            identity: serde_json::from_str(&message).unwrap_or_default(),
            message,
        }
    }

    fn has(&self, role: &str) -> bool {
        self.message.contains(&format!(":assumed-role/{role}/"))
    }
}
