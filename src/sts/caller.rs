//! Who AWS says that calls: the ARN of `GetCallerIdentity` and of its refusals, taken apart. Pure.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns>

use podiam_iam::{BaseArn, Partition, RoleArn};

/// The caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// As AWS wrote it.
    pub arn: String,
    /// Its partition.
    pub partition: Partition,
    /// Its account, 12 digits.
    pub account: String,
    /// What kind of a caller.
    pub kind: CallerKind,
}

/// What kind of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerKind {
    /// A session of a role. The ARN has the role's name without its path.
    Session {
        /// The role's name.
        role: String,
        /// The session's name; that of an instance profile's is the instance's ID.
        session: String,
    },
    /// The account's root user.
    Root,
    /// A user, with keys that do not end by themselves.
    User,
    /// Anything else.
    Other,
}

impl Caller {
    /// `None` where it is not an ARN of a caller.
    pub fn parse(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let (scheme, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        let (_, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        if scheme != "arn" || !matches!(service, "sts" | "iam") || account.is_empty() {
            return None;
        }
        let kind = match resource.split('/').collect::<Vec<_>>()[..] {
            ["assumed-role", role, session] => CallerKind::Session {
                role: role.to_owned(),
                session: session.to_owned(),
            },
            ["root"] => CallerKind::Root,
            ["user", ..] => CallerKind::User,
            _ => CallerKind::Other,
        };
        Some(Self {
            arn: arn.to_owned(),
            partition: partition.parse().ok()?,
            account: account.to_owned(),
            kind,
        })
    }

    /// The name of the caller's role, where it is a session of one.
    pub fn role(&self) -> Option<&str> {
        match &self.kind {
            CallerKind::Session { role, .. } => Some(role),
            _ => None,
        }
    }

    /// The ARN of the caller's role, where it is a session of one; its path is not in what AWS says.
    pub fn role_arn(&self) -> Option<String> {
        let (partition, account) = (self.partition, &self.account);
        let role = self.role()?;
        Some(format!("arn:{partition}:iam::{account}:role/{role}"))
    }

    /// Whether it is an instance's own session: EC2 names it after the instance.
    pub fn is_instance(&self) -> bool {
        let CallerKind::Session { session, .. } = &self.kind else {
            return false;
        };
        session.strip_prefix("i-").is_some_and(|id| {
            matches!(id.len(), 8 | 17) && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }

    /// Whether it is a session of this role.
    pub fn is_session_of(&self, role: &RoleArn) -> bool {
        self.partition == role.partition()
            && self.account == role.account()
            && self.role() == Some(role.name())
    }

    /// The base of role names in the caller's account: what the agent discovers there.
    pub fn base(&self) -> Option<BaseArn> {
        let (partition, account) = (self.partition, &self.account);
        BaseArn::parse(&format!("arn:{partition}:iam::{account}:role/")).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instances_session_is_told_from_other_callers() {
        for (arn, role, is_instance) in [
            (
                "arn:aws:sts::123456789012:assumed-role/nodes/i-0123456789abcdef0",
                Some("nodes"),
                true,
            ),
            (
                "arn:aws-cn:sts::123456789012:assumed-role/nodes/i-01234567",
                Some("nodes"),
                true,
            ),
            (
                "arn:aws:sts::123456789012:assumed-role/nodes/i-am-no-node",
                Some("nodes"),
                false,
            ),
            (
                "arn:aws:sts::123456789012:assumed-role/admin/jane",
                Some("admin"),
                false,
            ),
            ("arn:aws:iam::123456789012:user/ops/jane", None, false),
            ("arn:aws:iam::123456789012:root", None, false),
        ] {
            let caller = Caller::parse(arn).unwrap();
            assert_eq!(
                (caller.role(), caller.is_instance()),
                (role, is_instance),
                "{arn}"
            );
        }
        for arn in [
            "",
            "arn:aws:s3:::bucket",
            "arn:nowhere:iam::123456789012:root",
        ] {
            assert_eq!(Caller::parse(arn), None, "{arn}");
        }
    }

    #[test]
    fn a_session_is_a_roles_by_name_account_and_partition_whatever_the_path() {
        let caller =
            Caller::parse("arn:aws:sts::123456789012:assumed-role/nodes/i-01234567").unwrap();
        for (role, expected) in [
            ("arn:aws:iam::123456789012:role/k8s/nodes", true),
            ("arn:aws:iam::123456789012:role/other", false),
            ("arn:aws:iam::210987654321:role/nodes", false),
            ("arn:aws-cn:iam::123456789012:role/nodes", false),
        ] {
            let role = RoleArn::parse(role).unwrap();
            assert_eq!(caller.is_session_of(&role), expected, "{role:?}");
        }
    }
}
