//! A set of roles as an operator writes it down: an account, a path, or a glob over ARNs. Unlike the patterns of
//! namespaces it never means more than it says: what could match no role at all is an error, not an empty set.

use std::fmt;

use thiserror::Error;

use crate::arn::{RoleArn, check_segments};
use crate::charset::first_illegal;
use crate::glob::Glob;
use crate::partition::Partition;

const ACCOUNT_DIGITS: usize = 12;

/// Why a text is no set of roles. One line; the text itself is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ScopeError {
    /// Neither of the forms.
    #[error(
        "write an ARN with * for any characters (arn:aws:iam::123456789012:role/team/*), an account (123456789012), a \
         path (/team/), or * for every role"
    )]
    Form,
    /// An ARN glob with other than six parts, or of something that is no role.
    #[error("an ARN of roles is of the form arn:PARTITION:iam::ACCOUNT:role/PATH-AND-NAME")]
    NotARole,
    /// A partition that does not exist, without a `*`.
    #[error(
        "its partition does not exist; AWS has aws, aws-cn, aws-us-gov and others, and * stands for all"
    )]
    Partition,
    /// An account that is neither twelve digits nor has a `*`.
    #[error("an account is 12 digits, or * for every account; quote it in YAML")]
    Account,
    /// A path that does not end with `/`, or has an empty or a dot segment.
    #[error("a path begins and ends with \"/\", without empty parts, \".\" and \"..\"")]
    Path,
    /// A character that no role has.
    #[error("the character {0:?} is in no role's path or name")]
    Character(char),
}

/// A set of roles. Cheap to match: no backtracking, no regular expression.
#[derive(Clone, PartialEq, Eq)]
pub struct RoleScope {
    text: Box<str>,
    kind: Kind,
}

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Arn(Glob),
    Account,
    Path,
}

impl RoleScope {
    /// Reads one of the forms: `arn:...` with `*` for any characters (`/` included), twelve digits, `/path/` (roles of
    /// any account whose path begins so), or `*`.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let kind = if text == "*" {
            Kind::Arn(Glob::new(text))
        } else if text.starts_with("arn:") {
            check_arn(text)?;
            Kind::Arn(Glob::new(text))
        } else if text.starts_with('/') {
            check_path(text)?;
            Kind::Path
        } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            if text.len() != ACCOUNT_DIGITS {
                return Err(ScopeError::Account);
            }
            Kind::Account
        } else {
            return Err(ScopeError::Form);
        };
        Ok(Self {
            text: text.into(),
            kind,
        })
    }

    /// Whether the role belongs to the set; case counts.
    pub fn contains(&self, role: &RoleArn) -> bool {
        match &self.kind {
            Kind::Arn(glob) => glob.matches(role.as_str()),
            Kind::Account => role.account() == &*self.text,
            Kind::Path => role.path().starts_with(&*self.text),
        }
    }

    /// A regular expression in RE2's syntax, without anchors, that matches exactly the ARNs of these roles when it is
    /// anchored at both ends. It presumes a text that is the ARN of a role.
    pub fn to_regexp(&self) -> String {
        match &self.kind {
            Kind::Arn(glob) => glob.to_regexp(),
            Kind::Account => format!("arn:[^:]*:iam::{}:.*", self.text),
            Kind::Path => format!("arn:[^:]*:iam::[^:]*:role{}.*", regex::escape(&self.text)),
        }
    }
}

fn check_arn(text: &str) -> Result<(), ScopeError> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts.as_slice() else {
        return Err(ScopeError::NotARole);
    };
    if !partition.contains('*') && partition.parse::<Partition>().is_err() {
        return Err(ScopeError::Partition);
    }
    let legal = |byte: u8| byte.is_ascii_digit() || byte == b'*';
    let is_account =
        account.bytes().all(legal) && (account.contains('*') || account.len() == ACCOUNT_DIGITS);
    if !is_account {
        return Err(ScopeError::Account);
    }
    let role = resource.strip_prefix("role/").ok_or(ScopeError::NotARole)?;
    if role.is_empty() {
        return Err(ScopeError::NotARole);
    }
    first_illegal(role, &['/', '*']).map_or(Ok(()), |illegal| Err(ScopeError::Character(illegal)))
}

