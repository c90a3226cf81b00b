//! Tells when somebody has changed nftables' rules, those of iptables' variant nft included: the kernel announces every
//! transaction to whoever listens. Both back ends listen.
//!
//! Of an announcement only the names of table and chain are read, so that nobody's rules have to be understood.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use netlink_packet_core::NlasIterator;
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};

use crate::netlink::{Messages, receive};

/// `NFNLGRP_NFTABLES` of the kernel's `nfnetlink.h`.
const GROUP: u32 = 7;
/// `NFPROTO_INET`, `NFPROTO_IPV4` and `NFPROTO_IPV6`.
pub(crate) const INET: u8 = 1;
pub(crate) const IPV4: u8 = 2;
pub(crate) const IPV6: u8 = 10;
/// What an announcement of a table, chain, rule, set or element gives the table's name as: `NFTA_*_TABLE`.
const TABLE: u16 = 1;
/// The kinds of announcement that name a chain, and as what: `NFTA_CHAIN_NAME` and `NFTA_RULE_CHAIN`.
const CHAINS: [(u8, u16); 4] = [
    (NFT_MSG_NEWCHAIN, 3),
    (NFT_MSG_DELCHAIN, 3),
    (NFT_MSG_NEWRULE, 2),
    (NFT_MSG_DELRULE, 2),
];
const NFT_MSG_NEWCHAIN: u8 = 3;
const NFT_MSG_DELCHAIN: u8 = 5;
const NFT_MSG_NEWRULE: u8 = 6;
const NFT_MSG_DELRULE: u8 = 8;
/// Where `struct nlmsghdr` has the kind of a message, in the first of two bytes; lengths of it and `struct nfgenmsg`.
const NETLINK_KIND: usize = if cfg!(target_endian = "big") { 5 } else { 4 };
const NETLINK_HEADER: usize = 16;
const NETFILTER_HEADER: usize = 4;
/// Datagrams read at a time; the rest waits for the next time.
const BURST: usize = 1024;

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// [`INET`], [`IPV4`], [`IPV6`] or another of the kernel's numbers.
    pub(crate) family: u8,
    pub(crate) table: String,
    /// For a chain or a rule.
    pub(crate) chain: Option<String>,
}

/// A socket that becomes readable with every transaction, in the network namespace of the thread that opened it.
pub(crate) struct Events {
    socket: Socket,
    concerns: fn(&Change) -> bool,
}

impl Events {
    /// Listens for changes that `concerns` says yes to.
    ///
    /// # Errors
    /// Needs `CAP_NET_ADMIN`.
    pub(crate) fn open(concerns: fn(&Change) -> bool) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.add_membership(GROUP)?;
        Ok(Self { socket, concerns })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what has been announced; true if some of it concerns the listener, or may have: where more was announced
    /// than the socket holds.
    pub(crate) fn settle(&mut self) -> io::Result<bool> {
        let mut concerned = false;
        for _ in 0..BURST {
            match receive(&self.socket) {
                Ok(Some(datagram)) => {
                    let mut changes = Messages(&datagram).filter_map(read);
                    concerned |= changes.any(|change| (self.concerns)(&change));
                }
                Ok(None) => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => concerned = true,
                Err(error) => return Err(error),
            }
        }
        Ok(concerned)
    }
}

/// What an announcement is about; `None` for one that names no table.
fn read(message: &[u8]) -> Option<Change> {
    let kind = *message.get(NETLINK_KIND)?;
    let body = message.get(NETLINK_HEADER..)?;
    let (family, attributes) = (*body.first()?, body.get(NETFILTER_HEADER..)?);
    let text = |wanted: u16| {
        let mut attributes = NlasIterator::new(attributes).flatten();
        let found = attributes.find(|attribute| attribute.kind() == wanted)?;
        let text = found.value().strip_suffix(&[0])?;
        String::from_utf8(text.to_vec()).ok()
    };
    let chain = CHAINS.iter().find(|(of, _)| *of == kind);
    Some(Change {
        family,
        table: text(TABLE)?,
        chain: chain.and_then(|(_, attribute)| text(*attribute)),
    })
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn announcement(kind: u8, family: u8, attributes: &[(u8, &str)]) -> Vec<u8> {
        let mut message = vec![0; NETLINK_HEADER];
        message[NETLINK_KIND] = kind;
        message.extend([family, 0, 0, 0]);
        for (attribute, text) in attributes {
            let length = 4 + text.len();
            message.extend([u8::try_from(length).unwrap(), 0, *attribute, 0]);
            message.extend(text.as_bytes());
            message.resize(message.len().next_multiple_of(4), 0);
        }
        message
    }

    #[test]
    fn family_table_and_chain_are_read_where_the_kernel_puts_them() {
        let nat = (1, "nat\0");
        for (kind, family, attributes, table, chain) in [
            (0, INET, &[(1, "podiam\0")][..], Some("podiam"), None),
            (2, IPV4, &[nat], Some("nat"), None),
            (
                3,
                IPV4,
                &[nat, (2, "handle"), (3, "INPUT\0")],
                Some("nat"),
                Some("INPUT"),
            ),
            (
                5,
                IPV6,
                &[nat, (3, "PODIAM-INPUT\0")],
                Some("nat"),
                Some("PODIAM-INPUT"),
            ),
            (
                6,
                IPV4,
                &[nat, (2, "FORWARD\0"), (3, "handle")],
                Some("nat"),
                Some("FORWARD"),
            ),
            (
                8,
                IPV4,
                &[nat, (2, "FORWARD\0")],
                Some("nat"),
                Some("FORWARD"),
            ),
            // An element names its set there.
            (12, INET, &[nat, (2, "excluded\0")], Some("nat"), None),
            (6, INET, &[(2, "FORWARD\0")], None, None),
            (6, INET, &[(1, "unended")], None, None),
        ] {
            let message = announcement(kind, family, attributes);
            let expected = table.map(|table: &str| Change {
                family,
                table: table.to_owned(),
                chain: chain.map(str::to_owned),
            });
            assert_eq!(read(&message), expected, "{kind} {attributes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_reader_panic(datagram in vec(any::<u8>(), 0..80)) {
            let _ = Messages(&datagram).filter_map(read).count();
        }
    }
}
