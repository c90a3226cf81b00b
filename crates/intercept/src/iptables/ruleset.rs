//! The rule set as data: which chains and rules there should be for given [`Rules`], in one address family. Pure.
//!
//! The same three places as nftables' ruleset, in iptables' terms. What refuses stands in the table mangle and not in
//! filter: mangle is looked at first, so that no ACCEPT of kube-proxy, Calico or Docker in filter ends the matter, and
//! next to nobody else writes into its chains INPUT and FORWARD. Where nftables says accept, these rules say RETURN:
//! the node's own firewall has its say after either.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::rule::Rule;
use crate::{
    METADATA_V4, METADATA_V6, ReversePath, Rules,
    interfaces::{Interfaces, Pattern},
    rules::{ASYMMETRIC_PREFIXES, METADATA_PORT},
};

/// Every chain of podiam begins so, and nobody else's should.
const PREFIX: &str = "PODIAM-";
/// The tables in which podiam has chains.
pub(super) const TABLES: [&str; 2] = ["mangle", "nat"];
const PREROUTING: &str = "PODIAM-PREROUTING";
const RPFILTER: &str = "PODIAM-RPFILTER";
const INPUT: &str = "PODIAM-INPUT";
const FORWARD: &str = "PODIAM-FORWARD";

/// An address family: iptables has a program and a rule set for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// What podiam wants of one of iptables' tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) chains: Vec<Chain>,
}

/// A chain of podiam.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// The built-in chain that jumps to it, before anything else.
    pub(super) hook: &'static str,
    pub(super) rules: Vec<Rule>,
}

/// Whether a chain of that name is podiam's.
pub(super) fn is_ours(chain: &str) -> bool {
    chain.starts_with(PREFIX)
}

/// Whether only the chain of [`guard`] is there.
pub(super) fn is_guard<'a>(mut chains: impl Iterator<Item = &'a str>) -> bool {
    chains.all(|chain| chain == FORWARD)
}

/// What `rules` ask for in `family`. mangle comes first: pods are refused before they are intercepted, never neither.
pub(super) fn build(family: Family, rules: &Rules) -> [Table; 2] {
    let chain = |name, hook, rules| Chain { name, hook, rules };
    let mut mangle = vec![
        chain(RPFILTER, "PREROUTING", borrowed(family, rules)),
        chain(INPUT, "INPUT", gate(family, rules)),
        forward(family, rules.metadata),
    ];
    let mut nat = vec![chain(PREROUTING, "PREROUTING", translations(family, rules))];
    mangle.retain(|chain| !chain.rules.is_empty());
    nat.retain(|chain| !chain.rules.is_empty());
    tables(mangle, nat)
}

/// What refuses pods the metadata service and does nothing else.
pub(super) fn guard(family: Family) -> [Table; 2] {
    tables(vec![forward(family, METADATA_V4)], Vec::new())
}

/// No rule at all.
pub(super) fn nothing() -> [Table; 2] {
    tables(Vec::new(), Vec::new())
}

fn tables(mangle: Vec<Chain>, nat: Vec<Chain>) -> [Table; 2] {
    let [first, second] = TABLES;
    let table = |name, chains| Table { name, chains };
    [table(first, mangle), table(second, nat)]
}

fn target(family: Family, rules: &Rules) -> Option<(IpAddr, SocketAddr)> {
    match family {
        Family::V4 => rules
            .target
            .map(|target| (rules.metadata.into(), target.into())),
        Family::V6 => rules
            .target_v6
            .map(|target| (METADATA_V6.into(), target.into())),
    }
}

/// nat PREROUTING: requests to the metadata service go to the agent. Never REDIRECT: on an interface without an
/// address, as the pods' are with the VPC CNI and Calico, it drops the packet.
fn translations(family: Family, rules: &Rules) -> Vec<Rule> {
    let Some((metadata, target)) = target(family, rules) else {
        return Vec::new();
    };
    let excluded = rules.interfaces.excluded().iter();
    let excluded = excluded.map(|pattern| format!("{} -j RETURN", interface(pattern)));
    let dnat =
        format!("-d {metadata} -p tcp --dport {METADATA_PORT} -j DNAT --to-destination {target}");
    let included = rules.interfaces.included();
    let dnats: Vec<String> = if included.is_empty() {
        vec![dnat]
    } else {
        let on = |pattern| format!("{} {dnat}", interface(pattern));
        included.iter().map(on).collect()
    };
    excluded
        .chain(dnats)
        .map(|text| Rule::parse(&text))
        .collect()
}

