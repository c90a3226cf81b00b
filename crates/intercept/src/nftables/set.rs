//! The named sets of the table: interfaces and addresses that rules look up, so that a change of them leaves every rule
//! and its counter alone. As data, as the kernel's attributes, and back.

use std::{fmt, net::IpAddr};

use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, SetAttribute, SetElementAttribute, SetElementFlags,
    SetElementList, SetElementMessage, SetFlags, SetMessage,
};

use super::TABLE;
use crate::interfaces::Pattern;

/// A set and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Sorted; no two patterns overlap.
    pub(super) elements: Vec<Element>,
}

/// What a set can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ipv4,
    Ipv6,
    /// Names of interfaces and beginnings of names.
    Interfaces,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Element {
    Address(IpAddr),
    Interface(Pattern),
}

type Attributes = Vec<SetElementAttribute>;

impl Kind {
    const ALL: [Self; 3] = [Self::Ipv4, Self::Ipv6, Self::Interfaces];
    const IFNAMSIZ: usize = 16;

    /// nft's number for the type, which tells it how to show a key; and the length of a key in bytes.
    fn key(self) -> (u32, u32) {
        match self {
            Self::Ipv4 => (7, 4),
            Self::Ipv6 => (8, 16),
            Self::Interfaces => (41, 16),
        }
    }

    fn flags(self) -> SetFlags {
        match self {
            Self::Ipv4 | Self::Ipv6 => SetFlags::empty(),
            Self::Interfaces => SetFlags::Interval,
        }
    }
}

impl Set {
    pub(super) fn addresses(name: &'static str, addresses: &[IpAddr]) -> Self {
        let is_v4 = addresses.iter().all(IpAddr::is_ipv4);
        let mut elements: Vec<_> = addresses.iter().copied().map(Element::Address).collect();
        elements.sort();
        elements.dedup();
        Self {
            name,
            kind: if is_v4 { Kind::Ipv4 } else { Kind::Ipv6 },
            elements,
        }
    }

    /// `patterns` must not overlap, as those of [`crate::Interfaces`] do not.
    pub(super) fn interfaces(name: &'static str, patterns: &[Pattern]) -> Self {
        let mut elements: Vec<_> = patterns.iter().cloned().map(Element::Interface).collect();
        elements.sort();
        Self {
            name,
            kind: Kind::Interfaces,
            elements,
        }
    }

    /// The request for the set without its elements. `id` must differ from that of every other set of the transaction.
    pub(super) fn declaration(&self, id: u32) -> SetMessage {
        let (key_type, key_len) = self.kind.key();
        SetMessage {
            attributes: vec![
                SetAttribute::Table(TABLE.to_owned()),
                SetAttribute::Name(self.name.to_owned()),
                SetAttribute::Flags(self.kind.flags()),
                SetAttribute::KeyType(key_type),
                SetAttribute::KeyLen(key_len),
                SetAttribute::Id(id),
            ],
        }
    }
}

/// The kind of set that a listing shows; `None` where it is none of ours.
pub(super) fn kind(attributes: &[SetAttribute]) -> Option<Kind> {
    let (mut flags, mut key_type, mut key_len) = (SetFlags::empty(), None, None);
    for attribute in attributes {
        match attribute {
            SetAttribute::Flags(found) => flags = *found,
            SetAttribute::KeyType(found) => key_type = Some(*found),
            SetAttribute::KeyLen(found) => key_len = Some(*found),
            _ => {}
        }
    }
    let key = (key_type?, key_len?);
    Kind::ALL
        .into_iter()
        .find(|kind| kind.key() == key && kind.flags() == flags)
}

/// The request that is about `elements` of the set `name`, or about all of them where there are none.
pub(super) fn message(name: &str, elements: &[Element]) -> SetElementMessage {
    let mut attributes = vec![
        SetElementList::Table(TABLE.to_owned()),
        SetElementList::Set(name.to_owned()),
    ];
    if !elements.is_empty() {
        let encoded = elements.iter().flat_map(encode);
        attributes.push(SetElementList::Elements(
            encoded.map(ListAttribute::Element).collect(),
        ));
    }
    SetElementMessage { attributes }
}

/// The elements that listed `messages` hold, sorted; `None` if one of them is none that [`encode`] makes.
pub(super) fn decode(kind: Kind, messages: &[SetElementMessage]) -> Option<Vec<Element>> {
    let lists = messages.iter().flat_map(|message| &message.attributes);
    let listed = lists.filter_map(|attribute| match attribute {
        SetElementList::Elements(elements) => Some(elements),
        _ => None,
    });
    let mut keys = listed.flatten().map(key).collect::<Option<Vec<_>>>()?;
    let mut elements = match kind {
        Kind::Ipv4 | Kind::Ipv6 => {
            let address = |(bytes, is_end): (Vec<u8>, bool)| {
                let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
                let v6 = <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from);
                v4.or(v6).ok().filter(|_| !is_end).map(Element::Address)
            };
            keys.into_iter().map(address).collect::<Option<Vec<_>>>()?
        }
        Kind::Interfaces => {
            // Where one interval ends and the next begins at the same key, the end comes first.
            keys.sort_by(|one, two| (&one.0, !one.1).cmp(&(&two.0, !two.1)));
            let pair = |pair: &[(Vec<u8>, bool)]| match pair {
                [(start, false), (end, true)] => pattern(start, end).map(Element::Interface),
                _ => None,
            };
            // nft closes what lies before the first interval.
            let is_closing = |key: &(Vec<u8>, bool)| key.1 && key.0.iter().all(|byte| *byte == 0);
            let first = usize::from(keys.first().is_some_and(is_closing));
            keys[first..].chunks(2).map(pair).collect::<Option<_>>()?
        }
    };
    elements.sort();
    Some(elements)
}

