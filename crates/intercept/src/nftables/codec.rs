//! A rule as the kernel's expressions, and back.
//!
//! Reading is strict: a rule that is not, expression for expression, one that this module would write is no rule of
//! ours, so that a comparison of rules is a comparison of what the kernel does.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, Expressions, Immediate, Lookup, Meta, MetaKey, Operator, Payload,
    Register, Verdict as Code, VerdictAttribute,
};

use super::{
    expression::{self, Conntrack},
    rule::{Field, Match, Rule, Verdict},
};
use crate::interfaces::Pattern;

/// Holds what a match has loaded, then the address of a DNAT.
const VALUE: Register = Register::Reg1;
/// Holds the port of a DNAT.
const PORT: Register = Register::Reg2;

/// `IPS_DST_NAT` of the kernel's `nf_conntrack_common.h`.
const IPS_DST_NAT: u32 = 1 << 5;
/// Of the kernel's `nf_tables.h`: true where the element is not there.
const NFT_LOOKUP_F_INV: u32 = 1;
const IFNAMSIZ: usize = 16;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// A rule that the kernel has, and how often it matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) rule: Rule,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// The expressions of `rule`, its counter at zero.
pub(super) fn encode(rule: &Rule) -> Vec<Expressions> {
    let mut expressions: Vec<_> = rule.matches.iter().flat_map(encode_match).collect();
    expressions.push(expression::counter());
    expressions.extend(encode_verdict(&rule.verdict));
    expressions
}

/// The rule that `expressions` are, or `None` if [`encode`] makes no such rule.
pub(super) fn decode(expressions: &[Expressions]) -> Option<Counted> {
    let position = expressions
        .iter()
        .position(|found| expression::counted(found).is_some())?;
    let (packets, bytes) = expression::counted(&expressions[position])?;
    let rule = Rule {
        matches: decode_matches(&expressions[..position])?,
        verdict: decode_verdict(&expressions[position + 1..])?,
    };
    // What was read above is only what differs from rule to rule; this holds the rest to account.
    let expected = encode(&rule);
    let is_ours = expected.len() == expressions.len()
        && (expected.iter().zip(expressions)).all(|(one, two)| expression::same(one, two));
    is_ours.then_some(Counted {
        rule,
        packets,
        bytes,
    })
}

/// What a comparison with a value looks at.
#[derive(Clone, Copy, Debug)]
enum Compared {
    Family,
    Protocol,
    Interface,
    Port,
    Status,
    RouteBack,
}

impl Compared {
    const ALL: [Self; 6] = [
        Self::Family,
        Self::Protocol,
        Self::Interface,
        Self::Port,
        Self::Status,
        Self::RouteBack,
    ];

    /// The expression that loads it.
    fn load(self) -> Expressions {
        match self {
            Self::Family => meta(MetaKey::Nfproto),
            Self::Protocol => meta(MetaKey::L4Proto),
            Self::Interface => meta(MetaKey::Iifname),
            // NFT_PAYLOAD_TRANSPORT_HEADER and the destination port in it.
            Self::Port => payload(2, 2, 2),
            Self::Status => expression::conntrack(Conntrack::Status, VALUE),
            Self::RouteBack => expression::route_back(VALUE),
        }
    }
}

/// The expression that loads what is looked up in a set.
fn load(field: Field) -> Expressions {
    // NFT_PAYLOAD_NETWORK_HEADER and the destination in an IPv4 and an IPv6 header.
    match field {
        Field::Interface => meta(MetaKey::Iifname),
        Field::Destination4 => payload(1, 16, 4),
        Field::Destination6 => payload(1, 24, 16),
        Field::OriginalDestination4 => expression::conntrack(Conntrack::Destination4, VALUE),
        Field::OriginalDestination6 => expression::conntrack(Conntrack::Destination6, VALUE),
    }
}

fn encode_match(wanted: &Match) -> Vec<Expressions> {
    let equal = |field: Compared, value: &[u8]| vec![field.load(), compare(Operator::Equal, value)];
    match wanted {
        Match::Family(family) => equal(Compared::Family, &[*family]),
        Match::Protocol(protocol) => equal(Compared::Protocol, &[*protocol]),
        Match::Interface(Pattern::Prefix(prefix)) => equal(Compared::Interface, prefix.as_bytes()),
        Match::Interface(Pattern::Exact(name)) => {
            // With its padding, so that a longer name does not match.
            let mut padded = name.as_bytes().to_vec();
            padded.resize(IFNAMSIZ, 0);
            equal(Compared::Interface, &padded)
        }
        Match::Port(port) => equal(Compared::Port, &port.to_be_bytes()),
        Match::In(field, set) => vec![load(*field), look_up(set, 0)],
        Match::NotIn(field, set) => vec![load(*field), look_up(set, NFT_LOOKUP_F_INV)],
        Match::NoRouteBack => equal(Compared::RouteBack, &[0; 4]),
        Match::DestinationTranslated => vec![
            Compared::Status.load(),
            Expressions::Bitwise(vec![
                Bitwise::SourceRegister(VALUE),
                Bitwise::DestinationRegister(VALUE),
                Bitwise::Length(4),
                Bitwise::Mask(DataAttribute::Value(IPS_DST_NAT.to_ne_bytes().to_vec())),
                Bitwise::Xor(DataAttribute::Value(vec![0; 4])),
            ]),
            compare(Operator::NotEqual, &[0; 4]),
        ],
    }
}

