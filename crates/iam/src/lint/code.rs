//! The codes of findings. A code keeps its number and its meaning for good; a rule that goes leaves its number empty.

use std::fmt;

/// How bad a finding is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is wrong by itself.
    Note,
    /// A door stands open for somebody who is inside already, or will one day.
    Warning,
    /// Pods, or strangers, can have roles that they should not have.
    Error,
}

impl Severity {
    /// As findings print it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong. 0xx: the file; 1xx: what an identity may do; 2xx: whom a role trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// It cannot be read as a policy.
    NotAPolicy,
    /// It is made by an expression that only Terraform can evaluate.
    NotJudged,
    /// AssumeRole on `*`.
    AssumeAnything,
    /// AssumeRole on every role of an account, or in every account.
    AssumeEveryRole,
    /// AssumeRole by the beginning of a name, without a path.
    NoPath,
    /// AssumeRole allowed, and the rest not denied.
    NoDeny,
    /// The node's own role is among those that may be assumed.
    ReachesNodeRole,
    /// Trust in everyone.
    TrustsAnyone,
    /// Trust in a whole account.
    TrustsAccount,
    /// Trust in a role by its ARN, whose policy has no Deny.
    TrustsWithoutDeny,
    /// A session longer than role chaining allows.
    LongChain,
    /// Trust in another account without an external ID.
    NoExternalId,
    /// Trust in a role or user that was deleted.
    DeadPrincipal,
    /// Trust in an AWS service beside the nodes.
    ServiceLeft,
    /// `NotPrincipal` or an Allow for everyone else.
    NotPrincipal,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 15] = [
        Self::NotAPolicy,
        Self::NotJudged,
        Self::AssumeAnything,
        Self::AssumeEveryRole,
        Self::NoPath,
        Self::NoDeny,
        Self::ReachesNodeRole,
        Self::TrustsAnyone,
        Self::TrustsAccount,
        Self::TrustsWithoutDeny,
        Self::LongChain,
        Self::NoExternalId,
        Self::DeadPrincipal,
        Self::ServiceLeft,
        Self::NotPrincipal,
    ];

    /// As findings, ignore comments and SARIF write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAPolicy => "PI001",
            Self::NotJudged => "PI002",
            Self::AssumeAnything => "PI101",
            Self::AssumeEveryRole => "PI102",
            Self::NoPath => "PI103",
            Self::NoDeny => "PI104",
            Self::ReachesNodeRole => "PI105",
            Self::TrustsAnyone => "PI201",
            Self::TrustsAccount => "PI202",
            Self::TrustsWithoutDeny => "PI203",
            Self::LongChain => "PI204",
            Self::NoExternalId => "PI205",
            Self::DeadPrincipal => "PI206",
            Self::ServiceLeft => "PI207",
            Self::NotPrincipal => "PI208",
        }
    }

    /// How bad it is, unless something in the documents makes it less.
    pub const fn severity(self) -> Severity {
        match self {
            Self::NotAPolicy
            | Self::AssumeAnything
            | Self::AssumeEveryRole
            | Self::TrustsAnyone
            | Self::DeadPrincipal
            | Self::NotPrincipal => Severity::Error,
            Self::NoPath
            | Self::NoDeny
            | Self::ReachesNodeRole
            | Self::TrustsAccount
            | Self::TrustsWithoutDeny
            | Self::LongChain
            | Self::NoExternalId
            | Self::ServiceLeft => Severity::Warning,
            Self::NotJudged => Severity::Note,
        }
    }

    /// The rule in one line.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::NotAPolicy => "The file or document cannot be read as an IAM policy",
            Self::NotJudged => "The document is made by an expression and was not judged",
            Self::AssumeAnything => "sts:AssumeRole is allowed on *",
            Self::AssumeEveryRole => "sts:AssumeRole is allowed on every role of an account",
            Self::NoPath => "sts:AssumeRole is allowed by the beginning of names, without a path",
            Self::NoDeny => "sts:AssumeRole is allowed on some roles and not denied on the rest",
            Self::ReachesNodeRole => "The node's own role is among the roles that it may assume",
            Self::TrustsAnyone => "The role trusts everyone",
            Self::TrustsAccount => "The role trusts a whole account",
            Self::TrustsWithoutDeny => {
                "The role trusts a node role whose policy does not deny the rest"
            }
            Self::LongChain => "The role's longest session is longer than role chaining allows",
            Self::NoExternalId => "The role trusts another account without an external ID",
            Self::DeadPrincipal => "The role trusts a role or user that was deleted",
            Self::ServiceLeft => "The role trusts an AWS service beside the nodes",
            Self::NotPrincipal => "The role trusts everyone but those named",
        }
    }

    /// What to do about it.
    pub const fn fix(self) -> &'static str {
        match self {
            Self::NotAPolicy => "correct it; `aws iam create-policy` would refuse it too",
            Self::NotJudged => {
                "lint what it evaluates to: terraform show -json PLAN | podiam iam lint -"
            }
            Self::AssumeAnything | Self::AssumeEveryRole => {
                "put the pods' roles under a path and allow only that: podiam iam node-policy --path"
            }
            Self::NoPath => {
                "put the pods' roles under a path, which only who may create roles there can use"
            }
            Self::NoDeny => {
                "add a Deny of sts:AssumeRole with NotResource = what is allowed: podiam iam node-policy"
            }
            Self::ReachesNodeRole => "keep the node role outside of the pods' path, or deny it",
            Self::TrustsAnyone => "name the node role as the principal: podiam iam trust-policy",
            Self::TrustsAccount => {
                "add a condition on aws:PrincipalArn: podiam iam trust-policy --through-account"
            }
            Self::TrustsWithoutDeny => {
                "give the node role the Deny of podiam iam node-policy, or trust the account with a condition on \
                 aws:PrincipalArn"
            }
            Self::LongChain => {
                "set the maximum to 3600 seconds; the nodes assume this role with a role, and STS refuses more"
            }
            Self::NoExternalId => {
                "demand an external ID: podiam iam trust-policy --external-id, and the pod's annotation"
            }
            Self::DeadPrincipal => "name the new role's ARN; IAM will keep its new ID",
            Self::ServiceLeft => {
                "take the service out: whoever may start an instance with this role has it"
            }
            Self::NotPrincipal => "name who is trusted, with Principal",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
