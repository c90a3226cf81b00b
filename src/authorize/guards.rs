//! The namespace's say: kube2iam's list of roles and kiam's regular expression, each off, in audit or in force. In audit
//! a guard judges and never refuses: what it would have refused for is noted in the decision's basis.

use podiam_iam::{BaseArn, RoleArn};

use super::permitted::Permitted;
use super::restrictions::Restrictions;
use super::trace::{Finding, GuardStep};
use super::{Rules, excerpt};
use crate::config::Enforcement;
use crate::reason::Reason;
use crate::workload::{Namespace, Surroundings, Workload};

/// The guards' names, as `explain` tells them.
const RESTRICTIONS: &str = "namespace-restrictions";
const PERMITTED: &str = "namespace-permitted";

/// The guards that are on.
#[derive(Debug)]
pub(super) struct Guards(Vec<(Enforcement, Guard)>);

/// One guard and the key of the annotation that it reads.
#[derive(Debug)]
struct Guard {
    key: String,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    Restrictions(Restrictions),
    Permitted(Permitted),
}

impl Guards {
    pub(super) fn new(rules: &Rules) -> Self {
        let base = || -> Option<BaseArn> { rules.base.clone() };
        let restrictions = rules.restrictions.map(|format| {
            let key = rules.keys.allowed_roles.clone();
            let reader = Reader::Restrictions(Restrictions::new(format, base()));
            (rules.enforcement, Guard { key, reader })
        });
        let permitted = rules.permitted.map(|enforcement| {
            let key = rules.keys.permitted.clone().unwrap_or_default();
            let reader = Reader::Permitted(Permitted::new(base()));
            (enforcement, Guard { key, reader })
        });
        Self(restrictions.into_iter().chain(permitted).collect())
    }

    /// Asks each guard; the first refusal of one that is in force ends it.
    pub(super) fn check(
        &self,
        role: &RoleArn,
        workload: &Workload,
        around: Surroundings<'_>,
        overlooked: &mut Vec<Reason>,
    ) -> Result<(), Reason> {
        for (enforcement, guard) in &self.0 {
            match (guard.check(role, workload, around.namespace), enforcement) {
                (Ok(()), _) => {}
                (Err(reason), Enforcement::Enforce) => return Err(reason),
                // In audit the answer is that of a guard that is off, which does not wait for the namespace either.
                (Err(reason), Enforcement::Audit) if reason.is_unsettled() => {}
                (Err(reason), Enforcement::Audit) => overlooked.push(reason),
            }
        }
        Ok(())
    }

    /// What each guard says, also those that are off. Without a role none is asked.
    pub(super) fn steps(
        &self,
        role: Option<&RoleArn>,
        workload: &Workload,
        around: Surroundings<'_>,
    ) -> impl Iterator<Item = GuardStep> {
        [RESTRICTIONS, PERMITTED].into_iter().map(move |name| {
            let Some((enforcement, guard)) = self.0.iter().find(|(_, it)| it.name() == name) else {
                return GuardStep {
                    guard: name,
                    enforcement: None,
                    key: None,
                    reads: None,
                    finding: Finding::Off,
                };
            };
            let finding = role.map_or(Finding::NotAsked, |role| {
                match guard.check(role, workload, around.namespace) {
                    Ok(()) => Finding::Allows,
                    Err(reason) => Finding::Refuses(reason),
                }
            });
            GuardStep {
                guard: name,
                enforcement: Some(*enforcement),
                key: Some(guard.key.clone()),
                reads: around
                    .namespace
                    .and_then(|namespace| guard.annotation(namespace))
                    .map(excerpt),
                finding,
            }
        })
    }
}

impl Guard {
    fn name(&self) -> &'static str {
        match self.reader {
            Reader::Restrictions(_) => RESTRICTIONS,
            Reader::Permitted(_) => PERMITTED,
        }
    }

    fn annotation<'a>(&self, namespace: &'a Namespace) -> Option<&'a str> {
        match self.reader {
            Reader::Restrictions(_) => namespace.allowed_roles.as_deref(),
            Reader::Permitted(_) => namespace.permitted.as_deref(),
        }
    }

    fn check(
        &self,
        role: &RoleArn,
        workload: &Workload,
        namespace: Option<&Namespace>,
    ) -> Result<(), Reason> {
        let name = || workload.namespace.to_string();
        // Another namespace's list must never speak for this pod, even if the caller mixes them up.
        let Some(namespace) = namespace.filter(|known| known.name == workload.namespace) else {
            return Err(Reason::UnknownNamespace { namespace: name() });
        };
        let Some(annotation) = self.annotation(namespace) else {
            return Err(Reason::NamespaceAllowsNothing {
                namespace: name(),
                key: self.key.clone(),
            });
        };
        let allowed = match &self.reader {
            Reader::Restrictions(restrictions) => restrictions.allow(annotation, role),
            Reader::Permitted(permitted) => permitted.allow(annotation, role),
        };
        match allowed {
            Ok(true) => Ok(()),
            Ok(false) => Err(Reason::NamespaceForbids {
                role: role.to_string(),
                namespace: name(),
            }),
            Err(problem) => Err(Reason::NamespaceAnnotationInvalid {
                namespace: name(),
                key: self.key.clone(),
                problem,
            }),
        }
    }
}