fn decode_matches(mut expressions: &[Expressions]) -> Option<Vec<Match>> {
    let mut matches = Vec::new();
    while let [loaded, rest @ ..] = expressions {
        // The mask of a status, which the comparison in `decode` checks.
        let rest = match rest {
            [Expressions::Bitwise(_), unmasked @ ..] => unmasked,
            _ => rest,
        };
        let (found, rest) = match rest {
            [Expressions::Cmp(attributes), rest @ ..] => {
                (decode_compare(loaded, attributes)?, rest)
            }
            [Expressions::Lookup(attributes), rest @ ..] => {
                (decode_look_up(loaded, attributes)?, rest)
            }
            _ => return None,
        };
        matches.push(found);
        expressions = rest;
    }
    Some(matches)
}

fn decode_compare(loaded: &Expressions, attributes: &[Cmp]) -> Option<Match> {
    let mut all = Compared::ALL.into_iter();
    let field = all.find(|field| expression::same(&field.load(), loaded))?;
    let value = attributes.iter().find_map(|attribute| match attribute {
        Cmp::Data(DataAttribute::Value(value)) => Some(value.as_slice()),
        _ => None,
    })?;
    let byte = || <[u8; 1]>::try_from(value).ok().map(|[byte]| byte);
    Some(match field {
        Compared::Family => Match::Family(byte()?),
        Compared::Protocol => Match::Protocol(byte()?),
        Compared::Interface => {
            let is_exact = value.len() == IFNAMSIZ;
            let end = value.iter().position(|byte| *byte == 0);
            let name = str::from_utf8(&value[..end.unwrap_or(value.len())]).ok()?;
            Match::Interface(if is_exact {
                Pattern::Exact(name.to_owned())
            } else {
                Pattern::Prefix(name.to_owned())
            })
        }
        Compared::Port => Match::Port(u16::from_be_bytes(value.try_into().ok()?)),
        Compared::Status => Match::DestinationTranslated,
        Compared::RouteBack => Match::NoRouteBack,
    })
}

fn decode_look_up(loaded: &Expressions, attributes: &[Lookup]) -> Option<Match> {
    let mut all = Field::ALL.into_iter();
    let field = all.find(|field| expression::same(&load(*field), loaded))?;
    let (mut set, mut flags) = (None, 0);
    for attribute in attributes {
        match attribute {
            Lookup::Set(name) => set = Some(name.clone()),
            Lookup::Flags(found) => flags = *found,
            _ => {}
        }
    }
    Some(if flags == 0 {
        Match::In(field, set?)
    } else {
        Match::NotIn(field, set?)
    })
}

fn encode_verdict(verdict: &Verdict) -> Vec<Expressions> {
    let code = |code| vec![immediate_verdict(vec![VerdictAttribute::Code(code)])];
    match verdict {
        Verdict::Accept => code(Code::Other(NF_ACCEPT)),
        Verdict::Drop => code(Code::Other(NF_DROP)),
        Verdict::Return => code(Code::Return),
        Verdict::Jump(chain) => vec![immediate_verdict(vec![
            VerdictAttribute::Code(Code::Jump),
            VerdictAttribute::Chain(chain.clone()),
        ])],
        Verdict::Dnat(target) => {
            let address = match target.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            vec![
                immediate(VALUE, DataAttribute::Value(address)),
                immediate(
                    PORT,
                    DataAttribute::Value(target.port().to_be_bytes().to_vec()),
                ),
                expression::dnat(Match::family(target.ip()), VALUE, PORT),
            ]
        }
    }
}

