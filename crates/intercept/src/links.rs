//! The node's links and routes, as far as they tell pods apart: which link an address is behind, and whether that link
//! is one pod's or shared. Nothing is changed here, and no privilege is needed.

use std::io;
use std::net::IpAddr;

use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::rtnetlink::Rtnetlink;

/// A link and what hangs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it. Numbers are used again only after all others.
    pub index: u32,
    /// Its name, for people.
    pub name: String,
    /// True for a link whose other end is one network namespace: veth and netkit, unless it is a bridge's port.
    pub is_one_pods: bool,
}

/// Where the node sends what is for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The link's index.
    pub link: u32,
    /// The route is for this address alone (/32, /128).
    pub is_for_one: bool,
    /// The address is reached without a gateway: it is on this node, or on its link.
    pub is_direct: bool,
}

/// Asks the kernel. In the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Links(Rtnetlink);

impl Links {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        Rtnetlink::open().map(Self)
    }

    /// The route to `address`; `None` where there is none, or the address is the node's own.
    pub fn route(&mut self, address: IpAddr) -> io::Result<Option<Route>> {
        let length = if address.is_ipv4() { 32 } else { 128 };
        let mut message = RouteMessage::default();
        message.header.address_family = match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.destination_prefix_length = length;
        // The route as it stands in the table, and not one made for this address out of it.
        message.header.flags = RouteFlags::FibMatch;
        message.attributes = vec![RouteAttribute::Destination(match address {
            IpAddr::V4(address) => RouteAddress::Inet(address),
            IpAddr::V6(address) => RouteAddress::Inet6(address),
        })];
        let route = match self.0.ask(RouteNetlinkMessage::GetRoute(message)) {
            Ok(RouteNetlinkMessage::NewRoute(route)) => route,
            Ok(other) => return Err(io::Error::other(format!("an unexpected answer: {other:?}"))),
            Err(error) if is_no_route(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut link = None;
        let mut is_direct = true;
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => link = Some(*index),
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => is_direct = false,
                _ => {}
            }
        }
        if route.header.kind == RouteType::Local {
            return Ok(None);
        }
        Ok(link.map(|link| Route {
            link,
            is_for_one: route.header.destination_prefix_length == length,
            is_direct,
        }))
    }

    /// A link by its index; `None` where there is no such link (any more).
    pub fn link(&mut self, index: u32) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let link = match self.0.ask(RouteNetlinkMessage::GetLink(message)) {
            Ok(RouteNetlinkMessage::NewLink(link)) => link,
            Ok(other) => return Err(io::Error::other(format!("an unexpected answer: {other:?}"))),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut name = String::new();
        let (mut is_pair, mut is_port) = (false, false);
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(own) => name = own,
                LinkAttribute::Controller(_) => is_port = true,
                LinkAttribute::LinkInfo(info) => {
                    is_pair |= info.iter().any(|info| {
                        matches!(info, LinkInfo::Kind(InfoKind::Veth | InfoKind::Netkit))
                    });
                }
                _ => {}
            }
        }
        Ok(Some(Link {
            index,
            name,
            is_one_pods: is_pair && !is_port,
        }))
    }
}

fn is_no_route(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL | libc::EACCES)
    )
}
