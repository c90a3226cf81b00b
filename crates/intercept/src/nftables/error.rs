//! Why nftables did not do as it was told, in terms of what an administrator can change.

use std::{io, net::IpAddr};

use netlink_packet_core::DecodeError;
use thiserror::Error;

use crate::{Owner, conntrack};

/// Why [`super::Nftables`] did not do as it was told. But for [`Error::OlderConnections`], the kernel's rules are as they
/// were before.
#[derive(Debug, Error)]
pub enum Error {
    /// DNAT to loopback, an unspecified or multicast address, or port 0 would drop every request.
    #[error("pods' connections cannot be brought to {0}: --host-ip must be an address of the node")]
    UnusableTarget(IpAddr),
    /// The capability is missing in the user namespace that owns this network namespace.
    #[error("nftables needs the capability CAP_NET_ADMIN")]
    NotPermitted(#[source] io::Error),
    /// Table flag `owner`: only the socket that holds it may change it.
    #[error("the table inet podiam is owned by {}", named(.0.as_ref()))]
    Owned(Option<Owner>),
    /// Not built in, and no module of that name could be loaded.
    #[error("the kernel lacks {feature} (module {module})")]
    MissingFeature {
        /// What it is for.
        feature: &'static str,
        /// The kernel module that brings it.
        module: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The rules are in place, but a connection from before them may go on.
    #[error("connections from before the rules are not ended")]
    OlderConnections(#[source] conntrack::Error),
    /// Any other answer of the kernel.
    #[error("the kernel refused to {step}")]
    Refused {
        /// What was being asked for.
        step: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A request without an answer; it is not known to have been done.
    #[error("the kernel did not acknowledge the request to {step}")]
    Unacknowledged {
        /// What was being asked for.
        step: String,
    },
    /// The socket itself.
    #[error("netlink failed")]
    Netlink(#[source] io::Error),
    /// An answer that is not netlink.
    #[error("the kernel's answer could not be read")]
    Answer(#[source] DecodeError),
    /// Other programs changed nftables each time while it was being read.
    #[error("nftables kept changing while it was read")]
    Unsettled,
}

/// An owner, as far as it is known.
fn named(owner: Option<&Owner>) -> String {
    match owner {
        Some(Owner {
            process: Some(process),
            ..
        }) => format!(
            "{} (process {}), which is still running",
            process.name, process.pid
        ),
        Some(Owner {
            port,
            process: None,
        }) => format!(
            "a process that is still running but not to be seen from here (netlink port {port})"
        ),
        None => "another process that is still running".to_owned(),
    }
}

/// A part of the kernel that a request depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Feature {
    name: &'static str,
    module: &'static str,
}

impl Feature {
    pub(super) const NETLINK: Self = Self::new("netfilter's netlink", "nfnetlink");
    pub(super) const TABLES: Self = Self::new("nftables", "nf_tables");
    /// What [`super::Nftables`] does without.
    pub(super) const CLOSED_TABLE: Self = Self::new(
        "nftables tables with an owner that they outlive, Linux >= 6.9",
        "nf_tables",
    );
    pub(super) const SETS: Self = Self::new("nftables sets", "nf_tables_set");
    pub(super) const FIB: Self = Self::new("nftables route look-ups", "nft_fib_inet");
    pub(super) const NAT_CHAIN: Self = Self::new(
        "nftables NAT chains of family inet, Linux >= 5.2",
        "nft_chain_nat",
    );
    pub(super) const NAT: Self = Self::new("nftables NAT", "nft_nat");
    pub(super) const CONNTRACK: Self = Self::new("nftables conntrack matches", "nft_ct");

    const fn new(name: &'static str, module: &'static str) -> Self {
        Self { name, module }
    }

    fn missing(self, source: io::Error) -> Error {
        Error::MissingFeature {
            feature: self.name,
            module: self.module,
            source,
        }
    }
}

impl Error {
    /// Whether the kernel lacks just this.
    pub(super) fn lacks(&self, wanted: Feature) -> bool {
        matches!(self, Self::MissingFeature { feature, .. } if *feature == wanted.name)
    }
}

/// Where in a conversation with the kernel an answer belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The socket, or the start of a transaction: refused as a whole.
    Opening,
    /// A request for what the kernel has.
    Query,
    /// One request inside a transaction.
    Step,
}

/// Names the cause of `errno`, the kernel's answer to the request to `step`, which depends on `needs`.
pub(super) fn explain(errno: i32, place: Place, step: &str, needs: Feature) -> Error {
    let source = io::Error::from_raw_os_error(errno);
    match (errno, place) {
        // The capability is checked before any request is looked at.
        (libc::EPERM, Place::Opening | Place::Query) => Error::NotPermitted(source),
        (libc::EPERM, Place::Step) => Error::Owned(None),
        // nf_tables' answer to flags of a table that it does not know, in older versions.
        (libc::EINVAL, Place::Step) if needs == Feature::CLOSED_TABLE => needs.missing(source),
        // nfnetlink's answer where no subsystem has registered for the request.
        (libc::EINVAL, Place::Query) | (libc::EOPNOTSUPP | libc::EPROTONOSUPPORT, _) => {
            needs.missing(source)
        }
        // nf_tables' answer to a chain type or an expression that nobody has registered.
        (libc::ENOENT, Place::Step) => needs.missing(source),
        _ => Error::Refused {
            step: step.to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_the_kernel_is_told_as_what_an_administrator_can_change() {
        for (errno, place, needs, told) in [
            (
                libc::EPERM,
                Place::Opening,
                Feature::TABLES,
                "nftables needs the capability CAP_NET_ADMIN",
            ),
            (
                libc::EPERM,
                Place::Step,
                Feature::TABLES,
                "the table inet podiam is owned by another process that is still running",
            ),
            (
                libc::EOPNOTSUPP,
                Place::Opening,
                Feature::TABLES,
                "the kernel lacks nftables (module nf_tables)",
            ),
            (
                libc::EINVAL,
                Place::Query,
                Feature::TABLES,
                "the kernel lacks nftables (module nf_tables)",
            ),
            (
                libc::EPROTONOSUPPORT,
                Place::Opening,
                Feature::NETLINK,
                "the kernel lacks netfilter's netlink (module nfnetlink)",
            ),
            (
                libc::ENOENT,
                Place::Step,
                Feature::NAT,
                "the kernel lacks nftables NAT (module nft_nat)",
            ),
            (
                libc::ENOENT,
                Place::Step,
                Feature::NAT_CHAIN,
                "the kernel lacks nftables NAT chains of family inet, Linux >= 5.2 (module nft_chain_nat)",
            ),
            (
                libc::ENOENT,
                Place::Step,
                Feature::FIB,
                "the kernel lacks nftables route look-ups (module nft_fib_inet)",
            ),
            (
                libc::ENOENT,
                Place::Step,
                Feature::CONNTRACK,
                "the kernel lacks nftables conntrack matches (module nft_ct)",
            ),
            (
                libc::EOPNOTSUPP,
                Place::Step,
                Feature::SETS,
                "the kernel lacks nftables sets (module nf_tables_set)",
            ),
            (
                libc::ENOMEM,
                Place::Step,
                Feature::NAT,
                "the kernel refused to add it",
            ),
        ] {
            assert_eq!(explain(errno, place, "add it", needs).to_string(), told);
        }
    }

    #[test]
    fn a_kernel_without_owned_tables_is_known_by_its_answer() {
        let feature = Feature::CLOSED_TABLE;
        for errno in [libc::EINVAL, libc::EOPNOTSUPP] {
            assert!(explain(errno, Place::Step, "own it", feature).lacks(feature));
            assert!(!explain(errno, Place::Step, "add it", Feature::SETS).lacks(feature));
        }
        assert!(!explain(libc::EPERM, Place::Step, "own it", feature).lacks(feature));
    }

    #[test]
    fn an_owner_is_named_as_far_as_it_is_known() {
        let process = Some(crate::Process {
            pid: 7,
            name: "podiam".into(),
        });
        for (process, told) in [
            (process, "podiam (process 7), which is still running"),
            (
                None,
                "a process that is still running but not to be seen from here (netlink port 9)",
            ),
        ] {
            let error = Error::Owned(Some(Owner { port: 9, process }));
            assert_eq!(
                error.to_string(),
                format!("the table inet podiam is owned by {told}")
            );
        }
    }
}