fn decode_verdict(expressions: &[Expressions]) -> Option<Verdict> {
    match expressions {
        [Expressions::Immediate(verdict)] => {
            let DataAttribute::Verdict(attributes) = loaded(verdict)? else {
                return None;
            };
            let code = attributes.iter().find_map(|attribute| match attribute {
                VerdictAttribute::Code(code) => Some(*code),
                _ => None,
            })?;
            let chain = attributes.iter().find_map(|attribute| match attribute {
                VerdictAttribute::Chain(chain) => Some(chain.clone()),
                _ => None,
            });
            match (code, chain) {
                (Code::Other(NF_ACCEPT), None) => Some(Verdict::Accept),
                (Code::Other(NF_DROP), None) => Some(Verdict::Drop),
                (Code::Return, None) => Some(Verdict::Return),
                (Code::Jump, Some(chain)) => Some(Verdict::Jump(chain)),
                _ => None,
            }
        }
        [
            Expressions::Immediate(address),
            Expressions::Immediate(port),
            _nat,
        ] => {
            let (DataAttribute::Value(address), DataAttribute::Value(port)) =
                (loaded(address)?, loaded(port)?)
            else {
                return None;
            };
            let v4 = <[u8; 4]>::try_from(address.as_slice()).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(address.as_slice()).map(IpAddr::from);
            let port = u16::from_be_bytes(port.as_slice().try_into().ok()?);
            Some(Verdict::Dnat(SocketAddr::new(v4.or(v6).ok()?, port)))
        }
        _ => None,
    }
}

fn meta(key: MetaKey) -> Expressions {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(VALUE)])
}

fn payload(base: u32, offset: u32, len: u32) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(VALUE),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(len),
    ])
}

fn compare(operator: Operator, value: &[u8]) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(VALUE),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value.to_vec())),
    ])
}

fn look_up(set: &str, flags: u32) -> Expressions {
    Expressions::Lookup(vec![
        Lookup::Set(set.to_owned()),
        Lookup::SourceRegister(VALUE),
        Lookup::Flags(flags),
    ])
}

fn immediate(register: Register, data: DataAttribute) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(register),
        Immediate::Data(data),
    ])
}

fn immediate_verdict(attributes: Vec<VerdictAttribute>) -> Expressions {
    immediate(Register::Verdict, DataAttribute::Verdict(attributes))
}

/// What an `immediate` loads.
fn loaded(attributes: &[Immediate]) -> Option<&DataAttribute> {
    attributes.iter().find_map(|attribute| match attribute {
        Immediate::Data(data) => Some(data),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn any_match() -> impl Strategy<Value = Match> {
        prop_oneof![
            any::<u8>().prop_map(Match::Family),
            any::<u8>().prop_map(Match::Protocol),
            "[a-z][a-z0-9]{0,14}".prop_map(|name| Match::Interface(Pattern::Exact(name))),
            "[a-z][a-z0-9]{0,14}".prop_map(|name| Match::Interface(Pattern::Prefix(name))),
            any::<u16>().prop_map(Match::Port),
            Just(Match::DestinationTranslated),
            Just(Match::NoRouteBack),
            (any_field(), "[a-z]{1,9}").prop_map(|(field, set)| Match::In(field, set)),
            (any_field(), "[a-z]{1,9}").prop_map(|(field, set)| Match::NotIn(field, set)),
        ]
    }

    fn any_field() -> impl Strategy<Value = Field> {
        prop::sample::select(&Field::ALL[..])
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![
            (any::<IpAddr>(), any::<u16>())
                .prop_map(|(ip, port)| Verdict::Dnat(SocketAddr::new(ip, port))),
            Just(Verdict::Accept),
            Just(Verdict::Drop),
            Just(Verdict::Return),
            "[a-z]{1,9}".prop_map(Verdict::Jump),
        ]
    }

    proptest! {
        #[test]
        fn every_rule_reads_back_as_itself(matches in vec(any_match(), 0..5), verdict in any_verdict()) {
            let rule = Rule::new(matches, verdict);
            let decoded = decode(&encode(&rule));
            prop_assert_eq!(decoded, Some(Counted { rule, packets: 0, bytes: 0 }));
        }

        #[test]
        fn a_rule_with_an_expression_missing_or_doubled_is_not_taken_for_itself(
            matches in vec(any_match(), 0..5), verdict in any_verdict(), position in any::<prop::sample::Index>(), double in any::<bool>(),
        ) {
            let rule = Rule::new(matches, verdict);
            let mut expressions = encode(&rule);
            let position = position.index(expressions.len());
            if double {
                expressions.insert(position, expressions[position].clone());
            } else {
                expressions.remove(position);
            }
            prop_assert_ne!(decode(&expressions).map(|counted| counted.rule), Some(rule));
        }
    }

    #[test]
    fn a_comparison_turned_around_is_not_ours() {
        let rule = Rule::new(vec![Match::Port(80)], Verdict::Drop);
        let mut expressions = encode(&rule);
        expressions[1] = compare(Operator::NotEqual, &80u16.to_be_bytes());
        assert_eq!(decode(&expressions), None);
    }

    #[test]
    fn another_status_bit_is_not_ours() {
        let rule = Rule::new(vec![Match::DestinationTranslated], Verdict::Accept);
        let mut expressions = encode(&rule);
        let Expressions::Bitwise(attributes) = &mut expressions[1] else {
            panic!("the mask stands second");
        };
        attributes[3] = Bitwise::Mask(DataAttribute::Value(0x10u32.to_ne_bytes().to_vec()));
        assert_eq!(decode(&expressions), None);
    }
}
