//! Which role may it have? One pure decision over a pod, what is around it, the agent's [`Rules`] and the [`Ceiling`].
//!
//! The role comes from the first of its sources that speaks (`source`); the ceiling and then the namespace's guards
//! (`guards`) may refuse it. `index` asks whenever a pod or what is around it changes and keeps the answer; requests only read it. Nothing here
//! waits, asks AWS or knows addresses: a hostNetwork pod gets the answer it would get if it owned one.

mod admission;
mod attributes;
mod attribution;
mod ceiling;
mod guards;
mod memo;
mod permitted;
mod restrictions;
mod session_policy;
mod source;
mod trace;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use podiam_iam::{BaseArn, ExternalId, RoleArn, SessionName};

use crate::config::{Attribution, Enforcement, RestrictionFormat, SessionNaming};
use crate::index::{Basis, Verdict};
use crate::reason::Reason;
use crate::workload::{AnnotationKeys, Namespace, RoleSource, Surroundings, Workload};
use guards::Guards;

pub use admission::admission_policies;
pub use attributes::{Attributes, Tag};
pub use ceiling::{Ceiling, CeilingError};
pub use session_policy::SessionPolicy;
pub use trace::{Finding, GuardStep, Says, SourceStep, Trace};

/// A pod's answer: what may be asked of STS for it, or why nothing may.
pub type Decision = Result<Arc<Grant>, Reason>;

/// Everything that goes into `AssumeRole`, and therefore the key under which its credentials are kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// `RoleArn`.
    pub role: RoleArn,
    /// `ExternalId`.
    pub external_id: Option<ExternalId>,
    /// `RoleSessionName`.
    pub session_name: SessionName,
    /// `DurationSeconds`, whole seconds.
    pub duration: Duration,
    /// Session tags, source identity, session policy.
    pub attributes: Attributes,
}

/// What the operator decided, once discovery has filled its gaps.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Completes a role's name to its ARN. `None`: only full ARNs are understood.
    pub base: Option<BaseArn>,
    /// The role of pods without the annotation. `None`: they have no role.
    pub default_role: Option<RoleArn>,
    /// Who may name a role; they are asked in the order of [`RoleSource::ALL`].
    pub sources: Vec<RoleSource>,
    /// How the annotations of namespaces are read. `None`: every namespace may have every role.
    pub restrictions: Option<RestrictionFormat>,
    /// Whether these restrictions refuse, or only tell.
    pub enforcement: Enforcement,
    /// kiam's regular expression in an annotation of the namespace. `None`: it is not read.
    pub permitted: Option<Enforcement>,
    /// What sessions are named after.
    pub naming: SessionNaming,
    /// `DurationSeconds` of every session: 900 s to 43200 s, and at most 3600 s where roles are chained.
    pub session_duration: Duration,
    /// The node's address, which [`SessionNaming::Role`] puts into the session's name. kube2iam put the address of
    /// whichever pod asked first there; the node's is the same for all pods that share the session. `None` counts as
    /// 127.0.0.1: the session still works, but `CloudTrail` cannot tell the nodes apart.
    pub host_ip: Option<IpAddr>,
    /// What sessions say of their pods beside their name.
    pub attribution: Attribution,
    /// The annotations' keys, for the reasons.
    pub keys: AnnotationKeys,
}

/// [`Rules`], ready to decide.
#[derive(Debug)]
pub struct Policy {
    rules: Rules,
    guards: Guards,
    ceiling: ArcSwapOption<Ceiling>,
}

