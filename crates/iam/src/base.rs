//! The base ARN: what completes the short name in a pod's annotation to the ARN of a role, and what is taken off again
//! before a role is shown to a pod.

use std::fmt;
use std::str::FromStr;

use crate::arn::{ArnError, RoleArn, check_path_length, check_segments, split};

/// `arn:PARTITION:iam::ACCOUNT:role/` or `...:role/PATH/`; it always ends with `/`.
///
/// All that kube2iam accepts and that can lead to a role is accepted, and the legal characters `+=,@` besides.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BaseArn(Box<str>);

impl BaseArn {
    /// Reads a base ARN; a missing `/` at the end is appended.
    pub fn parse(text: &str) -> Result<Self, ArnError> {
        let (_, resource) = split(text)?;
        let path = match resource.strip_prefix("role") {
            Some("") => "",
            Some(rest) => rest.strip_prefix('/').ok_or(ArnError::NotARole)?,
            None => return Err(ArnError::NotARole),
        };
        check_segments(path)?;
        check_path_length(path.strip_suffix('/').unwrap_or(path))?;
        let slash = if text.ends_with('/') { "" } else { "/" };
        Ok(Self(format!("{text}{slash}").into()))
    }

    /// The base ARN, `/` at the end included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ARN of the role that `value`, a name or a path and a name, stands for below this base. For what may be a
    /// whole ARN as well, there is [`RoleArn::complete`].
    pub fn complete(&self, value: &str) -> Result<RoleArn, ArnError> {
        RoleArn::parse(&format!("{}{value}", self.0))
    }

    /// The role that `value` stands for in this base's partition and account, below the base or not: an ARN is taken as
    /// it is, anything else is a name, or a path and a name, from the account's root.
    pub fn in_account(&self, value: &str) -> Result<RoleArn, ArnError> {
        if RoleArn::is_meant(value) {
            return RoleArn::parse(value);
        }
        let account = self
            .0
            .split_once(":role/")
            .map_or("", |(account, _)| account);
        RoleArn::parse(&format!("{account}:role/{value}"))
    }

    /// The short form of a role below this base: the inverse of [`BaseArn::complete`].
    pub fn strip<'a>(&self, role: &'a RoleArn) -> Option<&'a str> {
        role.as_str().strip_prefix(&*self.0)
    }
}

impl fmt::Display for BaseArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BaseArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseArn({})", self.0)
    }
}

impl FromStr for BaseArn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::generate::{base, path, segment};

    #[test]
    fn a_role_of_the_same_account_need_not_be_below_the_base() {
        let base = BaseArn::parse("arn:aws-cn:iam::123456789012:role/k8s").unwrap();
        for (value, expected) in [
            ("nodes", "arn:aws-cn:iam::123456789012:role/nodes"),
            (
                "infra/nodes",
                "arn:aws-cn:iam::123456789012:role/infra/nodes",
            ),
            (
                "arn:aws:iam::210987654321:role/x",
                "arn:aws:iam::210987654321:role/x",
            ),
        ] {
            assert_eq!(base.in_account(value).unwrap().as_str(), expected);
        }
        assert_eq!(base.in_account("/x"), Err(ArnError::EmptySegment));
    }

    #[test]
    fn what_kube2iam_accepts_is_accepted_and_ends_with_a_slash() {
        for (text, expected) in [
            (
                "arn:aws:iam::123456789012:role",
                "arn:aws:iam::123456789012:role/",
            ),
            (
                "arn:aws:iam::123456789012:role/",
                "arn:aws:iam::123456789012:role/",
            ),
            (
                "arn:aws:iam::123456789012:role/a",
                "arn:aws:iam::123456789012:role/a/",
            ),
            (
                "arn:aws-cn:iam::123456789012:role/a-b/c.d/",
                "arn:aws-cn:iam::123456789012:role/a-b/c.d/",
            ),
            (
                "arn:aws:iam::123456789012:role/a+b=c,d@e_f",
                "arn:aws:iam::123456789012:role/a+b=c,d@e_f/",
            ),
        ] {
            assert_eq!(BaseArn::parse(text).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn what_could_never_lead_to_a_role_is_refused() {
        let long = format!("arn:aws:iam::123456789012:role/{}", "y".repeat(511));
        for (text, error) in [
            ("", ArnError::Prefix),
            ("arn:aws:iam::1234:role/", ArnError::Account),
            ("arn:aws:iam::123456789012:rolefoo", ArnError::NotARole),
            ("arn:aws:iam::123456789012:user/", ArnError::NotARole),
            ("arn:aws:iam::123456789012:role//", ArnError::EmptySegment),
            ("arn:aws:iam::123456789012:role/a//", ArnError::EmptySegment),
            ("arn:aws:iam::123456789012:role/../", ArnError::DotSegment),
            ("arn:aws:iam::123456789012:role/*", ArnError::Character('*')),
            ("arn:aws:sts::123456789012:role/", ArnError::Session),
            (&long, ArnError::PathTooLong(513)),
        ] {
            assert_eq!(BaseArn::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_role_elsewhere_has_no_short_form() {
        let base = BaseArn::parse("arn:aws:iam::123456789012:role/team").unwrap();
        for text in [
            "arn:aws:iam::123456789012:role/app",
            "arn:aws:iam::123456789012:role/team",
            "arn:aws:iam::123456789012:role/teams/app",
            "arn:aws:iam::210987654321:role/team/app",
            "arn:aws-cn:iam::123456789012:role/team/app",
        ] {
            assert_eq!(base.strip(&RoleArn::parse(text).unwrap()), None, "{text}");
        }
    }

    #[test]
    fn a_completed_value_cannot_leave_its_base() {
        let base = BaseArn::parse("arn:aws:iam::123456789012:role/team").unwrap();
        for (value, error) in [
            ("", ArnError::NameMissing),
            ("app/", ArnError::NameMissing),
            ("/app", ArnError::EmptySegment),
            ("../app", ArnError::DotSegment),
            (
                "arn:aws:iam::123456789012:role/app",
                ArnError::Character(':'),
            ),
        ] {
            assert_eq!(base.complete(value), Err(error), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn stripping_undoes_completing(base in base(), path in path(), name in segment()) {
            let short = format!("{path}{name}");
            let role = base.complete(&short);
            prop_assume!(!matches!(role, Err(ArnError::PathTooLong(_))));
            let role = role.unwrap();
            prop_assert_eq!(base.strip(&role), Some(&*short));
        }
    }
}
