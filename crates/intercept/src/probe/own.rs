//! A namespace of our own behind a veth pair, wired as the AWS VPC CNI wires a pod: a /32 or /128 address, and a route and a
//! permanent neighbour instead of ARP or neighbour discovery. It has no name and is held by a descriptor alone, so that it vanishes, and with
//! it the link and its route on the node, however the process ends.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_ROUTE};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};

use super::{Error, Vantage, on_a_thread, within};

/// Where the namespace's address is from: set aside for tests of networks (RFC 2544), 198.18.0.0/15. One of them has a
/// route on the node for as long as a probe takes.
pub const OWN_ADDRESSES: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);

/// The same for IPv6: `2001:2::/48` (RFC 5180). Of it the last 32 bits are used.
pub const OWN_ADDRESSES_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48);

/// How the name of the link's end on the node begins; eight hexadecimal digits follow.
pub const OWN_INTERFACE: &str = "podiam-";

/// How long a link may take to carry packets: the kernel looks at such changes once a second.
const UP_LIMIT: Duration = Duration::from_secs(3);
const UP_LOOK: Duration = Duration::from_millis(5);

/// The link's end in the namespace.
const INSIDE: &str = "eth0";

/// The namespace, its link and its route. All go when this is dropped.
#[derive(Debug)]
pub struct Own {
    vantage: Vantage,
    interface: String,
}

impl Own {
    /// Makes it on the node of the calling thread's namespace, with a route to `metadata` and to nothing else. `seed`
    /// chooses the names and the address: a random number, so that two agents on one node do not meet.
    pub fn new(seed: u32, metadata: IpAddr) -> Result<Self, Error> {
        let namespace = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        })
        .map_err(Error::of("make a network namespace"))?;
        let address = address(seed, metadata);
        let own = Self {
            vantage: Vantage { namespace, address },
            interface: format!("{OWN_INTERFACE}{seed:08x}"),
        };
        own.wire(seed, address, metadata)
            .map_err(Error::of("wire a network namespace to the node"))?;
        Ok(own)
    }

    /// Connects from the namespace.
    pub fn connect(&self, target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        self.vantage.connect(target, timeout)
    }

    /// The address that it asks from.
    pub fn address(&self) -> IpAddr {
        self.vantage.address
    }

    fn wire(&self, seed: u32, address: IpAddr, metadata: IpAddr) -> io::Result<()> {
        let [a, b, c, d] = seed.to_be_bytes();
        // Locally administered addresses.
        let (outer, inner) = ([2, 0, a, b, c, d], [2, 1, a, b, c, d]);
        let mut node = Netlink::open()?;
        let namespace = &self.vantage.namespace;
        node.add(veth(&self.interface, outer, inner, namespace))?;
        let index = if_nametoindex(self.interface.as_str())?;
        node.request(up(index), 0)?;
        node.add(neighbour(index, address, inner))?;
        node.add(route(index, address))?;
        within(namespace, || {
            let mut inside = Netlink::open()?;
            let index = if_nametoindex(INSIDE)?;
            inside.request(up(index), 0)?;
            inside.add(own_address(index, address))?;
            inside.add(neighbour(index, metadata, outer))?;
            inside.add(route(index, metadata))?;
            inside.wait_for(INSIDE)
        })?;
        node.wait_for(&self.interface)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::IfName(self.interface.clone())];
        let message = RouteNetlinkMessage::DelLink(link);
        // What cannot be removed now goes with the namespace, a moment later.
        let _ = Netlink::open().and_then(|mut node| node.request(message, 0));
    }
}

/// One of [`OWN_ADDRESSES`] or [`OWN_ADDRESSES_V6`], of the family of `metadata`.
fn address(seed: u32, metadata: IpAddr) -> IpAddr {
    match metadata {
        IpAddr::V4(_) => {
            let (network, length) = OWN_ADDRESSES;
            Ipv4Addr::from_bits(network.to_bits() | (seed & (u32::MAX >> length))).into()
        }
        IpAddr::V6(_) => {
            let (network, _) = OWN_ADDRESSES_V6;
            Ipv6Addr::from_bits(network.to_bits() | u128::from(seed)).into()
        }
    }
}

/// The family, and the length of a prefix that holds one address.
fn family(address: IpAddr) -> (AddressFamily, u8) {
    match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    }
}

