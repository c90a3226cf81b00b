//! Patterns over role ARNs, as the annotation of a namespace lists them: a glob or a regular expression, always held
//! against the WHOLE ARN (partition and account included) and always anchored at both ends.

use regex::bytes::{Regex, RegexBuilder};
use thiserror::Error;

use crate::arn::RoleArn;
use crate::base::BaseArn;
use crate::glob::Glob;

/// What one compiled expression may take, in bytes.
const SIZE_LIMIT: usize = 64 * 1024;

/// Why a text is not a usable pattern. One line; the pattern itself is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// Not a regular expression.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// An expression that would take more than 64 KiB when compiled, such as `(a{1000}){1000}`.
    #[error("the regular expression is too large")]
    TooLarge,
}

/// A pattern for role ARNs.
#[derive(Clone, Debug)]
pub struct RolePattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Glob(Glob),
    Regexp(Regex),
}

impl RolePattern {
    /// A [`Glob`] over the whole ARN.
    pub fn glob(pattern: &str) -> Self {
        Self(Kind::Glob(Glob::new(pattern)))
    }

    /// A [`Glob`] over what follows the base ARN. (A base ARN cannot contain `*`.)
    pub fn glob_below(base: &BaseArn, pattern: &str) -> Self {
        Self::glob(&format!("{base}{pattern}"))
    }

    /// A regular expression over the whole ARN, in the syntax of the crate `regex` with ASCII classes, which is RE2's
    /// for all that ARNs need. It must match from the first character to the last: `a|b` matches `a` and `b` only.
    pub fn regexp(pattern: &str) -> Result<Self, PatternError> {
        Self::anchored("", pattern)
    }

    /// A regular expression over what follows the base ARN; the base stands for itself, and before every alternative.
    pub fn regexp_below(base: &BaseArn, pattern: &str) -> Result<Self, PatternError> {
        Self::anchored(&regex::escape(base.as_str()), pattern)
    }

    fn anchored(prefix: &str, pattern: &str) -> Result<Self, PatternError> {
        // Alone first: `a)|(?:b` is an error by itself and would break out of the group.
        compile(pattern)?;
        compile(&format!(r"\A{prefix}(?:{pattern})\z")).map(|regexp| Self(Kind::Regexp(regexp)))
    }

    /// Whether the whole ARN matches; case counts, unless a regular expression says `(?i)`. Linear in the ARN's length.
    pub fn matches(&self, role: &RoleArn) -> bool {
        match &self.0 {
            Kind::Glob(glob) => glob.matches(role.as_str()),
            Kind::Regexp(regexp) => regexp.is_match(role.as_str().as_bytes()),
        }
    }
}

