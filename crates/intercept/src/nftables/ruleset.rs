//! The rule set as data: which chains and rules there should be for given [`Rules`]. Pure.
//!
//! [`super::codec`] turns a rule into the kernel's expressions and back, [`super::table`] compares the whole with what
//! the kernel has. A rule's `Display` is nft's own syntax.
//!
//! Three places guard the metadata service:
//! `prerouting` brings pods' requests to the agent, `input` lets nobody reach the agent but through `prerouting`, and
//! `forward` refuses whatever is left: other ports, other protocols, interfaces that are left out, IPv6 without a
//! target. Requests of the node itself pass none of these and reach the real metadata service.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use crate::{
    METADATA_V4, METADATA_V6, ReversePath, Rules,
    interfaces::{Interfaces, Pattern},
    rules::METADATA_PORT,
};

/// Chain of the DNAT rules; `prerouting` jumps to it for the interfaces that are intercepted.
const IMDS: &str = "imds";
const PREROUTING: &str = "prerouting";

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

/// Every chain of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ruleset {
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

/// Matches that must all hold, a counter, and what happens then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) matches: Vec<Match>,
    pub(super) verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`: what must hold before an address can be looked at.
    Family(u8),
    /// `IPPROTO_TCP`: what must hold before a port can be looked at.
    Protocol(u8),
    /// The interface that the packet came in on.
    Interface(Pattern),
    /// Destination address of the packet as it is now.
    Destination(IpAddr),
    /// Destination port of the packet as it is now.
    Port(u16),
    /// The connection went through destination NAT.
    DestinationTranslated,
    /// Destination address of the connection before NAT.
    OriginalDestination(IpAddr),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Dnat(SocketAddr),
    Accept,
    Drop,
    Return,
    Jump(String),
}

impl Ruleset {
    /// The rule set that `rules` ask for.
    pub(super) fn build(rules: &Rules) -> Self {
        // The chain that is jumped to stands first: a transaction must make it before the jump.
        let imds = Chain {
            name: IMDS,
            base: None,
            rules: translations(rules),
        };
        Self {
            chains: vec![
                imds,
                Chain::base(
                    PREROUTING,
                    "nat",
                    NF_INET_PRE_ROUTING,
                    BEFORE_DSTNAT,
                    intercepted(&rules.interfaces),
                ),
                Chain::base("input", "filter", NF_INET_LOCAL_IN, FILTER, gate(rules)),
                Chain::forward(rules.metadata),
            ],
        }
    }

    /// The rule set for the time before an agent has run: pods are refused the metadata service, whatever agent comes.
    pub(super) fn guard() -> Self {
        Self {
            chains: vec![Chain::forward(METADATA_V4)],
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

    fn forward(metadata: Ipv4Addr) -> Self {
        Self::base(
            "forward",
            "filter",
            NF_INET_FORWARD,
            FILTER,
            refused(metadata),
        )
    }
}

/// `prerouting`: which interfaces' packets are looked at.
fn intercepted(interfaces: &Interfaces) -> Vec<Rule> {
    let jump = || Verdict::Jump(IMDS.to_owned());
    let on =
        |pattern: &Pattern, verdict| Rule::new(vec![Match::Interface(pattern.clone())], verdict);
    let mut rules: Vec<Rule> = interfaces
        .excluded()
        .iter()
        .map(|pattern| on(pattern, Verdict::Return))
        .collect();
    if interfaces.included().is_empty() {
        rules.push(Rule::new(Vec::new(), jump()));
    } else {
        let included = interfaces.included().iter();
        rules.extend(included.map(|pattern| on(pattern, jump())));
    }
    rules
}

/// `imds`: requests to the metadata service go to the agent. Never `redirect`: on an interface without an address, as
/// the pods' are with the VPC CNI and Calico, it drops the packet.
fn translations(rules: &Rules) -> Vec<Rule> {
    let to = |metadata: IpAddr, target: SocketAddr| {
        let matches = [destination(metadata), tcp_port(METADATA_PORT)].concat();
        Rule::new(matches, Verdict::Dnat(target))
    };
    let v6 = rules
        .target_v6
        .map(|target| to(METADATA_V6.into(), target.into()));
    std::iter::once(to(rules.metadata.into(), rules.target.into()))
        .chain(v6)
        .collect()
}

/// `input`: the agent's port is open to connections that were translated from the metadata service's address and to
/// the node itself (probes), to nobody else.
fn gate(rules: &Rules) -> Vec<Rule> {
    let loopback = || Match::Interface(Pattern::Exact("lo".to_owned()));
    let v4 = (IpAddr::from(rules.metadata), rules.target.port());
    let v6 = rules
        .target_v6
        .map(|target| (IpAddr::from(METADATA_V6), target.port()));
    let mut ports = vec![v4.1];
    ports.extend(v6.map(|(_, port)| port).filter(|port| *port != v4.1));

    let from_node = ports.iter().map(|port| {
        let matches = [vec![loopback()], tcp_port(*port)].concat();
        Rule::new(matches, Verdict::Accept)
    });
    let translated = std::iter::once(v4).chain(v6).map(|(metadata, port)| {
        let mut matches = tcp_port(port);
        matches.push(Match::DestinationTranslated);
        matches.push(Match::OriginalDestination(metadata));
        Rule::new(matches, Verdict::Accept)
    });
    let others = ports
        .iter()
        .map(|port| Rule::new(tcp_port(*port), Verdict::Drop));
    from_node.chain(translated).chain(others).collect()
}

/// `forward`: what was not translated does not leave the node for the metadata service. Other link-local services
/// (169.254.169.253 DNS, .123 NTP) stay as they are.
fn refused(metadata: Ipv4Addr) -> Vec<Rule> {
    let mut addresses = vec![
        IpAddr::from(METADATA_V4),
        IpAddr::from(metadata),
        IpAddr::from(METADATA_V6),
    ];
    addresses.dedup();
    let drop = |address| Rule::new(destination(address), Verdict::Drop);
    addresses.into_iter().map(drop).collect()
}

fn destination(address: IpAddr) -> Vec<Match> {
    vec![
        Match::Family(Match::family(address)),
        Match::Destination(address),
    ]
}

fn tcp_port(port: u16) -> Vec<Match> {
    vec![Match::Protocol(Match::TCP), Match::Port(port)]
}

impl Match {
    pub(super) const TCP: u8 = 6;
    const NFPROTO_IPV4: u8 = 2;
    const NFPROTO_IPV6: u8 = 10;

    /// The kernel's number for the address family of `address`.
    pub(super) fn family(address: IpAddr) -> u8 {
        match address {
            IpAddr::V4(_) => Self::NFPROTO_IPV4,
            IpAddr::V6(_) => Self::NFPROTO_IPV6,
        }
    }
}

impl Rule {
    pub(super) fn new(matches: Vec<Match>, verdict: Verdict) -> Self {
        Self { matches, verdict }
    }
}

/// What the rules in the kernel intercept: the reverse of [`Ruleset::build`], for whoever has no configuration to
/// hand. `None` if the rule is missing that brings IPv4 requests to the agent.
pub(super) fn recover<'a>(rules: impl Iterator<Item = (&'a str, &'a Rule)>) -> Option<Rules> {
    let mut v4 = None;
    let mut target_v6 = None;
    let (mut included, mut excluded) = (Vec::new(), Vec::new());
    for (chain, rule) in rules {
        let destination = rule.matches.iter().find_map(|found| match found {
            Match::Destination(address) => Some(*address),
            _ => None,
        });
        match (chain, &rule.verdict, rule.matches.as_slice(), destination) {
            (IMDS, Verdict::Dnat(SocketAddr::V4(target)), _, Some(IpAddr::V4(metadata))) => {
                v4 = Some((metadata, *target));
            }
            (IMDS, Verdict::Dnat(SocketAddr::V6(target)), _, _) => target_v6 = Some(*target),
            (PREROUTING, Verdict::Return, [Match::Interface(pattern)], _) => {
                excluded.push(pattern.clone());
            }
            (PREROUTING, Verdict::Jump(_), [Match::Interface(pattern)], _) => {
                included.push(pattern.clone());
            }
            _ => {}
        }
    }
    let (metadata, target) = v4?;
    Some(Rules {
        metadata,
        target,
        target_v6,
        interfaces: Interfaces::from_patterns(included, excluded),
        reverse_path: ReversePath::default(),
    })
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.matches {
            match found {
                // nft leaves out what the next match implies.
                Match::Family(_) | Match::Protocol(_) => continue,
                Match::Interface(Pattern::Exact(name)) => write!(f, "iifname {name:?}")?,
                Match::Interface(Pattern::Prefix(prefix)) => write!(f, "iifname \"{prefix}*\"")?,
                Match::Destination(IpAddr::V4(address)) => write!(f, "ip daddr {address}")?,
                Match::Destination(IpAddr::V6(address)) => write!(f, "ip6 daddr {address}")?,
                Match::Port(port) => write!(f, "tcp dport {port}")?,
                Match::DestinationTranslated => f.write_str("ct status dnat")?,
                Match::OriginalDestination(IpAddr::V4(address)) => {
                    write!(f, "ct original ip daddr {address}")?;
                }
                Match::OriginalDestination(IpAddr::V6(address)) => {
                    write!(f, "ct original ip6 daddr {address}")?;
                }
            }
            f.write_str(" ")?;
        }
        match &self.verdict {
            Verdict::Dnat(target @ SocketAddr::V4(_)) => write!(f, "dnat ip to {target}"),
            Verdict::Dnat(target @ SocketAddr::V6(_)) => write!(f, "dnat ip6 to {target}"),
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
        }
    }
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

    fn text(rules: &Rules) -> Vec<String> {
        let chains = Ruleset::build(rules).chains;
        let lines = chains.iter().flat_map(|chain| {
            let lines = chain.rules.iter();
            lines.map(|rule| format!("{}: {rule}", chain.name))
        });
        lines.collect()
    }

    #[test]
    fn all_interfaces_v4_only_is_these_rules_and_no_others() {
        assert_eq!(
            text(&rules("")),
            [
                "imds: ip daddr 169.254.169.254 tcp dport 80 dnat ip to 10.0.0.1:8181",
                "prerouting: jump imds",
                "input: iifname \"lo\" tcp dport 8181 accept",
                "input: tcp dport 8181 ct status dnat ct original ip daddr 169.254.169.254 accept",
                "input: tcp dport 8181 drop",
                "forward: ip daddr 169.254.169.254 drop",
                "forward: ip6 daddr fd00:ec2::254 drop",
            ]
        );
    }

    #[test]
    fn interfaces_left_out_return_before_listed_ones_jump() {
        let lines = text(&rules("eni+,cni0,!eni7"));
        assert_eq!(
            &lines[1..4],
            [
                "prerouting: iifname \"eni7\" return",
                "prerouting: iifname \"cni0\" jump imds",
                "prerouting: iifname \"eni*\" jump imds",
            ]
        );
    }

    #[test]
    fn a_v6_target_with_a_port_of_its_own_is_gated_too() {
        let mut rules = rules("");
        rules.target_v6 = Some("[fd00::1]:8282".parse().unwrap());
        let lines = text(&rules);
        for line in [
            "imds: ip6 daddr fd00:ec2::254 tcp dport 80 dnat ip6 to [fd00::1]:8282",
            "input: iifname \"lo\" tcp dport 8282 accept",
            "input: tcp dport 8282 ct status dnat ct original ip6 daddr fd00:ec2::254 accept",
            "input: tcp dport 8282 drop",
            "forward: ip6 daddr fd00:ec2::254 drop",
        ] {
            assert!(
                lines.iter().any(|found| found == line),
                "{line}\n{lines:#?}"
            );
        }
    }

    #[test]
    fn the_well_known_address_is_refused_even_where_another_is_intercepted() {
        let mut rules = rules("");
        rules.metadata = "10.9.9.9".parse().unwrap();
        let lines = text(&rules);
        for address in ["169.254.169.254", "10.9.9.9"] {
            let line = format!("forward: ip daddr {address} drop");
            assert!(lines.contains(&line), "{line}\n{lines:#?}");
        }
    }

    #[test]
    fn what_was_asked_for_can_be_read_back_out_of_the_rules() {
        for interfaces in ["", "docker0", "eni+,cni0,!eni7", "!eth0"] {
            for target_v6 in [None, Some("[fd00::1]:8181".parse().unwrap())] {
                let mut rules = rules(interfaces);
                rules.target_v6 = target_v6;
                let ruleset = Ruleset::build(&rules);
                let found = ruleset.chains.iter().flat_map(|chain| {
                    let all = chain.rules.iter();
                    all.map(|rule| (chain.name, rule))
                });
                assert_eq!(recover(found), Some(rules));
            }
        }
    }
}
