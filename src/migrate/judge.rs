//! What podiam will decide about each workload: the new flags through the agent's own parser, the workloads through its
//! own policy. So nothing is promised that the agent would not do.

use std::collections::BTreeMap;

use podiam_iam::{BaseArn, RoleArn};
use serde_json::Value;

use super::inventory::{Inventory, Origin, Workload as Found};
use super::kube2iam::word;
use super::report::{Change, Judged};
use crate::app;
use crate::authorize::Policy;
use crate::config::{AgentArgs, Config, Discoverable, Program, one_line};
use crate::workload::{Namespace, PodAnnotations, PodUid, Workload};

/// The decisions, and what has to be told beside them.
pub(super) struct Verdicts {
    pub(super) workloads: Vec<Judged>,
    pub(super) changes: Vec<Change>,
    /// The role of each workload of the inventory, in its order.
    pub(super) roles: Vec<Option<RoleArn>>,
}

/// Judges all workloads by flags of podiam. `base` stands in for a base ARN that agents discover.
pub(super) fn judge(
    flags: &BTreeMap<String, Value>,
    inventory: &Inventory,
    from: Origin,
    base: Option<&BaseArn>,
) -> Verdicts {
    let mut changes = Vec::new();
    let config = match config(flags) {
        Ok(config) => config,
        Err(problems) => {
            changes.extend(problems);
            return Verdicts {
                workloads: Vec::new(),
                changes,
                roles: vec![None; inventory.workloads.len()],
            };
        }
    };
    for notice in &config.notices {
        changes.push(Change::note("podiam's parser", notice.clone()));
    }
    let base = match (&config.roles.base, base) {
        (Discoverable::Given(base), _) | (_, Some(base)) => Some(base.clone()),
        (Discoverable::Discover, None) => {
            changes.push(Change::first(
                "the base ARN",
                "is discovered on the nodes, so what names stand for is not known here",
                "give --base-role-arn, here and perhaps to podiam",
            ));
            None
        }
        (Discoverable::Absent, None) => None,
    };
    let default_role = match &config.roles.default_role {
        Discoverable::Given(role) => RoleArn::complete(role, base.as_ref()).ok(),
        Discoverable::Absent | Discoverable::Discover => None,
    };
    let knows_base = base.is_some() || config.roles.base == Discoverable::Absent;
    let policy = Policy::new(app::decision_rules(&config, base.clone(), default_role));
    let mut verdicts = Verdicts {
        workloads: Vec::new(),
        changes,
        roles: Vec::new(),
    };
    for found in &inventory.workloads {
        let asked = found.annotations.get(&config.annotations.role);
        let decision = decide(&policy, &config, inventory, found);
        let is_name = asked.is_some_and(|role| !RoleArn::is_meant(role));
        let role = decision.as_ref().ok().cloned();
        if let (Some(asked), Err(reason)) = (asked, &decision)
            && (knows_base || !is_name)
            && !asked.is_empty()
        {
            let todo = advice(found, from, asked, inventory, &config);
            verdicts.changes.push(Change::first(
                found.title(),
                format!("{asked:?} is refused: {reason}"),
                todo,
            ));
        }
        let refused = if knows_base || !is_name {
            decision.err()
        } else {
            None
        };
        if asked.is_some() || role.is_some() {
            verdicts.workloads.push(Judged {
                workload: found.title(),
                asks_for: asked.cloned(),
                role: role.as_ref().map(ToString::to_string),
                refused,
            });
        }
        verdicts.roles.push(role);
    }
    verdicts
}

/// The configuration of an agent with these flags, and those that the chart gives it.
fn config(flags: &BTreeMap<String, Value>) -> Result<Config, Vec<Change>> {
    let words: Vec<String> = flags
        .iter()
        .map(|(name, value)| word(name, value))
        .chain(
            [
                "--host-ip=192.0.2.1",
                "--node=node",
                "--intercept=nftables",
                "--state-dir=/var/lib/podiam",
            ]
            .map(str::to_owned),
        )
        .collect();
    let args = AgentArgs::read(words, &BTreeMap::new()).map_err(|error| {
        vec![Change::first(
            "podiam's parser",
            one_line(&error),
            "correct it in the values",
        )]
    })?;
    args.validate(Program::Podiam).map_err(|problems| {
        problems
            .iter()
            .map(|problem| {
                Change::first(
                    "podiam's parser",
                    problem.to_string(),
                    "correct it in the values",
                )
            })
            .collect()
    })
}

fn decide(
    policy: &Policy,
    config: &Config,
    inventory: &Inventory,
    found: &Found,
) -> Result<RoleArn, String> {
    let keys = &config.annotations;
    let of = |annotations: &BTreeMap<String, String>, key: &str| {
        annotations
            .get(key)
            .map(|value| value.clone().into_boxed_str())
    };
    let none = BTreeMap::new();
    let read = inventory.namespaces.get(&found.namespace);
    let around = read.unwrap_or(&none);
    let namespace = Namespace {
        name: found.namespace.as_str().into(),
        allowed_roles: of(around, &keys.allowed_roles),
        permitted: keys.permitted.as_deref().and_then(|key| of(around, key)),
        role: None,
    };
    let workload = Workload {
        service_account: Some(found.account.as_str().into()),
        host_network: found.host_network,
        annotations: PodAnnotations {
            role: of(&found.annotations, &keys.role),
            external_id: of(&found.annotations, &keys.external_id),
            ..PodAnnotations::default()
        },
        ..Workload::new(PodUid::new("migrate"), &namespace.name, found.name.as_str())
    };
    policy
        .decide(&workload, read.map(|_| &namespace))
        .map(|grant| grant.role.clone())
        .map_err(|reason| reason.to_string())
}

/// What would let a refused workload have its role.
fn advice(
    found: &Found,
    from: Origin,
    asked: &str,
    inventory: &Inventory,
    config: &Config,
) -> String {
    if asked.starts_with('/') {
        return "take the / at its beginning away: kiam did, podiam does not".to_owned();
    }
    if !inventory.namespaces.contains_key(&found.namespace) {
        return format!(
            "the namespace {} was not read: add its manifest",
            found.namespace
        );
    }
    let key = match from {
        Origin::Kube2iam => Some(config.annotations.allowed_roles.as_str()),
        Origin::Kiam => config.annotations.permitted.as_deref(),
    };
    format!(
        "correct the pod's annotation or {} of the namespace {}",
        key.unwrap_or("the annotation"),
        found.namespace
    )
}
