//! What `iptables-save -c` prints: tables, chains, rules and their counters. Pure.

use super::{
    error::Error,
    rule::Rule,
    ruleset::{TABLES, Table, is_ours},
};

/// The rules of one address family, as they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    tables: Vec<SavedTable>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SavedTable {
    name: String,
    pub(super) chains: Vec<String>,
    /// In the order in which they were printed, which within a chain is that in which the kernel looks at them.
    pub(super) rules: Vec<SavedRule>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct SavedRule {
    pub(super) chain: String,
    pub(super) rule: Rule,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Saved {
    /// Reads what `program` printed.
    pub(super) fn parse(text: &str, program: &str) -> Result<Self, Error> {
        let unreadable = |line: &str| Error::Unreadable {
            program: program.to_owned(),
            line: line.to_owned(),
        };
        let mut tables: Vec<SavedTable> = Vec::new();
        for line in text.lines() {
            // "# Table `nat' is incompatible, use 'nft' tool.": it holds what iptables has no words for.
            if let Some(table) = line.strip_prefix("# Table `")
                && let Some((table, _)) = table.split_once("' is incompatible")
                && TABLES.contains(&table)
            {
                return Err(Error::Incompatible(table.to_owned()));
            }
            if line.is_empty() || line.starts_with('#') || line == "COMMIT" {
                continue;
            }
            if let Some(name) = line.strip_prefix('*') {
                tables.push(SavedTable {
                    name: name.to_owned(),
                    ..SavedTable::default()
                });
                continue;
            }
            let table = tables.last_mut().ok_or_else(|| unreadable(line))?;
            if let Some(chain) = line.strip_prefix(':') {
                table
                    .chains
                    .extend(chain.split(' ').next().map(str::to_owned));
            } else {
                let rule = SavedRule::parse(line).ok_or_else(|| unreadable(line))?;
                table.rules.push(rule);
            }
        }
        Ok(Self { tables })
    }

    pub(super) fn table(&self, name: &str) -> Option<&SavedTable> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// Whether a chain of podiam is there.
    pub(super) fn has_ours(&self) -> bool {
        self.our_chains().next().is_some()
    }

    /// The chains of podiam, in whatever table.
    pub(super) fn our_chains(&self) -> impl Iterator<Item = &str> {
        let chains = self.tables.iter().flat_map(|table| &table.chains);
        chains.map(String::as_str).filter(|chain| is_ours(chain))
    }

    /// Whether the kubelet keeps its chains here. It makes `KUBE-IPTABLES-HINT` (`KUBE-KUBELET-CANARY` before Kubernetes
    /// 1.24) in mangle so that others find the variant that the node uses.
    pub(super) fn has_kubelets(&self) -> bool {
        let hints = ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"];
        let mut chains = self.tables.iter().flat_map(|table| &table.chains);
        chains.any(|chain| hints.contains(&chain.as_str()))
    }

    /// How many rules others have here.
    pub(super) fn foreign(&self) -> usize {
        let rules = self.tables.iter().flat_map(|table| &table.rules);
        rules.filter(|rule| !rule.is_ours()).count()
    }

    /// The rules of podiam's chains, with table and chain.
    pub(super) fn ours(&self) -> impl Iterator<Item = (&str, &SavedRule)> {
        self.tables.iter().flat_map(|table| {
            let rules = table.rules.iter().filter(|rule| is_ours(&rule.chain));
            rules.map(|rule| (table.name.as_str(), rule))
        })
    }

    /// What is there of what `wanted` is about.
    pub(super) fn of(&self, wanted: &Table) -> &SavedTable {
        static EMPTY: SavedTable = SavedTable {
            name: String::new(),
            chains: Vec::new(),
            rules: Vec::new(),
        };
        self.table(wanted.name).unwrap_or(&EMPTY)
    }
}

impl SavedRule {
    /// `[packets:bytes] -A CHAIN rule`.
    fn parse(line: &str) -> Option<Self> {
        let (counters, rule) = line.strip_prefix('[')?.split_once("] -A ")?;
        let (packets, bytes) = counters.split_once(':')?;
        let (chain, rule) = rule.split_once(' ').unwrap_or((rule, ""));
        Some(Self {
            chain: chain.to_owned(),
            rule: Rule::parse(rule),
            packets: packets.parse().ok()?,
            bytes: bytes.parse().ok()?,
        })
    }

    /// Whether it is in a chain of podiam, or leads to one.
    pub(super) fn is_ours(&self) -> bool {
        is_ours(&self.chain) || self.rule.target().is_some_and(is_ours)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRINTED: &str = "\
# Generated by iptables-nft-save v1.8.9 (nf_tables) on Tue Nov 24 11:06:16 2026
*nat
:PREROUTING ACCEPT [7:420]
:PODIAM-PREROUTING - [0:0]
:KUBE-SERVICES - [0:0]
[7:420] -A PREROUTING -j PODIAM-PREROUTING
[5:300] -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
[2:120] -A PODIAM-PREROUTING -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8181
[0:0] -A KUBE-SERVICES
COMMIT
# Completed on Tue Nov 24 11:06:16 2026
*mangle
:KUBE-IPTABLES-HINT - [0:0]
COMMIT
";

    #[test]
    fn tables_chains_rules_and_counters_are_read() {
        let saved = Saved::parse(PRINTED, "iptables-save").unwrap();
        let nat = saved.table("nat").unwrap();
        assert_eq!(
            nat.chains,
            ["PREROUTING", "PODIAM-PREROUTING", "KUBE-SERVICES"]
        );
        assert_eq!(nat.rules.len(), 4);
        assert!(saved.has_ours() && saved.has_kubelets());
        assert_eq!(saved.foreign(), 2);
        let ours: Vec<_> = saved.ours().collect();
        let [("nat", dnat)] = ours.as_slice() else {
            panic!("{ours:?}");
        };
        assert_eq!((dnat.packets, dnat.bytes), (2, 120));
        assert_eq!(dnat.rule.value("--to-destination"), Some("10.0.0.1:8181"));
    }

    #[test]
    fn a_table_that_nft_wrote_into_is_named() {
        let printed = "# Table `nat' is incompatible, use 'nft' tool.\n";
        let error = Saved::parse(printed, "iptables-save").unwrap_err();
        assert!(
            matches!(&error, Error::Incompatible(table) if table == "nat"),
            "{error:?}"
        );
    }

    #[test]
    fn a_line_that_is_not_a_rule_is_an_error_and_not_overlooked() {
        for printed in [
            "-A INPUT -j DROP\n",
            "*nat\nwhatever\n",
            "*nat\n[x:0] -A INPUT -j DROP\n",
        ] {
            let error = Saved::parse(printed, "iptables-save").unwrap_err();
            assert!(matches!(error, Error::Unreadable { .. }), "{printed}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[*:\\[\\]A-Z0-9 \n-]{0,60}") {
            let _ = Saved::parse(&text, "iptables-save");
        }
    }
}