/// mangle INPUT: the agent's port is open to connections that were translated from the metadata service's address and
/// to the node itself (probes), to nobody else.
fn gate(family: Family, rules: &Rules) -> Vec<Rule> {
    let mut ports: Vec<u16> = rules.targets().map(|target| target.port()).collect();
    ports.dedup();
    let from_node = ports
        .iter()
        .map(|port| format!("-i lo -p tcp --dport {port} -j RETURN"));
    let translated = target(family, rules).map(|(metadata, target)| {
        let port = target.port();
        format!(
            "-p tcp --dport {port} -m conntrack --ctstate DNAT --ctorigdst {metadata} -j RETURN"
        )
    });
    let others = ports
        .iter()
        .map(|port| format!("-p tcp --dport {port} -j DROP"));
    let all = from_node.chain(translated).chain(others);
    all.map(|text| Rule::parse(&text)).collect()
}

/// mangle PREROUTING: who asks the metadata service with a source address that belongs behind another interface is
/// refused. Left out are the interfaces whose routes are known to stand elsewhere, as with nftables.
fn borrowed(family: Family, rules: &Rules) -> Vec<Rule> {
    if rules.reverse_path == ReversePath::Off {
        return Vec::new();
    }
    let asymmetric = ASYMMETRIC_PREFIXES.map(|prefix| format!("-i {prefix}+ -j RETURN"));
    let drops = metadata(family, rules.metadata)
        .into_iter()
        .map(|address| format!("-d {address} -m rpfilter --invert -j DROP"));
    let all = asymmetric.into_iter().chain(drops);
    all.map(|text| Rule::parse(&text)).collect()
}

/// mangle FORWARD: what was not translated does not leave the node for the metadata service. Other link-local services
/// (169.254.169.253 DNS, .123 NTP) stay as they are.
fn forward(family: Family, metadata: Ipv4Addr) -> Chain {
    let drop = |address| Rule::parse(&format!("-d {address} -j DROP"));
    Chain {
        name: FORWARD,
        hook: "FORWARD",
        rules: self::metadata(family, metadata)
            .into_iter()
            .map(drop)
            .collect(),
    }
}

/// Every address that pods ask or could ask.
fn metadata(family: Family, intercepted: Ipv4Addr) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = match family {
        Family::V4 => vec![METADATA_V4.into(), intercepted.into()],
        Family::V6 => vec![METADATA_V6.into()],
    };
    addresses.dedup();
    addresses
}

fn interface(pattern: &Pattern) -> String {
    format!("-i {pattern}")
}

/// What rules that are there intercept: the reverse of [`build`], for whoever has no configuration to hand. `None` if no
/// rule brings requests to an agent.
pub(super) fn recover<'a>(
    v4: impl Iterator<Item = (&'a str, &'a Rule)>,
    v6: impl Iterator<Item = (&'a str, &'a Rule)>,
) -> Option<Rules> {
    let (v4, v6) = (Found::of(v4), Found::of(v6));
    let target = v4.translation.as_ref();
    let target_v6 = v6.translation.as_ref();
    // Both families have the same interfaces, and those without a translation none.
    let interfaces = if target.is_some() { &v4 } else { &v6 };
    let is_something_intercepted = target.is_some() || target_v6.is_some();
    let rules = || {
        Some(Rules {
            metadata: target.map_or(Some(METADATA_V4), |(metadata, _)| metadata.parse().ok())?,
            target: target.and_then(|(_, target)| target.parse().ok()),
            target_v6: target_v6.and_then(|(_, target)| target.parse().ok()),
            interfaces: Interfaces::from_patterns(
                interfaces.included.clone(),
                interfaces.excluded.clone(),
            ),
            reverse_path: v4.reverse_path,
        })
    };
    is_something_intercepted.then(rules).flatten()
}

/// What one family's rules say.
struct Found<'a> {
    /// The metadata service's address, and the agent's.
    translation: Option<(&'a str, &'a str)>,
    included: Vec<Pattern>,
    excluded: Vec<Pattern>,
    reverse_path: ReversePath,
}

impl<'a> Found<'a> {
    fn of(rules: impl Iterator<Item = (&'a str, &'a Rule)>) -> Self {
        let mut found = Self {
            translation: None,
            included: Vec::new(),
            excluded: Vec::new(),
            reverse_path: ReversePath::Off,
        };
        for (chain, rule) in rules {
            if chain == RPFILTER {
                found.reverse_path = ReversePath::On;
            }
            if chain != PREROUTING {
                continue;
            }
            let pattern = rule.value("-i").and_then(pattern);
            let translation = rule.value("-d").zip(rule.value("--to-destination"));
            match rule.value("-j") {
                Some("DNAT") if translation.is_some() => {
                    found.translation = translation;
                    found.included.extend(pattern);
                }
                Some("RETURN") => found.excluded.extend(pattern),
                _ => {}
            }
        }
        found
    }
}

