//! One rule of iptables: text that two versions of iptables may write differently and that still means the same.

use std::collections::BTreeMap;

/// A rule without its chain: matches, then `-j` and what belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    text: String,
    /// What each option says; `! -i eth0` is the option `! -i`.
    options: BTreeMap<String, Vec<String>>,
}

/// Versions of iptables differ in the order of matches, in `-m tcp` (which `-p tcp` implies) and in `/32`.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.options == other.options
    }
}

impl Eq for Rule {}

impl Rule {
    /// Any text is a rule; one that iptables would not take equals none that it prints.
    pub(super) fn parse(text: &str) -> Self {
        let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let (mut option, mut is_negated) = (String::new(), false);
        for word in words(text) {
            if word == "!" {
                is_negated = true;
            } else if word.starts_with('-') {
                let sign = if std::mem::take(&mut is_negated) {
                    "! "
                } else {
                    ""
                };
                option = format!("{sign}{word}");
                options.entry(option.clone()).or_default();
            } else {
                let value = word.strip_suffix("/32").or(word.strip_suffix("/128"));
                let value = value.unwrap_or(&word).to_owned();
                options.entry(option.clone()).or_default().push(value);
            }
        }
        options.remove("-m");
        Self {
            text: text.to_owned(),
            options,
        }
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The one value of an option.
    pub(super) fn value(&self, option: &str) -> Option<&str> {
        match self.options.get(option)?.as_slice() {
            [value] => Some(value),
            _ => None,
        }
    }

    /// The chain or target that it leads to, by jump or by goto.
    pub(super) fn target(&self) -> Option<&str> {
        self.value("-j").or(self.value("-g"))
    }

    /// Whether it jumps for every packet.
    pub(super) fn is_plain_jump(&self) -> bool {
        self.options.len() == 1 && self.options.contains_key("-j")
    }
}

/// The words of a line, as iptables-restore reads them: double quotes hold words together.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let (mut is_quoted, mut is_escaped) = (false, false);
    for character in text.chars() {
        match character {
            _ if is_escaped => {
                word.get_or_insert_default().push(character);
                is_escaped = false;
            }
            '\\' if is_quoted => is_escaped = true,
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            ' ' if !is_quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_rule_in_the_words_of_another_version_is_equal() {
        for (ours, theirs) in [
            (
                "-i eni+ -d 169.254.169.254 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8181",
                "-d 169.254.169.254/32 -i eni+ -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8181",
            ),
            (
                "-p tcp --dport 8181 -m conntrack --ctstate DNAT --ctorigdst fd00:ec2::254 -j RETURN",
                "-p tcp -m tcp --dport 8181 -m conntrack --ctstate DNAT --ctorigdst fd00:ec2::254/128 -j RETURN",
            ),
        ] {
            assert_eq!(Rule::parse(ours), Rule::parse(theirs));
        }
    }

    #[test]
    fn another_rule_is_not_equal() {
        let rule = Rule::parse("-d 169.254.169.254 -j DROP");
        for other in [
            "-d 169.254.169.253 -j DROP",
            "! -d 169.254.169.254 -j DROP",
            "-d 169.254.169.254 -j ACCEPT",
            "-d 169.254.169.254 -p tcp -j DROP",
            "-d 169.254.169.254/31 -j DROP",
            "-j DROP",
            "-d 169.254.169.254 -m comment --comment \"-j DROP\" -j DROP",
        ] {
            assert_ne!(rule, Rule::parse(other), "{other}");
        }
    }

    #[test]
    fn only_a_jump_without_matches_is_plain() {
        assert!(Rule::parse("-j PODIAM-INPUT").is_plain_jump());
        for other in [
            "-i eth0 -j PODIAM-INPUT",
            "-g PODIAM-INPUT",
            "! -i lo -j PODIAM-INPUT",
        ] {
            assert!(!Rule::parse(other).is_plain_jump(), "{other}");
            assert_eq!(Rule::parse(other).target(), Some("PODIAM-INPUT"));
        }
    }

    #[test]
    fn a_quoted_comment_is_one_value() {
        let rule = Rule::parse(r#"-m comment --comment "a \"b\" -j ACCEPT" -j DROP"#);
        assert_eq!(rule.value("--comment"), Some(r#"a "b" -j ACCEPT"#));
        assert_eq!(rule.target(), Some("DROP"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,60}") {
            let _ = Rule::parse(&text);
        }
    }
}
