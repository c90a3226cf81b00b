//! The checks: their stable codes, what each is about, and what being right means. Everything that lists checks (flags,
//! reports, docs/doctor.md) is made from or tested against [`Check::ALL`].

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Where the facts of a check come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// STS, IAM and EC2.
    Aws,
    /// The Kubernetes API.
    Cluster,
    /// The node that the command runs on.
    Node,
}

impl Group {
    /// Every group, in the order of a report.
    pub const ALL: [Self; 3] = [Self::Aws, Self::Cluster, Self::Node];

    /// As flags and reports write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Cluster => "cluster",
            Self::Node => "node",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that must be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// `sts-endpoint`
    StsEndpoint,
    /// `node-identity`
    NodeIdentity,
    /// `node-policy`
    NodePolicy,
    /// `roles-assumable`
    RolesAssumable,
    /// `trust-policies`
    TrustPolicies,
    /// `session-duration`
    SessionDuration,
    /// `imds-hop-limit`
    ImdsHopLimit,
    /// `clock-skew`
    ClockSkew,
    /// `agents`
    Agents,
    /// `namespace-guards`
    NamespaceGuards,
    /// `rbac`
    Rbac,
    /// `version-skew`
    VersionSkew,
    /// `imds-tokens`
    ImdsTokens,
    /// `kernel`
    Kernel,
    /// `dataplane`
    Dataplane,
    /// `interception`
    Interception,
}

impl Check {
    /// Every check, in the order of a report.
    pub const ALL: [Self; 16] = [
        Self::StsEndpoint,
        Self::NodeIdentity,
        Self::NodePolicy,
        Self::RolesAssumable,
        Self::TrustPolicies,
        Self::SessionDuration,
        Self::ImdsHopLimit,
        Self::ClockSkew,
        Self::Agents,
        Self::NamespaceGuards,
        Self::Rbac,
        Self::VersionSkew,
        Self::ImdsTokens,
        Self::Kernel,
        Self::Dataplane,
        Self::Interception,
    ];

    /// Its code. Stable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StsEndpoint => "sts-endpoint",
            Self::NodeIdentity => "node-identity",
            Self::NodePolicy => "node-policy",
            Self::RolesAssumable => "roles-assumable",
            Self::TrustPolicies => "trust-policies",
            Self::SessionDuration => "session-duration",
            Self::ImdsHopLimit => "imds-hop-limit",
            Self::ClockSkew => "clock-skew",
            Self::Agents => "agents",
            Self::NamespaceGuards => "namespace-guards",
            Self::Rbac => "rbac",
            Self::VersionSkew => "version-skew",
            Self::ImdsTokens => "imds-tokens",
            Self::Kernel => "kernel",
            Self::Dataplane => "dataplane",
            Self::Interception => "interception",
        }
    }

    /// Where its facts come from.
    pub const fn group(self) -> Group {
        match self {
            Self::StsEndpoint
            | Self::NodeIdentity
            | Self::NodePolicy
            | Self::RolesAssumable
            | Self::TrustPolicies
            | Self::SessionDuration
            | Self::ImdsHopLimit
            | Self::ClockSkew => Group::Aws,
            Self::Agents | Self::NamespaceGuards | Self::Rbac | Self::VersionSkew => Group::Cluster,
            Self::ImdsTokens | Self::Kernel | Self::Dataplane | Self::Interception => Group::Node,
        }
    }

    /// What is true where it is right.
    pub const fn right(self) -> &'static str {
        match self {
            Self::StsEndpoint => {
                "the region is known and its own STS endpoint answers over TLS, soon"
            }
            Self::NodeIdentity => "the credentials are a session of the nodes' role",
            Self::NodePolicy => {
                "the nodes' role is denied every role beside the pods' own, explicitly"
            }
            Self::RolesAssumable => {
                "every role that a pod may have can be assumed, with what the agent sends"
            }
            Self::TrustPolicies => {
                "`podiam iam lint` finds nothing in the trust policies of the pods' roles"
            }
            Self::SessionDuration => "every role's MaxSessionDuration is the agent's or longer",
            Self::ImdsHopLimit => {
                "the metadata service's answers go no further than the node (hop limit 1)"
            }
            Self::ClockSkew => "this clock agrees with those of AWS and the API server",
            Self::Agents => "there are agents with flags that can be read, and each is ready",
            Self::NamespaceGuards => {
                "a guard says which roles a namespace may have, and none may have all"
            }
            Self::Rbac => {
                "the agent's service account may do what the agent needs, and nothing else"
            }
            Self::VersionSkew => "all agents run one version, and it is this program's",
            Self::ImdsTokens => "the metadata service refuses requests without a token (IMDSv1)",
            Self::Kernel => {
                "the kernel has what the rules need and keeps them while no agent runs (6.9)"
            }
            Self::Dataplane => "the way of interception fits the node's dataplane",
            Self::Interception => {
                "the rules are whole, and what pods ask of the metadata service gets to an agent"
            }
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// No check or group has this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no check or group has that name; there are the groups {groups} and the checks {checks}")]
pub struct UnknownCheck {
    groups: String,
    checks: String,
}

/// Some of the checks: one by its code, or all of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection(Vec<Check>);

impl FromStr for Selection {
    type Err = UnknownCheck;

    fn from_str(name: &str) -> Result<Self, UnknownCheck> {
        let is_meant = |check: &Check| check.as_str() == name || check.group().as_str() == name;
        let checks: Vec<Check> = Check::ALL.into_iter().filter(is_meant).collect();
        if checks.is_empty() {
            return Err(UnknownCheck {
                groups: Group::ALL.map(Group::as_str).join(", "),
                checks: Check::ALL.map(Check::as_str).join(", "),
            });
        }
        Ok(Self(checks))
    }
}

impl Selection {
    /// The checks to make: those of `only` (all where it is empty) without those of `skip`, in the order of a report.
    pub fn wanted(only: &[Self], skip: &[Self]) -> Vec<Check> {
        let is_in =
            |list: &[Self], check: &Check| list.iter().any(|Self(checks)| checks.contains(check));
        Check::ALL
            .into_iter()
            .filter(|check| only.is_empty() || is_in(only, check))
            .filter(|check| !is_in(skip, check))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_kebab_case_and_no_groups_name() {
        let codes: BTreeSet<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
        assert_eq!(codes.len(), Check::ALL.len());
        for code in codes {
            assert!(
                code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{code}"
            );
            assert!(
                Group::ALL.iter().all(|group| group.as_str() != code),
                "{code}"
            );
        }
    }

    #[test]
    fn checks_are_chosen_by_code_and_by_group_and_left_out_by_both() {
        let parse = |names: &[&str]| -> Vec<Selection> {
            names.iter().map(|name| name.parse().unwrap()).collect()
        };
        assert_eq!(Selection::wanted(&[], &[]), Check::ALL);
        assert_eq!(
            Selection::wanted(&parse(&["rbac", "node"]), &parse(&["kernel"])),
            [
                Check::Rbac,
                Check::ImdsTokens,
                Check::Dataplane,
                Check::Interception
            ]
        );
        let error = "nodes".parse::<Selection>().unwrap_err().to_string();
        assert!(
            error.contains("aws, cluster, node") && error.contains("clock-skew"),
            "{error}"
        );
    }
}