fn pattern(text: &str) -> Option<Pattern> {
    Pattern::parse(text).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(interfaces: &str) -> Rules {
        Rules::new(
            METADATA_V4,
            "10.0.0.1:8181".parse().unwrap(),
            interfaces.parse().unwrap(),
        )
    }

    fn text(tables: &[Table]) -> Vec<String> {
        let chains = tables
            .iter()
            .flat_map(|table| table.chains.iter().map(move |chain| (table.name, chain)));
        let lines = chains.flat_map(|(table, chain)| {
            let lines = chain.rules.iter();
            lines.map(move |rule| format!("{table} {}: {}", chain.hook, rule.text()))
        });
        lines.collect()
    }

    fn all(tables: &[Table]) -> impl Iterator<Item = (&str, &Rule)> {
        let chains = tables.iter().flat_map(|table| &table.chains);
        chains.flat_map(|chain| chain.rules.iter().map(|rule| (chain.name, rule)))
    }

    #[test]
    fn all_interfaces_v4_only_is_these_rules_and_no_others() {
        assert_eq!(
            text(&build(Family::V4, &rules(""))),
            [
                "mangle PREROUTING: -i lxc+ -j RETURN",
                "mangle PREROUTING: -i vlan+ -j RETURN",
                "mangle PREROUTING: -d 169.254.169.254 -m rpfilter --invert -j DROP",
                "mangle INPUT: -i lo -p tcp --dport 8181 -j RETURN",
                "mangle INPUT: -p tcp --dport 8181 -m conntrack --ctstate DNAT --ctorigdst 169.254.169.254 -j RETURN",
                "mangle INPUT: -p tcp --dport 8181 -j DROP",
                "mangle FORWARD: -d 169.254.169.254 -j DROP",
                "nat PREROUTING: -d 169.254.169.254 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8181",
            ]
        );
        assert_eq!(
            text(&build(Family::V6, &rules(""))),
            [
                "mangle PREROUTING: -i lxc+ -j RETURN",
                "mangle PREROUTING: -i vlan+ -j RETURN",
                "mangle PREROUTING: -d fd00:ec2::254 -m rpfilter --invert -j DROP",
                "mangle INPUT: -i lo -p tcp --dport 8181 -j RETURN",
                "mangle INPUT: -p tcp --dport 8181 -j DROP",
                "mangle FORWARD: -d fd00:ec2::254 -j DROP",
            ]
        );
    }

    #[test]
    fn interfaces_left_out_return_before_listed_ones_are_translated() {
        let lines = text(&build(Family::V4, &rules("eni+,cni0,!eni7")));
        let dnat = "-d 169.254.169.254 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8181";
        assert_eq!(
            lines[7..],
            [
                "nat PREROUTING: -i eni7 -j RETURN".to_owned(),
                format!("nat PREROUTING: -i cni0 {dnat}"),
                format!("nat PREROUTING: -i eni+ {dnat}"),
            ]
        );
    }

    #[test]
    fn a_v6_target_with_a_port_of_its_own_is_gated_in_both_families() {
        let mut rules = rules("");
        rules.target_v6 = Some("[fd00::1]:8282".parse().unwrap());
        let v6 = text(&build(Family::V6, &rules));
        for line in [
            "mangle INPUT: -i lo -p tcp --dport 8282 -j RETURN",
            "mangle INPUT: -p tcp --dport 8282 -m conntrack --ctstate DNAT --ctorigdst fd00:ec2::254 -j RETURN",
            "mangle INPUT: -p tcp --dport 8282 -j DROP",
            "nat PREROUTING: -d fd00:ec2::254 -p tcp --dport 80 -j DNAT --to-destination [fd00::1]:8282",
        ] {
            assert!(v6.iter().any(|found| found == line), "{line}\n{v6:#?}");
        }
        for lines in [v6, text(&build(Family::V4, &rules))] {
            for port in [8181, 8282] {
                let line = format!("mangle INPUT: -p tcp --dport {port} -j DROP");
                assert!(lines.contains(&line), "{line}\n{lines:#?}");
            }
        }
    }

    #[test]
    fn the_well_known_address_is_refused_even_where_another_is_intercepted() {
        let mut rules = rules("");
        rules.metadata = "10.9.9.9".parse().unwrap();
        let lines = text(&build(Family::V4, &rules));
        for address in ["169.254.169.254", "10.9.9.9"] {
            let line = format!("mangle FORWARD: -d {address} -j DROP");
            assert!(lines.contains(&line), "{line}\n{lines:#?}");
        }
    }

    #[test]
    fn what_was_asked_for_can_be_read_back_out_of_the_rules() {
        let (v4, v6) = ("10.0.0.1:8181".parse().ok(), "[fd00::1]:8181".parse().ok());
        for interfaces in ["", "docker0", "eni+,cni0,!eni7", "!eth0"] {
            for (target, target_v6) in [(v4, None), (v4, v6), (None, v6)] {
                let mut rules = rules(interfaces);
                (rules.target, rules.target_v6) = (target, target_v6);
                if target_v6.is_some() {
                    rules.reverse_path = ReversePath::Off;
                }
                let (v4, v6) = (build(Family::V4, &rules), build(Family::V6, &rules));
                assert_eq!(recover(all(&v4), all(&v6)), Some(rules));
            }
        }
    }
}
