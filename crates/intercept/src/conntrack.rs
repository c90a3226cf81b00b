//! Ends connections that are older than the rules: conntrack goes on translating a flow as it began, or not at all,
//! whatever rules come later. The back ends call it after they have written rules.
//!
//! It forgets the flow; the next packet of it meets the rules as if it were the first.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use netlink_packet_core::{DecodeError, NLM_F_ACK, NLM_F_DUMP, Nla};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Tuple},
};
use thiserror::Error;

use crate::netlink::{Conversation, Failure};
use crate::{Outcome, Rules, rules::metadata_addresses};

/// `CTA_ID` and `CTA_ZONE` of the kernel's `nfnetlink_conntrack.h`: with the addresses, what names one flow.
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;

/// Why connections from before the rules go on.
#[derive(Debug, Error)]
pub enum Error {
    /// The capability is missing in the user namespace that owns this network namespace.
    #[error("conntrack needs the capability CAP_NET_ADMIN")]
    NotPermitted(#[source] io::Error),
    /// Not built in, and no module of that name could be loaded.
    #[error("the kernel lacks conntrack's netlink (module nf_conntrack_netlink)")]
    MissingFeature(#[source] io::Error),
    /// Any other answer of the kernel, or none.
    #[error("the kernel refused to list or delete connections")]
    Refused(#[source] io::Error),
    /// An answer that is not netlink.
    #[error("the kernel's answer about connections could not be read")]
    Answer(#[source] DecodeError),
}

/// What a back end remembers of it: rules have been written, and the connections from before them not been ended.
#[derive(Debug, Default)]
pub(crate) struct Older(bool);

impl Older {
    /// After an installation of `rules`: ends the connections from before them if any rule has changed, or if that has
    /// not succeeded the last time.
    pub(crate) fn end(&mut self, rules: &Rules, outcome: Outcome) -> Result<(), Error> {
        self.0 |= outcome.has_changed_rules();
        if self.0 {
            let kept: Vec<SocketAddr> = rules.targets().collect();
            forget(&metadata_addresses(rules.metadata), &kept)?;
            self.0 = false;
        }
        Ok(())
    }
}

/// Forgets every flow that was opened to one of `destinations`, on whatever port, but those that go to one of `kept`,
/// and returns how many.
///
/// # Errors
/// Flows may have been forgotten before the failure.
pub fn forget(destinations: &[IpAddr], kept: &[SocketAddr]) -> Result<usize, Error> {
    let mut conversation = Conversation::open().map_err(|error| told(Failure::Socket(error)))?;
    let mut forgotten = 0;
    for family in [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6] {
        let mut request = |message, flags| {
            let header = NetfilterHeader::new(family, 0, 0);
            conversation.ask(NetfilterMessage::new(header, message), flags)
        };
        // A flow that comes or goes meanwhile does not matter: one that comes meets the rules.
        let listed = request(ConntrackMessage::Get(Vec::new()), NLM_F_DUMP).map_err(told)?;
        for message in listed {
            let NetfilterMessageInner::Conntrack(ConntrackMessage::New(flow)) = message else {
                continue;
            };
            if !is_older(&flow, destinations, kept) {
                continue;
            }
            match request(ConntrackMessage::Delete(name(flow)), NLM_F_ACK) {
                Ok(_) => forgotten += 1,
                Err(Failure::Refused(libc::ENOENT)) => {}
                Err(failure) => return Err(told(failure)),
            }
        }
    }
    Ok(forgotten)
}

/// Whether a flow went to one of `destinations` and is not answered by one of `kept`.
fn is_older(flow: &[ConntrackAttribute], destinations: &[IpAddr], kept: &[SocketAddr]) -> bool {
    let original = flow.iter().find_map(|attribute| match attribute {
        ConntrackAttribute::CtaTupleOrig(tuple) => destination(tuple),
        _ => None,
    });
    let answering = flow.iter().find_map(|attribute| match attribute {
        ConntrackAttribute::CtaTupleReply(tuple) => source(tuple),
        _ => None,
    });
    original.is_some_and(|ip| destinations.contains(&ip))
        && !answering.is_some_and(|answering| kept.contains(&answering))
}

fn destination(tuple: &[Tuple]) -> Option<IpAddr> {
    addresses(tuple).find_map(|part| match part {
        IPTuple::DestinationAddress(ip) => Some(*ip),
        _ => None,
    })
}

fn source(tuple: &[Tuple]) -> Option<SocketAddr> {
    let ip = addresses(tuple).find_map(|part| match part {
        IPTuple::SourceAddress(ip) => Some(*ip),
        _ => None,
    });
    let ports = tuple.iter().filter_map(|part| match part {
        Tuple::Proto(parts) => Some(parts),
        _ => None,
    });
    let port = ports.flatten().find_map(|part| match part {
        ProtoTuple::SourcePort(port) => Some(*port),
        _ => None,
    });
    Some(SocketAddr::new(ip?, port?))
}

fn addresses(tuple: &[Tuple]) -> impl Iterator<Item = &IPTuple> {
    let parts = tuple.iter().filter_map(|part| match part {
        Tuple::Ip(addresses) => Some(addresses),
        _ => None,
    });
    parts.flatten()
}

/// What of a flow's listing names it.
fn name(flow: Vec<ConntrackAttribute>) -> Vec<ConntrackAttribute> {
    let names = |attribute: &ConntrackAttribute| match attribute {
        ConntrackAttribute::CtaTupleOrig(_) => true,
        ConntrackAttribute::Other(other) => matches!(other.kind(), CTA_ID | CTA_ZONE),
        _ => false,
    };
    flow.into_iter().filter(names).collect()
}

fn told(failure: Failure) -> Error {
    let source = match failure {
        Failure::Refused(errno) => io::Error::from_raw_os_error(errno),
        Failure::Socket(error) => error,
        Failure::Unanswered => io::ErrorKind::UnexpectedEof.into(),
        Failure::Interrupted => io::ErrorKind::Interrupted.into(),
        Failure::Unreadable(error) => return Error::Answer(error),
    };
    match source.raw_os_error() {
        Some(libc::EPERM) => Error::NotPermitted(source),
        // nfnetlink's answers where no subsystem has registered for the request.
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => {
            Error::MissingFeature(source)
        }
        _ => Error::Refused(source),
    }
}
