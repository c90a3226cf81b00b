//! The rule set as data: which sets, chains and rules there should be for given [`Rules`]. Pure.
//!
//! [`super::write`] makes requests of it, [`super::table`] compares the whole with what the kernel has.
//!
//! Four places guard the metadata service: `rpfilter` refuses borrowed source addresses, `prerouting` brings pods'
//! requests to the agent, `input` lets nobody reach the agent but through `prerouting`, and `forward` refuses whatever
//! is left: other ports, other protocols, interfaces that are left out, IPv6 without a target. Requests of the node
//! itself pass none of these and reach the real metadata service.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{
    rule::{Field, Match, Rule, Verdict},
    set::{Element, Set},
};
use crate::{
    METADATA_V4, ReversePath, Rules,
    interfaces::{Interfaces, Pattern},
    rules::{ASYMMETRIC_PREFIXES, METADATA_PORT, metadata_addresses},
};

/// Chain of the DNAT rules; `prerouting` jumps to it for the interfaces that are intercepted.
const IMDS: &str = "imds";
const PREROUTING: &str = "prerouting";
const RPFILTER: &str = "rpfilter";

/// The metadata service's addresses, over IPv4 and IPv6.
const METADATA4: &str = "metadata4";
const METADATA6: &str = "metadata6";
/// The interfaces that are listed; looked up only where not all are meant.
const INTERFACES: &str = "interfaces";
/// The interfaces that are left out.
const EXCLUDED: &str = "excluded";
/// The interfaces whose routes stand in tables of their own.
const ASYMMETRIC: &str = "asymmetric";

/// nft's `raw`, ahead of conntrack (-200): a borrowed address must not join the flow of its owner.
const RAW: i32 = -300;
/// Five ahead of `dstnat` (-100), where kube-proxy, Docker and port mappings of CNI plugins work: the first to
/// translate a connection's address is the only one.
const BEFORE_DSTNAT: i32 = -105;
/// nft's name for priority 0. A drop is final at any priority.
const FILTER: i32 = 0;

// From the kernel's include/uapi/linux/netfilter.h.
const NF_INET_PRE_ROUTING: u32 = 0;
const NF_INET_LOCAL_IN: u32 = 1;
const NF_INET_FORWARD: u32 = 2;
const NF_ACCEPT: u32 = 1;

/// Every set and every chain of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ruleset {
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<Chain>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// Where packets enter; none for a chain that is only jumped to.
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<Rule>,
}

/// What makes a chain a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// `nat` or `filter`.
    pub(super) kind: String,
    pub(super) hook: u32,
    pub(super) priority: i32,
    pub(super) policy: u32,
}

impl Ruleset {
    /// The rule set that `rules` ask for.
    pub(super) fn build(rules: &Rules) -> Self {
        let Rules {
            metadata,
            target: _,
            target_v6: _,
            interfaces,
            reverse_path,
        } = rules;
        let mut sets = metadata_sets(*metadata);
        sets.extend([
            Set::interfaces(INTERFACES, interfaces.included()),
            Set::interfaces(EXCLUDED, interfaces.excluded()),
            Set::interfaces(
                ASYMMETRIC,
                &ASYMMETRIC_PREFIXES.map(|prefix| Pattern::Prefix(prefix.to_owned())),
            ),
        ]);
        // The chain that is jumped to stands first: a transaction must make it before the jump.
        let imds = Chain {
            name: IMDS,
            base: None,
            rules: translations(rules),
        };
        let base = Chain::base;
        let chains = vec![
            imds,
            base(
                RPFILTER,
                "filter",
                NF_INET_PRE_ROUTING,
                RAW,
                borrowed(*reverse_path),
            ),
            base(
                PREROUTING,
                "nat",
                NF_INET_PRE_ROUTING,
                BEFORE_DSTNAT,
                intercepted(interfaces),
            ),
            base("input", "filter", NF_INET_LOCAL_IN, FILTER, gate(rules)),
            base("forward", "filter", NF_INET_FORWARD, FILTER, refused()),
        ];
        Self { sets, chains }
    }

