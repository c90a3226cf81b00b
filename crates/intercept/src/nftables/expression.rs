//! The nftables expressions that netlink-packet-netfilter has no types for: conntrack, counter, fib and NAT.
//!
//! Numbers are those of the kernel's `include/uapi/linux/netfilter/nf_tables.h`. Only [`super::codec`] uses them.

use netlink_packet_core::{DefaultNla, Emitable, NlasIterator};
use netlink_packet_netfilter::nftables::{Expressions, Register};

const NFTA_CT_DREG: u16 = 1;
const NFTA_CT_KEY: u16 = 2;
const NFTA_CT_DIRECTION: u16 = 3;

const NFTA_FIB_DREG: u16 = 1;
const NFTA_FIB_RESULT: u16 = 2;
const NFTA_FIB_FLAGS: u16 = 3;
const NFT_FIB_RESULT_OIF: u32 = 1;
/// `NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT`
const ROUTE_BACK: u32 = 1 | 1 << 3 | 1 << 5;

const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;

const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_FAMILY: u16 = 2;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_ADDR_MAX: u16 = 4;
const NFTA_NAT_REG_PROTO_MIN: u16 = 5;
const NFTA_NAT_REG_PROTO_MAX: u16 = 6;
const NFTA_NAT_FLAGS: u16 = 7;
const NFT_NAT_DNAT: u32 = 1;
/// `NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED`: what newer kernels add by themselves to a rule that has an
/// address and a port.
const IMPLIED_NAT_FLAGS: u32 = 3;

/// What to load out of the connection's entry in conntrack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Conntrack {
    /// `NFT_CT_STATUS`
    Status = 2,
    /// `NFT_CT_DST_IP` (Linux >= 4.17)
    Destination4 = 20,
    /// `NFT_CT_DST_IP6`
    Destination6 = 22,
}

/// Loads `key` into `register`; the addresses are those of the original direction, before NAT.
pub(super) fn conntrack(key: Conntrack, register: Register) -> Expressions {
    let mut attributes = vec![
        number(NFTA_CT_DREG, register.into()),
        number(NFTA_CT_KEY, key as u32),
    ];
    if key != Conntrack::Status {
        // IP_CT_DIR_ORIGINAL
        attributes.push(DefaultNla::new(NFTA_CT_DIRECTION, vec![0]));
    }
    other("ct", attributes)
}

/// Loads into `register` a number, 0 or 1: whether a route to the packet's source leads out by the interface it came in on.
pub(super) fn route_back(register: Register) -> Expressions {
    other(
        "fib",
        vec![
            number(NFTA_FIB_DREG, register.into()),
            number(NFTA_FIB_RESULT, NFT_FIB_RESULT_OIF),
            number(NFTA_FIB_FLAGS, ROUTE_BACK),
        ],
    )
}

/// Counts packets and bytes, from zero.
pub(super) fn counter() -> Expressions {
    other("counter", Vec::new())
}

/// The packets and bytes of a counter; `None` if it is not one.
pub(super) fn counted(expression: &Expressions) -> Option<(u64, u64)> {
    let Expressions::Other {
        expression_type,
        attributes,
    } = expression
    else {
        return None;
    };
    let read = |kind| {
        Some(u64::from_be_bytes(
            value(attributes, kind)?.try_into().ok()?,
        ))
    };
    (expression_type == "counter").then(|| {
        (
            read(NFTA_COUNTER_PACKETS).unwrap_or(0),
            read(NFTA_COUNTER_BYTES).unwrap_or(0),
        )
    })
}

/// Destination NAT, of packets of one address family, to the address and port that the registers hold.
pub(super) fn dnat(family: u8, address: Register, port: Register) -> Expressions {
    other(
        "nat",
        vec![
            number(NFTA_NAT_TYPE, NFT_NAT_DNAT),
            number(NFTA_NAT_FAMILY, family.into()),
            number(NFTA_NAT_REG_ADDR_MIN, address.into()),
            number(NFTA_NAT_REG_ADDR_MAX, address.into()),
            number(NFTA_NAT_REG_PROTO_MIN, port.into()),
            number(NFTA_NAT_REG_PROTO_MAX, port.into()),
        ],
    )
}

/// Whether two expressions mean the same: whatever the order of their attributes, without a counter's values and
/// without what kernels of different ages add to an expression when they list it.
pub(super) fn same(one: &Expressions, two: &Expressions) -> bool {
    let (one, two) = (canonical(one), canonical(two));
    one == two
}

/// An expression's type and its attributes in order of their kind.
fn canonical(expression: &Expressions) -> (String, Vec<(u16, Vec<u8>)>) {
    let (name, is_counter) = match expression {
        Expressions::Bitwise(_) => ("bitwise", false),
        Expressions::Cmp(_) => ("cmp", false),
        Expressions::Immediate(_) => ("immediate", false),
        Expressions::Lookup(_) => ("lookup", false),
        Expressions::Meta(_) => ("meta", false),
        Expressions::Payload(_) => ("payload", false),
        Expressions::Other {
            expression_type, ..
        } => (expression_type.as_str(), expression_type == "counter"),
        _ => ("", false),
    };
    let mut bytes = vec![0; expression.buffer_len()];
    expression.emit(&mut bytes);
    let mut attributes = Vec::new();
    if !is_counter {
        for attribute in NlasIterator::new(bytes.as_slice()).flatten() {
            let (kind, value) = (attribute.kind(), attribute.value());
            if !is_implied(name, kind, value) {
                attributes.push((kind, value.to_vec()));
            }
        }
    }
    attributes.sort();
    (name.to_owned(), attributes)
}

/// Attributes that the kernel lists though nobody set them.
fn is_implied(name: &str, kind: u16, value: &[u8]) -> bool {
    const NFTA_BITWISE_OP: u16 = 6;
    let number = value.try_into().map(u32::from_be_bytes);
    match (name, kind, number) {
        // Mask and xor, the only operation there was before Linux 5.6.
        ("bitwise", NFTA_BITWISE_OP, Ok(0)) => true,
        ("nat", NFTA_NAT_FLAGS, Ok(flags)) => flags & !IMPLIED_NAT_FLAGS == 0,
        _ => false,
    }
}

fn other(name: &str, attributes: Vec<DefaultNla>) -> Expressions {
    Expressions::Other {
        expression_type: name.to_owned(),
        attributes,
    }
}

fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

fn value(attributes: &[DefaultNla], kind: u16) -> Option<Vec<u8>> {
    use netlink_packet_core::Nla;
    let found = attributes
        .iter()
        .find(|attribute| attribute.kind() == kind)?;
    let mut value = vec![0; found.value_len()];
    found.emit_value(&mut value);
    Some(value)
}
