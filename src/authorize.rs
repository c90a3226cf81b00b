//! Which role may it have? One pure decision over a pod, its namespace and the agent's [`Rules`].
//!
//! `index` asks whenever a pod or its namespace changes and keeps the answer; requests only read it. Nothing here
//! waits, asks AWS or knows addresses: a hostNetwork pod gets the answer it would get if it owned one.

mod attributes;
mod attribution;
mod restrictions;
mod session_policy;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use podiam_iam::{BaseArn, CompleteError, ExternalId, RoleArn, SessionName};

pub use attributes::{Attributes, Tag};
pub use session_policy::SessionPolicy;

use crate::config::{Attribution, RestrictionFormat, SessionNaming};
use crate::reason::Reason;
use crate::workload::{AnnotationKeys, Namespace, Workload};
use restrictions::Restrictions;

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
    /// How the annotations of namespaces are read. `None`: every namespace may have every role.
    pub restrictions: Option<RestrictionFormat>,
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
    restrictions: Option<Restrictions>,
}

impl Policy {
    /// Takes the operator's rules.
    pub fn new(rules: Rules) -> Self {
        let restrictions = rules
            .restrictions
            .map(|format| Restrictions::new(format, rules.base.clone()));
        Self {
            rules,
            restrictions,
        }
    }

    /// Decides what a pod may have. `namespace` is the pod's own, or `None` while it is not known; it matters only
    /// where restrictions are on.
    pub fn decide(&self, workload: &Workload, namespace: Option<&Namespace>) -> Decision {
        let role = self.role(workload)?;
        let external_id = external_id(workload)?;
        self.check_namespace(&role, workload, namespace)?;
        let session_name = match self.rules.naming {
            SessionNaming::Pod => attribution::pod_name(workload),
            SessionNaming::Workload => attribution::workload_name(workload),
            SessionNaming::Role => {
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

    /// The role that the annotation, or in its absence the default, names.
    fn role(&self, workload: &Workload) -> Result<RoleArn, Reason> {
        let key = || self.rules.keys.role.clone();
        let Some(value) = workload.annotations.role.as_deref() else {
            let default_role = self.rules.default_role.clone();
            return default_role.ok_or_else(|| Reason::NoRole { key: key() });
        };
        if value.trim().is_empty() {
            return Err(Reason::OptedOut { key: key() });
        }
        RoleArn::complete(value, self.rules.base.as_ref()).map_err(|error| {
            let value = excerpt(value);
            match error {
                CompleteError::NoBase => Reason::NoBaseArn { value },
                CompleteError::Arn(error) => Reason::MalformedRole {
                    value,
                    problem: error.to_string(),
                },
            }
        })
    }

    /// The guard: where restrictions are on, the namespace must list the role. The default role is everybody's, as
    /// with kube2iam: the operator gave it to all pods, so naming it is no privilege.
    fn check_namespace(
        &self,
        role: &RoleArn,
        workload: &Workload,
        namespace: Option<&Namespace>,
    ) -> Result<(), Reason> {
        let Some(restrictions) = &self.restrictions else {
            return Ok(());
        };
        if self.rules.default_role.as_ref() == Some(role) {
            return Ok(());
        }
        let name = || workload.namespace.to_string();
        let key = || self.rules.keys.allowed_roles.clone();
        // Another namespace's list must never speak for this pod, even if the caller mixes them up.
        let Some(namespace) = namespace.filter(|known| known.name == workload.namespace) else {
            return Err(Reason::UnknownNamespace { namespace: name() });
        };
        let Some(annotation) = namespace.allowed_roles.as_deref() else {
            return Err(Reason::NamespaceAllowsNothing {
                namespace: name(),
                key: key(),
            });
        };
        match restrictions.allow(annotation, role) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Reason::NamespaceForbids {
                role: role.to_string(),
                namespace: name(),
            }),
            Err(problem) => Err(Reason::NamespaceAnnotationInvalid {
                namespace: name(),
                key: key(),
                problem,
            }),
        }
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
