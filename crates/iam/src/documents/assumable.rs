//! Which roles the nodes may assume: those of one account below a path, or whose names begin with a prefix.

use thiserror::Error;

use crate::{ArnError, BaseArn, RoleArn};

/// Neither path nor prefix was given, so that every role of the account would be assumable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "without a path or a prefix every role of the account could be assumed by every node: administrators', other \
     clusters' and the node's own among them, as soon as their trust policies name the node role. Put the pods' roles \
     under a path of their own"
)]
pub struct EveryRole;

/// The roles `arn:PARTITION:iam::ACCOUNT:role/PATH/PREFIX*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssumableRoles {
    base: BaseArn,
    prefix: String,
}

impl AssumableRoles {
    /// The roles below `base` whose names, or further paths, begin with `prefix` (empty: all below `base`).
    pub fn new(base: BaseArn, prefix: &str) -> Result<Self, ArnError> {
        // What can begin a role's name is what a role's name can be.
        base.complete(&format!("{prefix}x"))?;
        Ok(Self {
            base,
            prefix: prefix.to_owned(),
        })
    }

    /// Refuses what stands for every role of the account.
    pub fn limited(self) -> Result<Self, EveryRole> {
        if self.are_every_role() {
            return Err(EveryRole);
        }
        Ok(self)
    }

    /// Whether this is `arn:PARTITION:iam::ACCOUNT:role/*`.
    pub fn are_every_role(&self) -> bool {
        self.prefix.is_empty() && self.base.as_str().ends_with(":role/")
    }

    /// Whether `role` is one of them, as IAM compares: letter by letter.
    pub fn contain(&self, role: &RoleArn) -> bool {
        self.base
            .strip(role)
            .is_some_and(|rest| rest.starts_with(&self.prefix))
    }

    /// What stands in a policy for them.
    pub fn pattern(&self) -> String {
        format!("{}{}*", self.base, self.prefix)
    }
}

/// What sessions carry besides the role. STS asks for an action of its own for each, of the caller and of the role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Session tags: `sts:TagSession`.
    pub tags: bool,
    /// A source identity: `sts:SetSourceIdentity`.
    pub source_identity: bool,
}

impl Extras {
    /// The actions of STS that assuming a role then takes.
    pub fn actions(self) -> impl Iterator<Item = &'static str> {
        [
            (true, "sts:AssumeRole"),
            (self.tags, "sts:TagSession"),
            (self.source_identity, "sts:SetSourceIdentity"),
        ]
        .into_iter()
        .filter_map(|(wanted, action)| wanted.then_some(action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(base: &str, prefix: &str) -> Result<AssumableRoles, ArnError> {
        AssumableRoles::new(BaseArn::parse(base)?, prefix)
    }

    #[test]
    fn the_pattern_is_path_and_prefix_and_one_star() {
        for (base, prefix, pattern) in [
            ("arn:aws:iam::123456789012:role/k8s", "", "role/k8s/*"),
            ("arn:aws:iam::123456789012:role/", "app-", "role/app-*"),
            ("arn:aws:iam::123456789012:role/a/b/", "x", "role/a/b/x*"),
        ] {
            let roles = roles(base, prefix).unwrap().limited().unwrap();
            assert_eq!(
                roles.pattern(),
                format!("arn:aws:iam::123456789012:{pattern}")
            );
        }
    }

    #[test]
    fn no_wildcard_can_be_smuggled_in() {
        for (base, prefix) in [
            ("arn:aws:iam::123456789012:role/*", ""),
            ("arn:aws:iam::*:role/k8s", ""),
            ("*", ""),
            ("arn:aws:iam::123456789012:role/", "*"),
            ("arn:aws:iam::123456789012:role/", "?"),
            ("arn:aws:iam::123456789012:role/k8s", "${aws:username}"),
            ("arn:aws:iam::123456789012:role/k8s", "../x"),
        ] {
            assert!(roles(base, prefix).is_err(), "{base} {prefix}");
        }
    }

    #[test]
    fn every_role_is_refused_until_it_is_asked_for_by_name() {
        let every = roles("arn:aws:iam::123456789012:role", "").unwrap();
        assert!(every.are_every_role());
        assert_eq!(every.clone().limited(), Err(EveryRole));
        assert_eq!(every.pattern(), "arn:aws:iam::123456789012:role/*");
    }
}
