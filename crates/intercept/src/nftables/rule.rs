//! One rule as data: what must match, and what happens then. Its `Display` is nft's own syntax.
//!
//! [`super::ruleset`] says which rules there should be, [`super::codec`] turns one into the kernel's expressions and
//! back.

use std::{fmt, net::IpAddr, net::SocketAddr};

use crate::interfaces::Pattern;

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
    /// Destination port of the packet as it is now.
    Port(u16),
    /// The connection went through destination NAT.
    DestinationTranslated,
    /// What is an element of the set of this name.
    In(Field, String),
    /// What is no element of the set of this name.
    NotIn(Field, String),
    /// No route to the source address leads out by the interface that the packet came in on.
    NoRouteBack,
}

/// What of a packet, or of its connection, is looked up in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The interface that the packet came in on.
    Interface,
    /// Destination address of the packet as it is now.
    Destination4,
    Destination6,
    /// Destination address of the connection before NAT.
    OriginalDestination4,
    OriginalDestination6,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Dnat(SocketAddr),
    Accept,
    Drop,
    Return,
    Jump(String),
}

impl Match {
    pub(super) const TCP: u8 = 6;
    pub(super) const NFPROTO_IPV4: u8 = 2;
    pub(super) const NFPROTO_IPV6: u8 = 10;

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

impl Field {
    pub(super) const ALL: [Self; 5] = [
        Self::Interface,
        Self::Destination4,
        Self::Destination6,
        Self::OriginalDestination4,
        Self::OriginalDestination6,
    ];

    /// As nft calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Interface => "iifname",
            Self::Destination4 => "ip daddr",
            Self::Destination6 => "ip6 daddr",
            Self::OriginalDestination4 => "ct original ip daddr",
            Self::OriginalDestination6 => "ct original ip6 daddr",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.matches {
            match found {
                // nft leaves out what the next match implies.
                Match::Family(_) | Match::Protocol(_) => continue,
                Match::Interface(Pattern::Exact(name)) => write!(f, "iifname {name:?}")?,
                Match::Interface(Pattern::Prefix(prefix)) => write!(f, "iifname \"{prefix}*\"")?,
                Match::Port(port) => write!(f, "tcp dport {port}")?,
                Match::DestinationTranslated => f.write_str("ct status dnat")?,
                Match::In(field, set) => write!(f, "{} @{set}", field.name())?,
                Match::NotIn(field, set) => write!(f, "{} != @{set}", field.name())?,
                Match::NoRouteBack => f.write_str("fib saddr . iif oif missing")?,
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