    /// The rule set for the time before an agent has run: pods are refused the metadata service, whatever agent comes.
    pub(super) fn guard() -> Self {
        Self {
            sets: metadata_sets(METADATA_V4),
            chains: vec![Chain::base(
                "forward",
                "filter",
                NF_INET_FORWARD,
                FILTER,
                refused(),
            )],
        }
    }
}

impl Chain {
    fn base(name: &'static str, kind: &str, hook: u32, priority: i32, rules: Vec<Rule>) -> Self {
        Self {
            name,
            base: Some(Base {
                kind: kind.to_owned(),
                hook,
                priority,
                policy: NF_ACCEPT,
            }),
            rules,
        }
    }
}

fn metadata_sets(metadata: Ipv4Addr) -> Vec<Set> {
    let (v4, v6): (Vec<_>, Vec<_>) = metadata_addresses(metadata)
        .into_iter()
        .partition(IpAddr::is_ipv4);
    vec![
        Set::addresses(METADATA4, &v4),
        Set::addresses(METADATA6, &v6),
    ]
}

/// `rpfilter`: a request whose source belongs behind another interface comes from who has borrowed it.
fn borrowed(reverse_path: ReversePath) -> Vec<Rule> {
    let refuse = |mut matches: Vec<Match>| {
        matches.push(Match::NotIn(Field::Interface, ASYMMETRIC.to_owned()));
        matches.push(Match::NoRouteBack);
        Rule::new(matches, Verdict::Drop)
    };
    match reverse_path {
        // Written down, so that it can be told from rules that were taken out.
        ReversePath::Off => vec![Rule::new(Vec::new(), Verdict::Return)],
        ReversePath::On => vec![refuse(to_metadata4()), refuse(to_metadata6())],
    }
}

/// `prerouting`: which interfaces' packets are looked at.
fn intercepted(interfaces: &Interfaces) -> Vec<Rule> {
    let within = |set: &str| vec![Match::In(Field::Interface, set.to_owned())];
    let included = if interfaces.included().is_empty() {
        Vec::new()
    } else {
        within(INTERFACES)
    };
    vec![
        Rule::new(within(EXCLUDED), Verdict::Return),
        Rule::new(included, Verdict::Jump(IMDS.to_owned())),
    ]
}

/// `imds`: requests to the metadata service go to the agent. Never `redirect`: on an interface without an address, as
/// the pods' are with the VPC CNI and Calico, it drops the packet.
fn translations(rules: &Rules) -> Vec<Rule> {
    let to = |destination: Vec<Match>, target: SocketAddr| {
        let matches = [destination, tcp_port(METADATA_PORT)].concat();
        Rule::new(matches, Verdict::Dnat(target))
    };
    let by_family = |target: SocketAddr| match target {
        SocketAddr::V4(_) => to(to_metadata4(), target),
        SocketAddr::V6(_) => to(to_metadata6(), target),
    };
    rules.targets().map(by_family).collect()
}

/// `input`: the agent's port is open to connections that were translated from the metadata service's address and to
/// the node itself (probes), to nobody else.
fn gate(rules: &Rules) -> Vec<Rule> {
    let loopback = || Match::Interface(Pattern::Exact("lo".to_owned()));
    let original = |target: SocketAddr| {
        let (field, set) = match target {
            SocketAddr::V4(_) => (Field::OriginalDestination4, METADATA4),
            SocketAddr::V6(_) => (Field::OriginalDestination6, METADATA6),
        };
        Match::In(field, set.to_owned())
    };
    let mut ports: Vec<u16> = rules.targets().map(|target| target.port()).collect();
    ports.dedup();

    let from_node = ports.iter().map(|port| {
        let matches = [vec![loopback()], tcp_port(*port)].concat();
        Rule::new(matches, Verdict::Accept)
    });
    let translated = rules.targets().map(|target| {
        let mut matches = tcp_port(target.port());
        matches.push(Match::DestinationTranslated);
        matches.push(original(target));
        Rule::new(matches, Verdict::Accept)
    });
    let others = ports
        .iter()
        .map(|port| Rule::new(tcp_port(*port), Verdict::Drop));
    from_node.chain(translated).chain(others).collect()
}

