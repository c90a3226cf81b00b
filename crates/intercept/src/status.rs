//! What the kernel has, for people (a table) and programs (JSON).

use std::fmt;

use serde::Serialize;

use crate::{METADATA_V6, ReversePath, Rules, rules::METADATA_PORT};

/// The rules of one back end as they are in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Where they are, in words: `table inet podiam`, or the variant of iptables and why that one.
    pub place: String,
    /// What the rules intercept; `None` where the rule that brings requests to the agent is missing.
    pub intercepts: Option<Rules>,
    /// Only the rules of [`crate::Backend::guard`] are there: pods are refused, nothing is intercepted.
    pub guard: bool,
    /// Who alone may change the rules, where the kernel keeps them closed.
    pub owner: Option<Owner>,
    /// Seconds since the rules were written, where the kernel keeps a note of it.
    pub age_seconds: Option<u64>,
    /// In what it differs from the rule set that podiam writes for `intercepts`, a line for each; empty is intact.
    pub drift: Vec<String>,
    /// Every rule there is, in the order in which the kernel looks at them.
    pub rules: Vec<RuleStatus>,
}

/// A socket that holds the rules closed to every other, as long as it is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// The socket's netlink port: usually the process's number in its own PID namespace.
    pub port: u32,
    /// The process that holds the socket; `None` where /proc does not show it.
    pub process: Option<Process>,
}

/// A process as /proc shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its number in the PID namespace of who is looking.
    pub pid: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
}

/// One rule and how often it matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleStatus {
    /// The chain it stands in.
    pub chain: String,
    /// In the syntax of nft or iptables; `None` where it is not one of podiam's.
    pub rule: Option<String>,
    /// Packets since the rule was written. NAT rules see only the first packet of each connection.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
}

impl Status {
    /// Whether all rules are there and nothing else is.
    pub fn is_intact(&self) -> bool {
        self.drift.is_empty()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.is_intact(), self.guard) {
            (true, false) => "intact",
            (true, true) => "guard: pods are refused, nothing is intercepted",
            (false, _) => "DRIFTED",
        };
        writeln!(f, "{}: {state}", self.place)?;
        for line in &self.drift {
            writeln!(f, "  ! {line}")?;
        }
        if let Some(rules) = &self.intercepts {
            let (v4, v6) = (rules.metadata, METADATA_V6);
            match rules.target {
                Some(target) => writeln!(f, "  IPv4        {v4}:{METADATA_PORT} -> {target}")?,
                None => writeln!(f, "  IPv4        {v4} refused")?,
            }
            match rules.target_v6 {
                Some(target) => writeln!(f, "  IPv6        [{v6}]:{METADATA_PORT} -> {target}")?,
                None => writeln!(f, "  IPv6        [{v6}] refused")?,
            }
            writeln!(f, "  interfaces  {}", rules.interfaces)?;
            let checked = match rules.reverse_path {
                ReversePath::On => "checked",
                ReversePath::Off => "not checked",
            };
            writeln!(f, "  sources     {checked}")?;
        }
        match &self.owner {
            Some(owner) => writeln!(f, "  owner       {owner}")?,
            None => writeln!(f, "  owner       none: whoever is root can change it")?,
        }
        if let Some(age) = self.age_seconds {
            writeln!(f, "  written     {} ago", Age(age))?;
        }
        writeln!(f)?;
        let width = |header: &str, column: fn(&RuleStatus) -> String| {
            let cells = self.rules.iter().map(|rule| column(rule).len());
            cells.max().unwrap_or(0).max(header.len())
        };
        let chain = width("CHAIN", |rule| rule.chain.clone());
        let packets = width("PACKETS", |rule| rule.packets.to_string());
        let bytes = width("BYTES", |rule| rule.bytes.to_string());
        writeln!(
            f,
            "{:chain$}  {:>packets$}  {:>bytes$}  RULE",
            "CHAIN", "PACKETS", "BYTES"
        )?;
        for rule in &self.rules {
            let text = rule.rule.as_deref().unwrap_or("(not podiam's)");
            writeln!(
                f,
                "{:chain$}  {:>packets$}  {:>bytes$}  {text}",
                rule.chain, rule.packets, rule.bytes
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some(Process { pid, name }) => write!(f, "{name} (process {pid})"),
            None => write!(
                f,
                "netlink port {}, its process is not to be seen",
                self.port
            ),
        }
    }
}

/// Seconds, in the two largest units.
struct Age(u64);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, minutes, hours) = (self.0, self.0 / 60, self.0 / 3600);
        if minutes == 0 {
            write!(f, "{seconds} s")
        } else if hours == 0 {
            write!(f, "{minutes} min {} s", seconds % 60)
        } else if hours < 48 {
            write!(f, "{hours} h {} min", minutes % 60)
        } else {
            write!(f, "{} d {} h", hours / 24, hours % 24)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Interfaces, METADATA_V4};

    #[test]
    fn a_table_shows_target_interfaces_owner_age_counters_and_drift() {
        let target = "10.0.0.1:8181".parse().unwrap();
        let status = Status {
            place: "table inet podiam".into(),
            intercepts: Some(Rules::new(METADATA_V4, target, Interfaces::all())),
            drift: vec!["the chain forward is missing".into()],
            rules: vec![
                RuleStatus {
                    chain: "imds".into(),
                    rule: Some("ip daddr 169.254.169.254 drop".into()),
                    packets: 12,
                    bytes: 720_000,
                },
                RuleStatus {
                    chain: "prerouting".into(),
                    rule: None,
                    packets: 0,
                    bytes: 0,
                },
            ],
            owner: Some(Owner {
                port: 77,
                process: Some(Process {
                    pid: 4711,
                    name: "podiam".into(),
                }),
            }),
            age_seconds: Some(7_500),
            guard: false,
        };
        assert_eq!(
            status.to_string(),
            "\
table inet podiam: DRIFTED
  ! the chain forward is missing
  IPv4        169.254.169.254:80 -> 10.0.0.1:8181
  IPv6        [fd00:ec2::254] refused
  interfaces  all
  sources     checked
  owner       podiam (process 4711)
  written     2 h 5 min ago

CHAIN       PACKETS   BYTES  RULE
imds             12  720000  ip daddr 169.254.169.254 drop
prerouting        0       0  (not podiam's)
"
        );
    }

    #[test]
    fn a_guard_is_told_as_such_and_not_as_drift() {
        let status = Status {
            place: "table inet podiam".into(),
            guard: true,
            ..Status::default()
        };
        assert_eq!(
            status.to_string(),
            "\
table inet podiam: guard: pods are refused, nothing is intercepted
  owner       none: whoever is root can change it

CHAIN  PACKETS  BYTES  RULE
"
        );
    }

    #[test]
    fn an_age_is_told_in_its_two_largest_units() {
        for (seconds, told) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_600, "1 h 0 min"),
            (172_799, "47 h 59 min"),
            (180_000, "2 d 2 h"),
        ] {
            assert_eq!(Age(seconds).to_string(), told);
        }
    }
}
