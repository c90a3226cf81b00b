//! What the kernel has, for people (a table) and programs (JSON).

use std::fmt;

use serde::Serialize;

use crate::{METADATA_V6, Rules, rules::METADATA_PORT};

/// The rules of one back end as they are in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Where they are, in words: `table inet podiam`, or the variant of iptables and why that one.
    pub place: String,
    /// What its rules intercept; `None` where the rule that brings requests to the agent is missing.
    pub intercepts: Option<Rules>,
    /// In what it differs from the rule set that podiam writes for `intercepts`, a line for each; empty is intact.
    pub drift: Vec<String>,
    /// Every rule there is, in the order in which the kernel looks at them.
    pub rules: Vec<RuleStatus>,
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
        let state = if self.is_intact() {
            "intact"
        } else {
            "DRIFTED"
        };
        writeln!(f, "{}: {state}", self.place)?;
        for line in &self.drift {
            writeln!(f, "  ! {line}")?;
        }
        if let Some(rules) = &self.intercepts {
            let (v4, v6) = (rules.metadata, METADATA_V6);
            writeln!(f, "  IPv4        {v4}:{METADATA_PORT} -> {}", rules.target)?;
            match rules.target_v6 {
                Some(target) => writeln!(f, "  IPv6        [{v6}]:{METADATA_PORT} -> {target}")?,
                None => writeln!(f, "  IPv6        [{v6}] refused")?,
            }
            writeln!(f, "  interfaces  {}", rules.interfaces)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Interfaces, METADATA_V4};

    #[test]
    fn a_table_shows_target_interfaces_counters_and_drift() {
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
        };
        assert_eq!(
            status.to_string(),
            "\
table inet podiam: DRIFTED
  ! the chain forward is missing
  IPv4        169.254.169.254:80 -> 10.0.0.1:8181
  IPv6        [fd00:ec2::254] refused
  interfaces  all

CHAIN       PACKETS   BYTES  RULE
imds             12  720000  ip daddr 169.254.169.254 drop
prerouting        0       0  (not podiam's)
"
        );
    }
}