fn veth(interface: &str, outer: [u8; 6], inner: [u8; 6], namespace: &File) -> RouteNetlinkMessage {
    let end = |name: &str, address: [u8; 6]| {
        let mut end = LinkMessage::default();
        end.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(address.to_vec()),
        ];
        end
    };
    let mut peer = end(INSIDE, inner);
    let descriptor = LinkAttribute::NetNsFd(namespace.as_raw_fd());
    peer.attributes.push(descriptor);
    let mut link = end(interface, outer);
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    RouteNetlinkMessage::NewLink(link)
}

/// Only a link that has both its ends can be switched on.
fn up(index: u32) -> RouteNetlinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(link)
}

fn own_address(index: u32, address: IpAddr) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    (message.header.family, message.header.prefix_len) = family(address);
    // Nobody else is there who could have it, and it is needed at once.
    message.header.flags = AddressHeaderFlags::Nodad;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    RouteNetlinkMessage::NewAddress(message)
}

fn neighbour(index: u32, address: IpAddr, hardware: [u8; 6]) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    (message.header.family, _) = family(address);
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        }),
        NeighbourAttribute::LinkLayerAddress(hardware.to_vec()),
    ];
    RouteNetlinkMessage::NewNeighbour(message)
}

/// A route to `address` by way of the link itself. One that is there already is somebody else's: refused.
fn route(index: u32, address: IpAddr) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    let (family, length) = family(address);
    message.header.address_family = family;
    message.header.destination_prefix_length = length;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Link;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Destination(match address {
            IpAddr::V4(address) => RouteAddress::Inet(address),
            IpAddr::V6(address) => RouteAddress::Inet6(address),
        }),
        RouteAttribute::Oif(index),
    ];
    RouteNetlinkMessage::NewRoute(message)
}

/// rtnetlink in the namespace of the thread that opened it. The kernel works inside `send`: the answer is then there.
struct Netlink {
    socket: Socket,
}

impl Netlink {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self { socket })
    }

    fn add(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        let flags = match message {
            RouteNetlinkMessage::NewNeighbour(_) => NLM_F_CREATE | NLM_F_REPLACE,
            _ => NLM_F_CREATE | NLM_F_EXCL,
        };
        self.request(message, flags)
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        match self.exchange(message, NLM_F_ACK | flags)? {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            NetlinkPayload::Error(_) => Ok(()),
            other => Err(io::Error::other(format!("an unexpected answer: {other:?}"))),
        }
    }

    /// Waits until the link carries packets: the kernel switches it on a little later than it is told to, and drops
    /// meanwhile what is sent.
    #[allow(
        clippy::disallowed_methods,
        reason = "a thread that blocks anyhow looks again; a subscription would be a second socket for a few milliseconds"
    )]
    fn wait_for(&mut self, interface: &str) -> io::Result<()> {
        let end = Instant::now() + UP_LIMIT;
        while !self.is_up(interface)? {
            if Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(UP_LOOK);
        }
        Ok(())
    }

    fn is_up(&mut self, interface: &str) -> io::Result<bool> {
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::IfName(interface.to_owned())];
        match self.exchange(RouteNetlinkMessage::GetLink(link), 0)? {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                let up = LinkAttribute::OperState(State::Up);
                Ok(link.attributes.contains(&up))
            }
            NetlinkPayload::Error(error) => Err(error.to_io()),
            other => Err(io::Error::other(format!("an unexpected answer: {other:?}"))),
        }
    }

    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<NetlinkPayload<RouteNetlinkMessage>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut buffer = vec![0; message.buffer_len()];
        message.serialize(&mut buffer);
        self.socket.send_to(&buffer, &NetlinkAddr::new(0, 0), 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
            .map_err(io::Error::other)?;
        Ok(answer.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{METADATA_V4, METADATA_V6};

    #[test]
    fn every_seed_gives_an_address_of_the_range_that_is_set_aside() {
        for (seed, expected) in [
            (0, [198, 18, 0, 0]),
            (0x0001_0203, [198, 19, 2, 3]),
            (u32::MAX, [198, 19, 255, 255]),
        ] {
            assert_eq!(address(seed, METADATA_V4.into()), Ipv4Addr::from(expected));
        }
        for (seed, expected) in [(0, "2001:2::"), (u32::MAX, "2001:2::ffff:ffff")] {
            let expected: IpAddr = expected.parse().unwrap();
            assert_eq!(address(seed, METADATA_V6.into()), expected);
        }
    }
}
