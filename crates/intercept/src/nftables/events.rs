//! Tells when somebody has changed the table: the kernel announces every transaction of nftables to whoever listens.
//!
//! Of an announcement only the table's name is read, so that no other table's rules have to be understood.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use netlink_packet_core::NlasIterator;
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};

use super::{TABLE, error::Error};
use crate::netlink::{Messages, receive};

/// `NFNLGRP_NFTABLES` of the kernel's `nfnetlink.h`.
const GROUP: u32 = 7;
/// `NFPROTO_INET`
const INET: u8 = 1;
/// What an announcement of a table, chain, rule, set or element gives the table's name as: `NFTA_*_TABLE`.
const NAME: u16 = 1;
/// Lengths of `struct nlmsghdr` and `struct nfgenmsg`.
const NETLINK_HEADER: usize = 16;
const NETFILTER_HEADER: usize = 4;
/// Datagrams read at a time; the rest waits for the next time.
const BURST: usize = 1024;

/// A socket that becomes readable with every transaction, in the network namespace of the thread that opened it.
pub(super) struct Events(Socket);

impl Events {
    pub(super) fn open() -> Result<Self, Error> {
        let open = || {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.add_membership(GROUP)?;
            Ok(Self(socket))
        };
        open().map_err(|error: io::Error| match error.raw_os_error() {
            Some(libc::EPERM) => Error::NotPermitted(error),
            _ => Error::Netlink(error),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Reads what has been announced; true if some of it is about the table, or may have been: where more was announced
    /// than the socket holds.
    pub(super) fn settle(&mut self) -> Result<bool, Error> {
        let mut concerned = false;
        for _ in 0..BURST {
            match receive(&self.0) {
                Ok(Some(datagram)) => concerned |= Messages(&datagram).any(is_about_us),
                Ok(None) => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => concerned = true,
                Err(error) => return Err(Error::Netlink(error)),
            }
        }
        Ok(concerned)
    }
}

/// Whether an announcement is about the table inet podiam.
fn is_about_us(message: &[u8]) -> bool {
    let Some((family, attributes)) = message
        .get(NETLINK_HEADER..)
        .and_then(|body| Some((*body.first()?, body.get(NETFILTER_HEADER..)?)))
    else {
        return false;
    };
    let is_name = |value: &[u8]| value.strip_suffix(&[0]) == Some(TABLE.as_bytes());
    family == INET
        && NlasIterator::new(attributes)
            .flatten()
            .any(|attribute| attribute.kind() == NAME && is_name(attribute.value()))
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

    fn announcement(family: u8, kind: u8, name: &[u8]) -> Vec<u8> {
        let mut message = vec![0; NETLINK_HEADER];
        message.extend([family, 0, 0, 0]);
        let length = u8::try_from(4 + name.len()).unwrap();
        message.extend([length, 0, kind, 0]);
        message.extend(name);
        message
    }

    #[test]
    fn only_the_table_of_that_family_and_name_is_ours() {
        for (family, kind, name, ours) in [
            (1, 1, &b"podiam\0"[..], true),
            (2, 1, b"podiam\0", false),
            (1, 2, b"podiam\0", false),
            (1, 1, b"podiam2\0", false),
            (1, 1, b"podia\0", false),
        ] {
            assert_eq!(is_about_us(&announcement(family, kind, name)), ours);
        }
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_reader_panic(datagram in vec(any::<u8>(), 0..80)) {
            let _ = Messages(&datagram).any(is_about_us);
        }
    }
}
