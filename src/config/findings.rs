//! What is legal and leaves a door open: guards that are off or only audit. Told at the start and in /readyz, so that
//! nobody takes "it runs" for "it is guarded".

use super::{Config, Discoverable, Enforcement};

/// An open door, and how to close it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A short, stable name.
    pub code: &'static str,
    /// One line for the operator.
    pub text: &'static str,
}

impl Config {
    /// What of this configuration leaves a door open.
    pub fn findings(&self) -> Vec<Finding> {
        let roles = &self.roles;
        let restrictions = roles.namespace_restrictions.map(|_| roles.enforcement);
        let enforced = |guard| guard == Some(Enforcement::Enforce);
        let audited = |guard| guard == Some(Enforcement::Audit);
        let guarded = enforced(restrictions) || enforced(roles.permitted);
        let all = [
            (
                restrictions.is_none() && roles.permitted.is_none(),
                "namespace-restrictions-off",
                "whoever may annotate a pod may give it any role that the node may assume; see --namespace-restrictions",
            ),
            (
                audited(restrictions),
                "namespace-restrictions-audit",
                "--namespace-restrictions=audit tells and refuses nobody; make it enforce when podiam_audited_total stays",
            ),
            (
                audited(roles.permitted),
                "namespace-permitted-audit",
                "--namespace-permitted=audit tells and refuses nobody; make it enforce when podiam_audited_total stays",
            ),
            (
                guarded && roles.default_role != Discoverable::Absent,
                "default-role-unrestricted",
                "the default role is every pod's, whatever its namespace allows; a ceiling can deny it by namespace",
            ),
            (
                roles.ceiling.is_none(),
                "ceiling-off",
                "no ceiling bounds what annotations may name; see --ceiling",
            ),
            (
                self.annotations.session_name.is_some(),
                "session-names-by-pods",
                "--session-name-key lets pods name their own sessions, so CloudTrail shows what their authors wrote",
            ),
        ];
        let open = all.into_iter().filter(|(is_open, ..)| *is_open);
        open.map(|(_, code, text)| Finding { code, text }).collect()
    }
}
