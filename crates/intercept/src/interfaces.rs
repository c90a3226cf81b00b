//! Which network interfaces pods' traffic comes in on: the value of `--host-interface`.
//!
//! The command line parses it, the rule set ([`crate::nftables`]) turns it into matches. It never looks at the
//! interfaces that exist: pods' interfaces come and go after the rules are written.

use std::{fmt, str::FromStr};

use serde::Serialize;
use thiserror::Error;

/// Longest name of a Linux network interface in bytes: `IFNAMSIZ` less its NUL.
const MAX_NAME: usize = 15;

/// The interfaces whose traffic is intercepted. The default is all of them.
///
/// Written as a comma list of names. A name that ends in `+` stands for every interface that begins so (`eni+`), and
/// one that begins with `!` is left out (`!eth0`). Names that are left out win over names that are listed; a list of
/// nothing but names to leave out covers every other interface. Empty, `+` and `all` mean all; no interface can bear
/// the name `all` (`net.ipv4.conf.all` is taken).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interfaces {
    included: Vec<Pattern>,
    excluded: Vec<Pattern>,
}

/// One name, or every name with a common beginning.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Pattern {
    /// The interface of exactly this name.
    Exact(String),
    /// Every interface whose name begins with this; never empty.
    Prefix(String),
}

/// Why a value of `--host-interface` is not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InterfacesError {
    /// A comma with nothing beside it, or a lone `!`.
    #[error("{0:?} has an empty interface name")]
    Empty(String),
    /// The kernel allows 15 bytes.
    #[error("interface name {0:?} is longer than {MAX_NAME} bytes")]
    TooLong(String),
    /// The kernel allows no white space, `/` or `:`; podiam keeps `+` and `!` for patterns.
    #[error("interface name {name:?} may not contain {character:?}")]
    Character {
        /// The name as written.
        name: String,
        /// What it may not contain.
        character: char,
    },
    /// `.` and `..` are not names of interfaces.
    #[error("{0:?} is not the name of an interface")]
    Reserved(String),
    /// Everything is left out.
    #[error("\"!{0}\" leaves out every interface")]
    NothingLeft(String),
}

impl Interfaces {
    /// Every interface, those that do not exist yet included.
    pub fn all() -> Self {
        Self::default()
    }

    /// True where no interface is left out.
    pub fn is_all(&self) -> bool {
        self.included.is_empty() && self.excluded.is_empty()
    }

    /// Whether traffic that comes in on the interface `name` is intercepted.
    pub fn contains(&self, name: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        (self.included.is_empty() || any(&self.included)) && !any(&self.excluded)
    }

    /// The interfaces that a rule set covers, out of its rules.
    pub(crate) fn from_patterns(mut included: Vec<Pattern>, mut excluded: Vec<Pattern>) -> Self {
        // The same interfaces in another order are the same rules.
        for patterns in [&mut included, &mut excluded] {
            patterns.sort();
            patterns.dedup();
            // So are they with names that another pattern covers; the kernel's sets do not take two that overlap.
            let all = patterns.clone();
            patterns.retain(|pattern| !all.iter().any(|other| other.covers(pattern)));
        }
        Self { included, excluded }
    }

    /// The patterns listed; none means every interface.
    pub(crate) fn included(&self) -> &[Pattern] {
        &self.included
    }

    /// The patterns left out.
    pub(crate) fn excluded(&self) -> &[Pattern] {
        &self.excluded
    }
}

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }

    /// Whether this is another pattern, and every name that `other` matches matches this one too.
    fn covers(&self, other: &Self) -> bool {
        let (Self::Exact(name) | Self::Prefix(name)) = other;
        self != other && matches!(self, Self::Prefix(prefix) if name.starts_with(prefix.as_str()))
    }

    /// `Ok(None)` is the pattern that every name matches.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, InterfacesError> {
        let (name, is_prefix) = match text.strip_suffix('+') {
            Some("") => return Ok(None),
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        if name.len() > MAX_NAME {
            return Err(InterfacesError::TooLong(text.to_owned()));
        }
        let forbidden = |c: char| {
            c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '+' | '!' | '*')
        };
        if let Some(character) = name.chars().find(|c| forbidden(*c)) {
            return Err(InterfacesError::Character {
                name: text.to_owned(),
                character,
            });
        }
        if is_prefix {
            return Ok(Some(Self::Prefix(name.to_owned())));
        }
        match name {
            "all" => Ok(None),
            "." | ".." | "default" => Err(InterfacesError::Reserved(text.to_owned())),
            _ => Ok(Some(Self::Exact(name.to_owned()))),
        }
    }
}

