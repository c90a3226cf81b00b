//! Globs as kube2iam's namespace annotations use them: `*` stands for any characters, `/` included; every other
//! character, `?` and `[` too, stands for itself; both ends are anchored. No match ever backtracks.

/// A glob whose only special character is `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob(Box<str>);

impl Glob {
    /// Every text is a glob.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same as a regular expression in RE2's syntax, without anchors; for texts of one line.
    pub fn to_regexp(&self) -> String {
        let pieces: Vec<String> = self.0.split('*').map(regex::escape).collect();
        pieces.join(".*")
    }

    /// Whether the whole of `text` matches; case counts. Time is linear in the lengths of pattern and text: with `*`
    /// alone, taking each literal piece at its first place can never spoil a later one.
    pub fn matches(&self, text: &str) -> bool {
        let Some((prefix, rest)) = self.0.split_once('*') else {
            return *self.0 == *text;
        };
        let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
        let inner = text
            .strip_prefix(prefix)
            .and_then(|text| text.strip_suffix(suffix));
        let Some(mut inner) = inner else {
            return false;
        };
        middle.split('*').all(|piece| {
            let found = inner.find(piece);
            if let Some(start) = found {
                inner = &inner[start + piece.len()..];
            }
            found.is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    /// The definition, word for word; exponential, hence for short texts only.
    fn matches_by_definition(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((&'*', rest)) => {
                (0..=text.len()).any(|taken| matches_by_definition(rest, &text[taken..]))
            }
            Some((literal, rest)) => text
                .split_first()
                .is_some_and(|(first, text)| first == literal && matches_by_definition(rest, text)),
        }
    }

    #[test]
    fn only_the_asterisk_is_special_and_both_ends_are_anchored() {
        for (pattern, text, expected) in [
            ("role/app", "role/app", true),
            ("role/app", "role/app2", false),
            ("role/app", "a/role/app", false),
            ("role/*", "role/a/b/c", true),
            ("role/*", "role/", true),
            ("*app", "role/app", true),
            ("*app", "role/app-admin", false),
            ("r*/a*p", "role/path/app", true),
            ("ab*ba", "aba", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("***", "a", true),
            ("ro?e", "role", false),
            ("ro?e", "ro?e", true),
            ("[a-z]", "a", false),
            ("a.c", "abc", false),
            ("APP*", "app", false),
            ("\\*", "*", false),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn a_hostile_pattern_takes_time_linear_in_its_length() {
        // Every `a*` finds its place and the `b` never does: backtracking would take 10^11 steps even if it were only
        // quadratic, the right way takes about 10^6.
        let pattern = format!("{}b*", "a*".repeat(100_000));
        let text = "a".repeat(1_000_000);
        let start = Instant::now();
        assert!(!Glob::new(&pattern).matches(&text));
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn it_matches_what_the_definition_matches(pattern in "[ab*é]{0,8}", text in "[abé]{0,10}") {
            let expected = matches_by_definition(
                &pattern.chars().collect::<Vec<_>>(),
                &text.chars().collect::<Vec<_>>(),
            );
            prop_assert_eq!(Glob::new(&pattern).matches(&text), expected);
        }
    }
}