/// An address is one key. A pattern is two: where it begins, and where it has ended.
fn encode(element: &Element) -> Vec<Attributes> {
    match element {
        Element::Address(IpAddr::V4(ip)) => vec![start(ip.octets().to_vec())],
        Element::Address(IpAddr::V6(ip)) => vec![start(ip.octets().to_vec())],
        Element::Interface(pattern) => {
            let (first, end) = interval(pattern);
            let mut ends = start(end);
            ends.push(SetElementAttribute::Flags(SetElementFlags::IntervalEnd));
            vec![start(first), ends]
        }
    }
}

fn start(key: Vec<u8>) -> Attributes {
    vec![SetElementAttribute::Key(DataAttribute::Value(key))]
}

/// The key of a listed element, and whether an interval ends there.
fn key(element: &ListAttribute<SetElementAttribute>) -> Option<(Vec<u8>, bool)> {
    let ListAttribute::Element(attributes) = element else {
        return None;
    };
    let (mut key, mut is_end) = (None, false);
    for attribute in attributes {
        match attribute {
            SetElementAttribute::Key(DataAttribute::Value(value)) => key = Some(value.clone()),
            SetElementAttribute::Flags(flags) => {
                is_end = flags.contains(SetElementFlags::IntervalEnd);
            }
            _ => {}
        }
    }
    Some((key?, is_end))
}

/// The first name of a pattern and the first behind its last, padded as the kernel compares them: from the left.
fn interval(pattern: &Pattern) -> (Vec<u8>, Vec<u8>) {
    let (Pattern::Exact(name) | Pattern::Prefix(name)) = pattern;
    let mut first = name.clone().into_bytes();
    let length = first.len();
    first.resize(Kind::IFNAMSIZ, 0);
    let mut end = first.clone();
    let last = match pattern {
        Pattern::Exact(_) => Kind::IFNAMSIZ,
        Pattern::Prefix(_) => length,
    } - 1;
    // No byte of a name is 0xff, which UTF-8 does not have.
    end[last] = end[last].saturating_add(1);
    (first, end)
}

fn pattern(start: &[u8], end: &[u8]) -> Option<Pattern> {
    let length = start.iter().position(|byte| *byte == 0)?;
    let name = str::from_utf8(&start[..length]).ok()?.to_owned();
    let of = |pattern: Pattern| (interval(&pattern).1 == end).then_some(pattern);
    of(Pattern::Exact(name.clone())).or_else(|| {
        if name.is_empty() {
            None
        } else {
            of(Pattern::Prefix(name))
        }
    })
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Interface(pattern) => write!(f, "{pattern}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::Interfaces;

    fn read_back(set: &Set) -> Option<Vec<Element>> {
        decode(set.kind, &[message(set.name, &set.elements)])
    }

    proptest! {
        #[test]
        fn interfaces_read_back_as_themselves(names in vec("[a-z]{1,4}\\+?", 0..6)) {
            let interfaces: Interfaces = names.join(",").parse().unwrap();
            let set = Set::interfaces("interfaces", interfaces.included());
            prop_assert_eq!(read_back(&set), Some(set.elements));
        }

        #[test]
        fn addresses_read_back_as_themselves(addresses in vec(any::<std::net::Ipv6Addr>(), 0..4)) {
            let addresses: Vec<IpAddr> = addresses.into_iter().map(IpAddr::from).collect();
            let set = Set::addresses("metadata6", &addresses);
            prop_assert_eq!(read_back(&set), Some(set.elements));
        }
    }

    #[test]
    fn neighbours_share_a_key_and_are_told_apart() {
        let interfaces: Interfaces = "eni+,enj+,enk".parse().unwrap();
        let set = Set::interfaces("interfaces", interfaces.included());
        assert_eq!(read_back(&set), Some(set.elements));
    }

    #[test]
    fn an_interval_that_is_no_pattern_is_not_ours() {
        let interval = |from: &str, to: &str| {
            let padded = |name: &str| {
                let mut key = name.as_bytes().to_vec();
                key.resize(16, 0);
                start(key)
            };
            let mut end = padded(to);
            end.push(SetElementAttribute::Flags(SetElementFlags::IntervalEnd));
            let elements = [padded(from), end].map(ListAttribute::Element).to_vec();
            let attributes = vec![SetElementList::Elements(elements)];
            decode(Kind::Interfaces, &[SetElementMessage { attributes }])
        };
        assert_eq!(
            interval("eni", "enj"),
            Some(vec![Element::Interface(Pattern::Prefix("eni".into()))])
        );
        assert_eq!(interval("eni", "enz"), None);
        assert_eq!(interval("", "a"), None);
    }
}
