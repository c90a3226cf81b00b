//! From kube2iam or kiam to podiam, and from podiam to IRSA or EKS Pod Identity: what is read of a cluster or of files,
//! judged by podiam's own parser and policy, and told with the new chart values and a plan. Called by
//! `commands::migrate`; writes nothing anywhere, asks AWS nothing, and of a cluster only lists.

mod cluster;
mod draft;
mod inventory;
mod judge;
mod kiam;
mod kube2iam;
mod leave;
mod plan;
mod read;
mod report;
#[cfg(test)]
mod tests;

use podiam_iam::{BaseArn, RoleArn};
use thiserror::Error;

pub use cluster::{ClusterError, Reach};
pub use inventory::Origin;
pub use leave::{Leave, LeavingRole, Target};
pub use read::{Input, ReadError};
pub use report::{Change, Judged, Report, Step};

use draft::{Draft, as_text};
use inventory::{Installation, Inventory, What};

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// From what; `None`: whichever of the two is found.
    pub from: Option<Origin>,
    /// Stands in for a base ARN that agents discover, and for one that was not read.
    pub base: Option<BaseArn>,
    /// podiam's image, for the commands.
    pub image: Option<String>,
    /// Where to, after podiam.
    pub to: Option<Target>,
    /// The nodes' role, which trust policies keep while both ways work.
    pub node_role: Option<RoleArn>,
}

/// Why there is nothing to tell.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// Neither of the two.
    #[error(
        "neither kube2iam nor kiam was found in {0}: no DaemonSet that runs its image, and no values of its chart (for \
         kube2iam: with host or extraArgs, for kiam: with agent or server). --from says that what there is belongs to one of them"
    )]
    Nothing(String),
    /// Both.
    #[error("both kube2iam and kiam were found; say --from=kube2iam or --from=kiam")]
    Both,
}

/// Works everything out.
pub fn migrate(input: &Input, options: &Options) -> Result<Report, MigrateError> {
    let inventory = Inventory::of(input);
    let from = origin(&inventory, options)?;
    let of = |from: Origin| -> Vec<&Installation> {
        let installations = inventory.installations.iter();
        installations.filter(|one| one.from == from).collect()
    };
    let installations = of(from);
    let mut draft = match from {
        Origin::Kube2iam => kube2iam::draft(&one_of(&installations)),
        Origin::Kiam => {
            let names =
                |one: &inventory::Workload| one.annotations.contains_key(kiam::SESSION_NAME);
            kiam::draft(&installations, inventory.workloads.iter().any(names))
        }
    };
    if let (Some(base), false) = (&options.base, names_base(&draft)) {
        draft.flag("base-role-arn", base.as_str());
    }
    let verdicts = judge::judge(&draft.flags, &inventory, from, options.base.as_ref());
    for change in verdicts.changes {
        draft.change(change);
    }
    let key = draft
        .flags
        .get("iam-external-id")
        .map_or_else(|| "iam.amazonaws.com/external-id".to_owned(), as_text);
    let leave = options.to.as_ref().map(|target| {
        leave::leave(
            target,
            &inventory,
            &verdicts.roles,
            &key,
            options.node_role.as_ref(),
        )
    });
    let image = options.image.as_deref().unwrap_or(plan::IMAGE);
    Ok(Report {
        from,
        found: found(&inventory, &installations),
        plan: plan::plan(from, &draft, image),
        values: draft.finish(),
        unchanged: draft.unchanged,
        changes: draft.changes,
        workloads: verdicts.workloads,
        leave,
    })
}

fn origin(inventory: &Inventory, options: &Options) -> Result<Origin, MigrateError> {
    let has = |from: Origin| inventory.installations.iter().any(|one| one.from == from);
    match (options.from, has(Origin::Kube2iam), has(Origin::Kiam)) {
        (Some(from), ..) => Ok(from),
        (None, true, false) => Ok(Origin::Kube2iam),
        (None, false, true) => Ok(Origin::Kiam),
        (None, true, true) => Err(MigrateError::Both),
        (None, false, false) => Err(MigrateError::Nothing(read(inventory))),
    }
}

fn names_base(draft: &Draft) -> bool {
    ["base-role-arn", "auto-discover-base-arn"]
        .into_iter()
        .any(|flag| draft.flags.contains_key(flag))
}

/// The installation that counts: values of a chart say more than what became of them; without any, the defaults.
fn one_of(installations: &[&Installation]) -> Installation {
    let values = installations
        .iter()
        .find(|one| matches!(one.what, What::Values(_)));
    values.or(installations.first()).map_or_else(
        || Installation {
            from: Origin::Kube2iam,
            place: "nothing".to_owned(),
            what: What::Values(serde_json::json!({})),
        },
        |one| (*one).clone(),
    )
}

fn read(inventory: &Inventory) -> String {
    format!(
        "{} workloads, {} namespaces and {} other documents",
        inventory.workloads.len(),
        inventory.namespaces.len(),
        inventory.other_values.len()
    )
}

fn found(inventory: &Inventory, installations: &[&Installation]) -> Vec<String> {
    let mut lines: Vec<String> = installations
        .iter()
        .map(|one| match &one.what {
            What::Values(_) => format!("{}: values of the chart of {}", one.place, one.from.name()),
            What::Object(running) => format!(
                "{}: {} {}/{} runs {}",
                one.place,
                running.kind,
                running.namespace,
                running.name,
                one.from.name()
            ),
        })
        .collect();
    lines.push(format!("read: {}", read(inventory)));
    if !inventory.templates.is_empty() {
        lines.push(format!(
            "left out, because they are templates that Helm has not rendered: {}",
            inventory.templates.join(", ")
        ));
    }
    lines
}