impl FromStr for Interfaces {
    type Err = InterfacesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::all());
        }
        let (mut included, mut excluded) = (Vec::new(), Vec::new());
        let mut everything = false;
        for item in text.split(',').map(str::trim) {
            let (name, is_excluded) = match item.strip_prefix('!') {
                // iptables reads `! eth0` too.
                Some(name) => (name.trim_start(), true),
                None => (item, false),
            };
            if name.is_empty() {
                return Err(InterfacesError::Empty(text.to_owned()));
            }
            match (Pattern::parse(name)?, is_excluded) {
                (Some(pattern), true) => excluded.push(pattern),
                (Some(pattern), false) => included.push(pattern),
                (None, true) => return Err(InterfacesError::NothingLeft(name.to_owned())),
                (None, false) => everything = true,
            }
        }
        if everything {
            included.clear();
        }
        Ok(Self::from_patterns(included, excluded))
    }
}

impl fmt::Display for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all");
        }
        let listed = self.included.iter().map(|pattern| ("", pattern));
        let left_out = self.excluded.iter().map(|pattern| ("!", pattern));
        for (position, (sign, pattern)) in listed.chain(left_out).enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{sign}{pattern}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}+"),
        }
    }
}

impl Serialize for Interfaces {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Interfaces {
        text.parse().unwrap()
    }

    #[test]
    fn empty_plus_and_all_cover_every_interface() {
        for text in ["", "  ", "+", "all", "eni+,all"] {
            let interfaces = parse(text);
            assert!(interfaces.is_all(), "{text:?}");
            assert!(interfaces.contains("eni1234"));
            assert_eq!(interfaces.to_string(), "all");
        }
        assert_eq!(Interfaces::default(), Interfaces::all());
    }

    #[test]
    fn each_form_covers_what_kube2iam_users_mean_by_it() {
        for (text, covered, left) in [
            (
                "docker0",
                &["docker0"][..],
                &["docker", "docker01", "eth0"][..],
            ),
            ("eni+", &["eni", "eni0a1b"], &["en", "eth0", "xeni0"]),
            ("eni+,cni0", &["eni7", "cni0"], &["cni1"]),
            ("!eth0", &["eni7", "eth1", "lo"], &["eth0"]),
            ("! eth0", &["eni7"], &["eth0"]),
            ("!eth+,!ens5", &["eni7"], &["eth0", "eth1", "ens5"]),
            ("cali+,!cali7", &["cali1", "cali70"], &["cali7", "eth0"]),
        ] {
            let interfaces = parse(text);
            for name in covered {
                assert!(interfaces.contains(name), "{text} should cover {name}");
            }
            for name in left {
                assert!(!interfaces.contains(name), "{text} should not cover {name}");
            }
        }
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        assert_eq!(parse("eni+, cni0,eni+"), parse("cni0,eni+"));
        assert_eq!(parse("!b,a,!a0").to_string(), "a,!a0,!b");
        assert_eq!(parse("en+,eni1,eni+,e,!x1,!x+"), parse("e,en+,!x+"));
    }

    #[test]
    fn what_the_kernel_would_not_take_is_refused_with_its_cause() {
        use InterfacesError::{Character, Empty, NothingLeft, Reserved, TooLong};
        for (text, problem) in [
            ("eth0,", Empty("eth0,".into())),
            (",", Empty(",".into())),
            ("!", Empty("!".into())),
            ("abcdefghijklmnop", TooLong("abcdefghijklmnop".into())),
            ("..", Reserved("..".into())),
            ("default", Reserved("default".into())),
            ("!+", NothingLeft("+".into())),
            ("!all", NothingLeft("all".into())),
            (
                "eni*",
                Character {
                    name: "eni*".into(),
                    character: '*',
                },
            ),
            (
                "eth0:1",
                Character {
                    name: "eth0:1".into(),
                    character: ':',
                },
            ),
            (
                "a b",
                Character {
                    name: "a b".into(),
                    character: ' ',
                },
            ),
            (
                "e+i+",
                Character {
                    name: "e+i+".into(),
                    character: '+',
                },
            ),
        ] {
            assert_eq!(text.parse::<Interfaces>(), Err(problem), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_displayed_reads_back_as_the_same(text in "!?[a-z][a-z0-9]{0,4}\\+?(,!?[a-z][a-z0-9]{0,4}\\+?){0,3}") {
            if let Ok(interfaces) = text.parse::<Interfaces>() {
                prop_assert_eq!(parse(&interfaces.to_string()), interfaces);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _ = text.parse::<Interfaces>();
        }
    }
}