/// `forward`: what was not translated does not leave the node for the metadata service. Other link-local services
/// (169.254.169.253 DNS, .123 NTP) stay as they are.
fn refused() -> Vec<Rule> {
    let drop = |destination| Rule::new(destination, Verdict::Drop);
    vec![drop(to_metadata4()), drop(to_metadata6())]
}

fn to_metadata4() -> Vec<Match> {
    vec![
        Match::Family(Match::NFPROTO_IPV4),
        Match::In(Field::Destination4, METADATA4.to_owned()),
    ]
}

fn to_metadata6() -> Vec<Match> {
    vec![
        Match::Family(Match::NFPROTO_IPV6),
        Match::In(Field::Destination6, METADATA6.to_owned()),
    ]
}

fn tcp_port(port: u16) -> Vec<Match> {
    vec![Match::Protocol(Match::TCP), Match::Port(port)]
}

/// What the sets and rules in the kernel intercept: the reverse of [`Ruleset::build`], for whoever has no configuration
/// to hand. `None` if no rule brings requests to an agent.
pub(super) fn recover<'a>(
    sets: &[(&'a str, &'a [Element])],
    rules: impl Iterator<Item = (&'a str, &'a Rule)>,
) -> Option<Rules> {
    let elements = |name: &str| {
        let found = sets.iter().find(|(found, _)| *found == name);
        found.map_or(&[][..], |(_, elements)| *elements)
    };
    let patterns = |name: &str| {
        let interfaces = elements(name).iter().filter_map(|element| match element {
            Element::Interface(pattern) => Some(pattern.clone()),
            Element::Address(_) => None,
        });
        interfaces.collect::<Vec<_>>()
    };
    let other = elements(METADATA4)
        .iter()
        .find_map(|element| match element {
            Element::Address(IpAddr::V4(address)) if *address != METADATA_V4 => Some(*address),
            _ => None,
        });

    let (mut target, mut target_v6) = (None, None);
    let mut included = Vec::new();
    let mut reverse_path = ReversePath::On;
    for (chain, rule) in rules {
        match (chain, &rule.verdict, rule.matches.as_slice()) {
            (IMDS, Verdict::Dnat(SocketAddr::V4(found)), _) => target = Some(*found),
            (IMDS, Verdict::Dnat(SocketAddr::V6(found)), _) => target_v6 = Some(*found),
            (PREROUTING, Verdict::Jump(_), [Match::In(..)]) => included = patterns(INTERFACES),
            (RPFILTER, Verdict::Return, []) => reverse_path = ReversePath::Off,
            _ => {}
        }
    }
    let is_something_intercepted = target.is_some() || target_v6.is_some();
    is_something_intercepted.then(|| Rules {
        metadata: other.unwrap_or(METADATA_V4),
        target,
        target_v6,
        interfaces: Interfaces::from_patterns(included, patterns(EXCLUDED)),
        reverse_path,
    })
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

    fn text(ruleset: &Ruleset) -> Vec<String> {
        let sets = ruleset.sets.iter().map(|set| {
            let elements: Vec<_> = set.elements.iter().map(ToString::to_string).collect();
            format!("@{}: {}", set.name, elements.join(" "))
        });
        let rules = ruleset.chains.iter().flat_map(|chain| {
            let lines = chain.rules.iter();
            lines.map(|rule| format!("{}: {rule}", chain.name))
        });
        sets.chain(rules).collect()
    }

    #[test]
    fn all_interfaces_v4_only_is_these_sets_and_rules_and_no_others() {
        assert_eq!(
            text(&Ruleset::build(&rules(""))),
            [
                "@metadata4: 169.254.169.254",
                "@metadata6: fd00:ec2::254",
                "@interfaces: ",
                "@excluded: ",
                "@asymmetric: lxc+ vlan+",
                "imds: ip daddr @metadata4 tcp dport 80 dnat ip to 10.0.0.1:8181",
                "rpfilter: ip daddr @metadata4 iifname != @asymmetric fib saddr . iif oif missing drop",
                "rpfilter: ip6 daddr @metadata6 iifname != @asymmetric fib saddr . iif oif missing drop",
                "prerouting: iifname @excluded return",
                "prerouting: jump imds",
                "input: iifname \"lo\" tcp dport 8181 accept",
                "input: tcp dport 8181 ct status dnat ct original ip daddr @metadata4 accept",
                "input: tcp dport 8181 drop",
                "forward: ip daddr @metadata4 drop",
                "forward: ip6 daddr @metadata6 drop",
            ]
        );
    }

    #[test]
    fn the_guard_refuses_and_does_nothing_else() {
        assert_eq!(
            text(&Ruleset::guard()),
            [
                "@metadata4: 169.254.169.254",
                "@metadata6: fd00:ec2::254",
                "forward: ip daddr @metadata4 drop",
                "forward: ip6 daddr @metadata6 drop",
            ]
        );
    }

    #[test]
    fn listed_interfaces_are_elements_and_so_are_those_left_out() {
        let lines = text(&Ruleset::build(&rules("eni+,cni0,!eni7")));
        for line in [
            "@interfaces: cni0 eni+",
            "@excluded: eni7",
            "prerouting: iifname @interfaces jump imds",
        ] {
            assert!(
                lines.iter().any(|found| found == line),
                "{line}\n{lines:#?}"
            );
        }
    }

    #[test]
    fn other_interfaces_are_the_same_rules() {
        let chains = |interfaces| Ruleset::build(&rules(interfaces)).chains;
        assert_eq!(chains("eni+"), chains("cali+,cni0,!cali7"));
        assert_eq!(chains(""), chains("!eth0"));
    }

    #[test]
    fn a_v6_target_with_a_port_of_its_own_is_gated_too() {
        let mut rules = rules("");
        rules.target_v6 = Some("[fd00::1]:8282".parse().unwrap());
        let lines = text(&Ruleset::build(&rules));
        for line in [
            "imds: ip6 daddr @metadata6 tcp dport 80 dnat ip6 to [fd00::1]:8282",
            "input: iifname \"lo\" tcp dport 8282 accept",
            "input: tcp dport 8282 ct status dnat ct original ip6 daddr @metadata6 accept",
            "input: tcp dport 8282 drop",
            "forward: ip6 daddr @metadata6 drop",
        ] {
            assert!(
                lines.iter().any(|found| found == line),
                "{line}\n{lines:#?}"
            );
        }
    }

    #[test]
    fn the_well_known_address_stays_covered_where_another_is_asked_for() {
        let mut rules = rules("");
        rules.metadata = "10.9.9.9".parse().unwrap();
        let lines = text(&Ruleset::build(&rules));
        let line = "@metadata4: 10.9.9.9 169.254.169.254";
        assert!(lines.iter().any(|found| found == line), "{lines:#?}");
    }

    #[test]
    fn what_was_asked_for_can_be_read_back_out_of_the_table() {
        for interfaces in ["", "docker0", "eni+,cni0,!eni7", "!eth0"] {
            let (v4, v6) = ("10.0.0.1:8181".parse().ok(), "[fd00::1]:8181".parse().ok());
            for (target, target_v6) in [(v4, None), (v4, v6), (None, v6)] {
                for (metadata, reverse_path) in [
                    (METADATA_V4, ReversePath::On),
                    ("10.9.9.9".parse().unwrap(), ReversePath::Off),
                ] {
                    let rules = Rules {
                        metadata,
                        target,
                        target_v6,
                        reverse_path,
                        ..rules(interfaces)
                    };
                    let ruleset = Ruleset::build(&rules);
                    let sets = ruleset.sets.iter();
                    let sets: Vec<_> = sets.map(|set| (set.name, &set.elements[..])).collect();
                    let found = ruleset.chains.iter().flat_map(|chain| {
                        let all = chain.rules.iter();
                        all.map(|rule| (chain.name, rule))
                    });
                    assert_eq!(recover(&sets, found), Some(rules));
                }
            }
        }
    }
}