fn compile(pattern: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(SIZE_LIMIT)
        .dfa_size_limit(SIZE_LIMIT)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
            // The crate draws the pattern with an arrow below; the cause is the last line.
            error => {
                let text = error.to_string();
                let cause = text.lines().last().unwrap_or_default();
                PatternError::Syntax(cause.trim_start_matches("error: ").to_owned())
            }
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::generate::{base, role, segment};

    fn arn(role: &str) -> RoleArn {
        RoleArn::parse(&format!("arn:aws:iam::123456789012:role/{role}")).unwrap()
    }

    fn team() -> BaseArn {
        BaseArn::parse("arn:aws:iam::123456789012:role/te.am").unwrap()
    }

    #[test]
    fn a_regular_expression_must_match_the_whole_arn() {
        for (pattern, role, expected) in [
            ("arn:aws:iam::123456789012:role/my-role", "my-role", true),
            (
                "arn:aws:iam::123456789012:role/my-role",
                "my-role-admin",
                false,
            ),
            ("my-role", "my-role", false),
            (".*/my-role", "my-role", true),
            (".*/my-role", "pa/th/my-role", true),
            (".*/a|.*/b", "a", true),
            (".*/a|.*/b", "b", true),
            (".*/a|.*/b", "ab", false),
            (".*/a|b", "b", false),
            (".*/a|b", "ax", false),
            ("", "a", false),
            ("(?i).*/MY-ROLE", "my-role", true),
            (".*/MY-ROLE", "my-role", false),
            (
                r"arn:aws:iam::\d{12}:role/\w+-[[:alpha:]]+",
                "my-role",
                true,
            ),
            ("^.*/my-role$", "my-role", true),
            ("(?m)^.*/my$", "my-role", false),
        ] {
            let compiled = RolePattern::regexp(pattern).unwrap();
            assert_eq!(compiled.matches(&arn(role)), expected, "{pattern} {role}");
        }
    }

    #[test]
    fn below_a_base_every_alternative_is_below_it_and_the_base_is_literal() {
        for (pattern, role, expected) in [
            ("a|b", "te.am/a", true),
            ("a|b", "te.am/b", true),
            ("a|b", "b", false),
            ("a|.*", "other/b", false),
            (".*", "te.am/x/y", true),
            (".*", "teXam/x", false),
            ("", "te.am/a", false),
            ("^a$", "te.am/a", false),
        ] {
            let compiled = RolePattern::regexp_below(&team(), pattern).unwrap();
            assert_eq!(compiled.matches(&arn(role)), expected, "{pattern} {role}");
        }
    }

    #[test]
    fn below_a_base_a_glob_crosses_slashes_but_not_the_base() {
        for (pattern, role, expected) in [
            ("*", "te.am/x/y", true),
            ("*", "other/x", false),
            ("app", "te.am/app", true),
            ("app", "te.am/app2", false),
            ("", "te.am/app", false),
        ] {
            let glob = RolePattern::glob_below(&team(), pattern);
            assert_eq!(glob.matches(&arn(role)), expected, "{pattern} {role}");
        }
    }

    #[test]
    fn a_pattern_cannot_break_out_of_its_anchors() {
        for pattern in [
            ")|(", "a)|(?:b", "(", "a\\", "[a", "(?x)a #", "(?x)a #)", "a|*", r"\Qa\E",
        ] {
            for compiled in [
                RolePattern::regexp(pattern),
                RolePattern::regexp_below(&team(), pattern),
            ] {
                let error = compiled.unwrap_err();
                assert!(
                    matches!(error, PatternError::Syntax(_)),
                    "{pattern}: {error:?}"
                );
                assert!(!error.to_string().contains('\n'), "{pattern}: {error}");
            }
        }
    }

    #[test]
    fn an_expression_that_would_fill_the_memory_is_refused() {
        for pattern in ["(a{1000}){1000}", "a{5000}", r"(?u)\w{1000}"] {
            let error = RolePattern::regexp(pattern).unwrap_err();
            assert_eq!(error, PatternError::TooLarge, "{pattern}");
        }
        assert!(RolePattern::regexp(&"(".repeat(10_000)).is_err());
    }

    #[test]
    fn the_cause_of_a_bad_expression_is_told() {
        assert_eq!(
            RolePattern::regexp("a(b").unwrap_err().to_string(),
            "not a regular expression: unclosed group"
        );
    }

    /// Every kind of pattern that stands for this one role alone.
    fn exact(role: &RoleArn) -> Vec<RolePattern> {
        vec![
            RolePattern::glob(role.as_str()),
            RolePattern::regexp(&regex::escape(role.as_str())).unwrap(),
        ]
    }

    proptest! {
        #[test]
        fn an_exact_pattern_matches_its_role_and_no_extension_of_it(
            role in role(),
            extra in segment(),
        ) {
            for pattern in exact(&role) {
                prop_assert!(pattern.matches(&role));
                for other in [
                    format!("{role}{extra}"),
                    format!("{role}/{extra}"),
                    format!("arn:{}:iam::{}:role/{extra}{}{}", role.partition(), role.account(), role.path(), role.name()),
                    format!("arn:{}:iam::{}:role{}{extra}{}", role.partition(), role.account(), role.path(), role.name()),
                ] {
                    if let Ok(other) = RoleArn::parse(&other) {
                        prop_assert!(!pattern.matches(&other), "{:?} {}", pattern, other);
                    }
                }
            }
        }

        #[test]
        fn two_roles_match_each_others_patterns_only_when_they_are_one(left in role(), right in role()) {
            for pattern in exact(&left) {
                prop_assert_eq!(pattern.matches(&right), left == right);
            }
        }

        #[test]
        fn no_pattern_below_a_base_lets_a_role_outside_through(
            base in base(),
            other in base(),
            name in segment(),
            pattern in r"[a-z.*|()?/\[\]^$\\-]{0,12}",
        ) {
            let below = base.complete(&name).unwrap();
            let outside = [
                other.complete(&name).unwrap().to_string(),
                // The same role in another account and in another partition.
                below.as_str().replacen(below.account(), "000000000000", 1),
                below.as_str().replacen(&format!("arn:{}:", below.partition()), "arn:aws-iso-f:", 1),
                // A path that merely begins like the base, and the path above it.
                format!("{}{name}", base.as_str().trim_end_matches('/')),
                format!("arn:{}:iam::{}:role/{name}", below.partition(), below.account()),
            ];
            for role in outside.iter().filter_map(|role| RoleArn::parse(role).ok()) {
                if base.strip(&role).is_none() {
                    prop_assert!(!RolePattern::glob_below(&base, &pattern).matches(&role));
                    if let Ok(pattern) = RolePattern::regexp_below(&base, &pattern) {
                        prop_assert!(!pattern.matches(&role));
                    }
                }
            }
        }
    }
}
