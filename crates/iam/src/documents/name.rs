//! Names of resources in other services. They go into ARNs, so whatever ARNs or policies read as more than a letter
//! (`*`, `?`, `$`, `:`) is refused in all of them.

use thiserror::Error;

/// Why a text is not such a name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is not {what}: {rule}")]
pub struct NameError {
    text: String,
    what: &'static str,
    rule: &'static str,
}

/// Checks the name of an S3 bucket ("Bucket naming rules" in the S3 user guide, the general purpose ones).
pub(super) fn bucket(text: &str) -> Result<(), NameError> {
    let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let legal = (3..=63).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-'))
        && ends_well(text.chars().next())
        && ends_well(text.chars().last());
    check(
        legal,
        text,
        "the name of a bucket",
        "3 to 63 of a-z, 0-9, . and -, a letter or digit at both ends",
    )
}

/// Checks where keys in a bucket begin. S3 allows more; this much is safe in a policy.
pub(super) fn key_prefix(text: &str) -> Result<(), NameError> {
    let legal = text.len() <= 512
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "!-_./'()=+@,".contains(c));
    check(
        legal,
        text,
        "the beginning of a key",
        "at most 512 of A-Z, a-z, 0-9 and !-_./'()=+@,",
    )
}

/// Checks the ID of a hosted zone, without `/hostedzone/` (Route 53 API, `ResourceId`).
pub(super) fn hosted_zone(text: &str) -> Result<(), NameError> {
    let legal = (1..=32).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric());
    check(
        legal,
        text,
        "the ID of a hosted zone",
        "1 to 32 letters and digits, as Z0123456789ABCDEFGHIJ",
    )
}

/// Checks the name of an Auto Scaling group.
pub(super) fn auto_scaling_group(text: &str) -> Result<(), NameError> {
    let legal = (1..=255).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_graphic() && !"*?$:\"\\".contains(c));
    check(
        legal,
        text,
        "the name of an Auto Scaling group",
        "1 to 255 visible characters, without * ? $ : \" and \\",
    )
}

/// Checks a region: `eu-central-1`.
pub(super) fn region(text: &str) -> Result<(), NameError> {
    check(
        is_region(text),
        text,
        "a region",
        "lower-case words and a number, as eu-central-1",
    )
}

/// Whether a text has the form of a region.
pub fn is_region(text: &str) -> bool {
    let mut parts = text.rsplit('-');
    let number = parts.next().unwrap_or_default();
    let words: Vec<&str> = parts.collect();
    !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
        && words.len() >= 2
        && words
            .iter()
            .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
}

fn check(legal: bool, text: &str, what: &'static str, rule: &'static str) -> Result<(), NameError> {
    if legal {
        return Ok(());
    }
    Err(NameError {
        text: text.to_owned(),
        what,
        rule,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_exist_pass() {
        for result in [
            bucket("my-bucket.example"),
            key_prefix(""),
            key_prefix("reports/2026/"),
            hosted_zone("Z0123456789ABCDEFGHIJ"),
            auto_scaling_group("eks-workers-8ec0a1f2"),
            region("eu-central-1"),
            region("us-gov-west-1"),
            region("us-isob-east-1"),
        ] {
            assert_eq!(result, Ok(()));
        }
    }

    #[test]
    fn what_a_policy_would_read_as_more_than_letters_is_refused_everywhere() {
        for text in ["*", "a*", "a?b", "${aws:x}", "a:b", "a\nb", "ä"] {
            for check in [bucket, key_prefix, hosted_zone, auto_scaling_group, region] {
                assert!(check(text).is_err(), "{text}");
            }
        }
        for text in ["", "ab", "-abc", "abc-", "ABC", &"a".repeat(64)] {
            assert!(bucket(text).is_err(), "{text}");
        }
        for text in ["", "eu", "central-1", "eu-central", "eu--1", "EU-central-1"] {
            assert!(region(text).is_err(), "{text}");
        }
    }
}