impl Policy {
    /// Takes the operator's rules; there is no ceiling yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            guards: Guards::new(&rules),
            rules,
            ceiling: ArcSwapOption::empty(),
        }
    }

    /// Replaces the ceiling. What was decided before stays until it is decided anew.
    pub fn set_ceiling(&self, ceiling: Option<Ceiling>) {
        self.ceiling.store(ceiling.map(Arc::new));
    }

    /// Decides on a pod and its namespace alone; what [`Policy::judge`] decides where no service account is asked.
    pub fn decide(&self, workload: &Workload, namespace: Option<&Namespace>) -> Decision {
        let around = Surroundings {
            namespace,
            service_account: None,
        };
        self.judge(workload, around).decision
    }

    /// Decides what a pod may have, and says how that came about. What is around the pod matters only where a source of
    /// roles or a guard reads it.
    pub fn judge(&self, workload: &Workload, around: Surroundings<'_>) -> Verdict<Grant> {
        let mut basis = Basis::default();
        let decision = self.grant(workload, around, &mut basis);
        if decision.is_err() {
            // It is refused for something else: nothing was overlooked.
            basis.overlooked.clear();
        }
        Verdict { decision, basis }
    }

    fn grant(&self, workload: &Workload, around: Surroundings<'_>, basis: &mut Basis) -> Decision {
        let role = source::role(&self.rules, workload, around, &mut basis.source)?;
        let mut external_id = external_id(workload)?;
        let named = session_name(workload)?;
        if let Some(ceiling) = &*self.ceiling.load() {
            external_id = ceiling.admit(&role, &workload.namespace, external_id)?;
        }
        // The default role is everybody's, as with kube2iam: the operator gave it to all pods, so naming it is no
        // privilege.
        if self.rules.default_role.as_ref() != Some(&role) {
            self.guards
                .check(&role, workload, around, &mut basis.overlooked)?;
        }
        let session_name = match (named, self.rules.naming) {
            (Some(named), _) => named,
            (None, SessionNaming::Pod) => attribution::pod_name(workload),
            (None, SessionNaming::Workload) => attribution::workload_name(workload),
            (None, SessionNaming::Role) => {
                let host_ip = self.rules.host_ip.unwrap_or(Ipv4Addr::LOCALHOST.into());
                SessionName::kube2iam(host_ip, &role)
            }
        };
        Ok(Arc::new(Grant {
            role,
            external_id,
            session_name,
            duration: self.rules.session_duration,
            attributes: attribution::attributes(&self.rules.attribution, workload)?,
        }))
    }

    /// What completes a role's name.
    pub fn base(&self) -> Option<&BaseArn> {
        self.rules.base.as_ref()
    }

    /// The name under which a pod sees its role (the body of the role list): what follows the base ARN, else the ARN.
    pub fn presented(&self, role: &RoleArn) -> String {
        self.short_name(role).unwrap_or(role.as_str()).to_owned()
    }

    /// Whether `requested`, from a request's path, names this role: its short name or its ARN, exactly. One `/` at the
    /// end is forgiven, as the real service forgives it.
    pub fn names(&self, requested: &str, role: &RoleArn) -> bool {
        let requested = requested.strip_suffix('/').unwrap_or(requested);
        requested == role.as_str() || self.short_name(role) == Some(requested)
    }

    fn short_name<'a>(&self, role: &'a RoleArn) -> Option<&'a str> {
        self.rules.base.as_ref()?.strip(role)
    }
}

/// The external ID of the annotation; an empty one is none, as with kube2iam.
fn external_id(workload: &Workload) -> Result<Option<ExternalId>, Reason> {
    let value = workload.annotations.external_id.as_deref();
    value
        .filter(|value| !value.is_empty())
        .map(ExternalId::parse)
        .transpose()
        .map_err(|error| Reason::MalformedExternalId {
            problem: error.to_string(),
        })
}

/// The session name of the annotation; an empty one is none. It is there only where `--session-name-key` is given.
fn session_name(workload: &Workload) -> Result<Option<SessionName>, Reason> {
    let value = workload.annotations.session_name.as_deref();
    value
        .filter(|value| !value.is_empty())
        .map(SessionName::parse)
        .transpose()
        .map_err(|error| Reason::MalformedSessionName {
            problem: error.to_string(),
        })
}

/// What a reason quotes of an annotation, which may be 256 KiB long.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 100;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
