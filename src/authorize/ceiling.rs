//! The ceiling: what no annotation can exceed, from a file that no tenant can edit. It holds for every role, whoever
//! named it, the default role included. Read by [`file`]; replaced as a whole while the agent runs.

mod file;
#[cfg(test)]
mod tests;

use podiam_iam::{ExternalId, Glob, RoleArn, RoleScope};

use crate::reason::Reason;

pub use file::CeilingError;

/// One reading of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// For the whole cluster.
    pub(super) cluster: Lists,
    /// In their order; the first whose name matches a namespace is that namespace's.
    pub(super) namespaces: Vec<NamespaceRule>,
    /// In their order; the first that holds a role is that role's.
    pub(super) external_ids: Vec<ExternalIdRule>,
}

/// Which roles may be had: none of `deny`, and one of `allow` where there is such a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    pub(super) allow: Option<Vec<RoleScope>>,
    pub(super) deny: Vec<RoleScope>,
}

/// What the operator decides for the namespaces of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamespaceRule {
    pub(super) name: Glob,
    pub(super) lists: Lists,
}

/// What the operator decides about the external ID of some roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExternalIdRule {
    pub(super) roles: Vec<RoleScope>,
    pub(super) rule: PodsExternalId,
}

/// What becomes of the external ID that a pod names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PodsExternalId {
    /// This one is sent in its place, also where the pod names none.
    Replaced(ExternalId),
    /// A pod that names one is refused; none is sent.
    Forbidden,
}

impl Ceiling {
    /// Whether a pod of `namespace` may have the role, and the external ID that is sent for it.
    pub(super) fn admit(
        &self,
        role: &RoleArn,
        namespace: &str,
        pods_own: Option<ExternalId>,
    ) -> Result<Option<ExternalId>, Reason> {
        let arn = || role.to_string();
        if self.cluster.denies(role) {
            return Err(Reason::CeilingDenies { role: arn() });
        }
        if !self.cluster.allows(role) {
            return Err(Reason::CeilingAllowsOthers { role: arn() });
        }
        let own = self
            .namespaces
            .iter()
            .find(|rule| rule.name.matches(namespace));
        if own.is_some_and(|own| own.lists.denies(role) || !own.lists.allows(role)) {
            return Err(Reason::CeilingForbidsInNamespace {
                role: arn(),
                namespace: namespace.to_owned(),
            });
        }
        let about_ids = self
            .external_ids
            .iter()
            .find(|rule| contains(&rule.roles, role));
        match (about_ids.map(|found| &found.rule), pods_own) {
            (None, pods_own) => Ok(pods_own),
            (Some(PodsExternalId::Replaced(operators)), _) => Ok(Some(operators.clone())),
            (Some(PodsExternalId::Forbidden), None) => Ok(None),
            (Some(PodsExternalId::Forbidden), Some(_)) => {
                Err(Reason::ExternalIdForbidden { role: arn() })
            }
        }
    }
}

impl Lists {
    fn denies(&self, role: &RoleArn) -> bool {
        contains(&self.deny, role)
    }

    fn allows(&self, role: &RoleArn) -> bool {
        self.allow.as_ref().is_none_or(|all| contains(all, role))
    }
}

fn contains(scopes: &[RoleScope], role: &RoleArn) -> bool {
    scopes.iter().any(|scope| scope.contains(role))
}