fn check_path(text: &str) -> Result<(), ScopeError> {
    if let Some(illegal) = first_illegal(text, &['/']) {
        return Err(ScopeError::Character(illegal));
    }
    let inner = text.strip_prefix('/').unwrap_or(text);
    if !text.ends_with('/') || check_segments(inner).is_err() {
        return Err(ScopeError::Path);
    }
    Ok(())
}

impl fmt::Display for RoleScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RoleScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoleScope({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::generate::role;

    fn arn(text: &str) -> RoleArn {
        RoleArn::parse(text).unwrap()
    }

    #[test]
    fn a_scope_holds_what_it_says_and_nothing_else() {
        let own = "arn:aws:iam::123456789012:role/team/app";
        for (scope, role, expected) in [
            ("*", own, true),
            ("arn:aws:iam::123456789012:role/team/*", own, true),
            ("arn:aws:iam::123456789012:role/*/app", own, true),
            ("arn:*:iam::*:role/*app", own, true),
            ("arn:aws:iam::123456789012:role/team/app", own, true),
            ("arn:aws:iam::123456789012:role/team", own, false),
            (
                "arn:aws:iam::123456789012:role/team/*",
                "arn:aws:iam::210987654321:role/team/app",
                false,
            ),
            ("arn:aws:iam::123456789012:role/te*/x", own, false),
            ("123456789012", own, true),
            ("210987654321", own, false),
            ("/team/", own, true),
            ("/", own, true),
            ("/tea/", own, false),
            ("/team/app/", own, false),
            ("/app/", own, false),
            ("/team/", "arn:aws-cn:iam::210987654321:role/team/x/y", true),
            ("/team/", "arn:aws:iam::123456789012:role/team", false),
            ("/team/", "arn:aws:iam::123456789012:role/my/team/x", false),
        ] {
            let scope = RoleScope::parse(scope).unwrap();
            assert_eq!(scope.contains(&arn(role)), expected, "{scope} {role}");
        }
    }

    #[test]
    fn what_could_match_no_role_is_an_error() {
        for (text, expected) in [
            ("", ScopeError::Form),
            ("app", ScopeError::Form),
            ("**", ScopeError::Form),
            ("ARN:aws:iam::123456789012:role/*", ScopeError::Form),
            ("12345678901", ScopeError::Account),
            ("1234567890123", ScopeError::Account),
            ("arn:aws:iam::1234:role/*", ScopeError::Account),
            ("arn:aws:iam::12345678901x:role/*", ScopeError::Account),
            ("arn:aws:iam::123456789012:user/*", ScopeError::NotARole),
            ("arn:aws:iam::123456789012:role", ScopeError::NotARole),
            ("arn:aws:iam::123456789012:role/", ScopeError::NotARole),
            ("arn:aws:sts::123456789012:role/*", ScopeError::NotARole),
            (
                "arn:aws:iam:eu-central-1:123456789012:role/*",
                ScopeError::NotARole,
            ),
            ("arn:*", ScopeError::NotARole),
            ("arn:amazon:iam::*:role/*", ScopeError::Partition),
            ("arn:aws:iam::*:role/a b", ScopeError::Character(' ')),
            ("arn:aws:iam::*:role/a?", ScopeError::Character('?')),
            ("/team", ScopeError::Path),
            ("//", ScopeError::Path),
            ("/a/../", ScopeError::Path),
            ("/a*/", ScopeError::Character('*')),
        ] {
            assert_eq!(RoleScope::parse(text), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_regular_expression_matches_the_same_roles(
            role in role(),
            other in role(),
            cut in any::<prop::sample::Index>(),
            form in 0..4_u8,
        ) {
            let text = match form {
                0 => role.account().to_owned(),
                1 => role.path().to_owned(),
                2 => role.as_str().to_owned(),
                _ => {
                    let start = role.as_str().find("role/").unwrap() + "role/".len();
                    let end = start + cut.index(role.as_str().len() - start);
                    format!("{}*", &role.as_str()[..end])
                }
            };
            let scope = RoleScope::parse(&text).unwrap();
            let regexp = Regex::new(&format!("^(?:{})$", scope.to_regexp())).unwrap();
            prop_assert!(scope.contains(&role), "{} {}", scope, role);
            for role in [&role, &other] {
                prop_assert_eq!(scope.contains(role), regexp.is_match(role.as_str()), "{} {}", scope, role);
            }
        }
    }
}
