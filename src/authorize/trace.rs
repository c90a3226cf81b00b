//! How a decision comes about, step by step: what each source of roles says, and what each guard, whichever of them
//! decided. For `explain`; made of the very functions that decide, and never part of a decision itself.

use podiam_iam::RoleArn;

use super::source::{self, Named};
use super::{Policy, excerpt, external_id};
use crate::config::Enforcement;
use crate::reason::Reason;
use crate::workload::{RoleSource, Surroundings, Workload};

/// The steps, in their order.
#[derive(Debug)]
pub struct Trace {
    /// Every source of roles, also those that are off.
    pub sources: Vec<SourceStep>,
    /// Every guard, also those that are off.
    pub guards: Vec<GuardStep>,
}

/// One source of roles.
#[derive(Debug)]
pub struct SourceStep {
    /// Which.
    pub source: RoleSource,
    /// The annotation's key; `None` for the default role, and where it is off.
    pub key: Option<String>,
    /// What it says.
    pub says: Says,
}

/// What a source says by itself, whatever the others say.
#[derive(Debug, PartialEq, Eq)]
pub enum Says {
    /// It is not in `--role-sources`.
    Off,
    /// Nothing.
    Silent,
    /// That the pod shall have no role.
    NoRole,
    /// A role, as written; cut where it is long.
    Role(String),
    /// Not known yet.
    Unknown(Reason),
}

/// One guard.
#[derive(Debug)]
pub struct GuardStep {
    /// Its name: `ceiling`, `namespace-restrictions`, `namespace-permitted`.
    pub guard: &'static str,
    /// Whether it refuses or only tells; `None` where it is off.
    pub enforcement: Option<Enforcement>,
    /// The key of the namespace's annotation that it reads.
    pub key: Option<String>,
    /// What that annotation says; cut where it is long.
    pub reads: Option<String>,
    /// What it says of the role.
    pub finding: Finding,
}

/// What a guard says of a role by itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing: it is off.
    Off,
    /// Nothing: no role is named that it could judge.
    NotAsked,
    /// Nothing: the role is the default role, which the operator gave to every pod.
    Exempt,
    /// It allows the role.
    Allows,
    /// It refuses it, or in audit mode would.
    Refuses(Reason),
}

impl Policy {
    /// The steps of the decision about a pod. Unlike [`Policy::judge`] it goes on after the first refusal.
    pub fn trace(&self, workload: &Workload, around: Surroundings<'_>) -> Trace {
        let role = source::role(&self.rules, workload, around, &mut None).ok();
        let sources = RoleSource::ALL.map(|source| self.source_step(source, workload, around));
        let mut guards = vec![self.ceiling_step(role.as_ref(), workload)];
        let exempt = role.is_some() && self.rules.default_role == role;
        guards.extend(
            self.guards
                .steps(role.as_ref().filter(|_| !exempt), workload, around)
                .map(|mut step| {
                    if exempt && step.finding == Finding::NotAsked {
                        step.finding = Finding::Exempt;
                    }
                    step
                }),
        );
        Trace {
            sources: sources.into(),
            guards,
        }
    }

    fn source_step(
        &self,
        source: RoleSource,
        workload: &Workload,
        around: Surroundings<'_>,
    ) -> SourceStep {
        if !self.rules.sources.contains(&source) {
            return SourceStep {
                source,
                key: None,
                says: Says::Off,
            };
        }
        let says = match source::named(&self.rules, workload, around, source) {
            Err(reason) => Says::Unknown(reason),
            Ok(None) => Says::Silent,
            Ok(Some(Named::Role(role))) => Says::Role(role.to_string()),
            Ok(Some(Named::Annotation(_, value))) if value.trim().is_empty() => Says::NoRole,
            Ok(Some(Named::Annotation(_, value))) => Says::Role(excerpt(value)),
        };
        SourceStep {
            source,
            key: source::key(&self.rules, source),
            says,
        }
    }

    fn ceiling_step(&self, role: Option<&RoleArn>, workload: &Workload) -> GuardStep {
        let ceiling = self.ceiling.load();
        let finding = match (&*ceiling, role) {
            (None, _) => Finding::Off,
            (Some(_), None) => Finding::NotAsked,
            (Some(ceiling), Some(role)) => {
                // One that is malformed is refused for that before the ceiling is asked.
                let pods_own = external_id(workload).unwrap_or_default();
                match ceiling.admit(role, &workload.namespace, pods_own) {
                    Ok(_) => Finding::Allows,
                    Err(reason) => Finding::Refuses(reason),
                }
            }
        };
        GuardStep {
            guard: "ceiling",
            enforcement: ceiling.as_ref().map(|_| Enforcement::Enforce),
            key: None,
            reads: None,
            finding,
        }
    }
}
