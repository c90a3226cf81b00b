//! What the kernel knows about an accepted connection and a client cannot forge.
//!
//! The server asks once per connection, and says at which address of its own it was accepted: a system call less.
//! Nothing here reads the stream.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use nix::sys::socket::{getsockopt, setsockopt, sockopt};

/// `IP_PKTOPTIONS` of `linux/in.h` and `IPV6_2292PKTOPTIONS` of `linux/in6.h`, which libc does not name.
const IP_PKTOPTIONS: libc::c_int = 9;
const IPV6_PKTOPTIONS: libc::c_int = 6;
/// Room for every control message that the kernel may give; 64-bit words, as `struct cmsghdr` is aligned.
const CONTROL_WORDS: usize = 32;

/// Lets the connections that `listener` accepts from now on know [where they came in](ingress_interface): they inherit
/// it (`IP_PKTINFO`), so that it need not be said of each.
///
/// # Errors
/// The kernel refuses the option.
pub fn ask_for_interfaces(listener: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(
        &listener.as_fd(),
        sockopt::Ipv4PacketInfo,
        &true,
    )?)
}

/// Where the client meant to connect to before DNAT, out of conntrack (`SO_ORIGINAL_DST`, `IP6T_SO_ORIGINAL_DST`).
/// `local` is the connection's own address.
///
/// For a connection that came without DNAT it is the connection's own local address, so the caller compares it with
/// the metadata service's. An IPv4 client of a dual-stack listener gets an IPv4 address.
///
/// # Errors
/// `ENOENT` where conntrack does not know the connection (no NAT rules are loaded, or the flow was flushed); the
/// caller must then refuse.
pub fn original_destination(connection: &impl AsFd, local: IpAddr) -> io::Result<SocketAddr> {
    let fd = connection.as_fd();
    if local.to_canonical().is_ipv4() {
        let address = getsockopt(&fd, sockopt::OriginalDst)?;
        let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
        return Ok(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into());
    }
    let address = getsockopt(&fd, sockopt::Ip6tOriginalDst)?;
    let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
    Ok(SocketAddr::new(
        IpAddr::V6(ip),
        u16::from_be(address.sin6_port),
    ))
}

/// The index of the interface that an accepted TCP connection came in on: that of the packet which completed the
/// handshake. On a bridge that is the bridge, not its port; over IPv6, behind DNAT with `br_netfilter`, even the interface
/// of our own address. 1 is the loopback interface. Needs no privilege. `local` is the connection's own address; over
/// IPv4 its listener must have been told to [`ask_for_interfaces`].
///
/// # Errors
/// `ENODATA` where the kernel does not tell.
pub fn ingress_interface(connection: &impl AsFd, local: IpAddr) -> io::Result<u32> {
    let fd = connection.as_fd();
    if local.to_canonical().is_ipv4() {
        let (words, length) = options(fd, libc::IPPROTO_IP, IP_PKTOPTIONS)?;
        // `struct in_pktinfo` begins with the interface.
        return interface(&words, length, libc::IPPROTO_IP, libc::IP_PKTINFO, 0);
    }
    setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
    let options = options(fd, libc::IPPROTO_IPV6, IPV6_PKTOPTIONS);
    // Left on, the kernel would keep a copy of every further packet.
    setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &false)?;
    let (words, length) = options?;
    // `struct in6_pktinfo` begins with an address of 16 bytes.
    interface(&words, length, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 16)
}

/// The control messages of `option`, and how many bytes of them there are.
fn options(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
) -> io::Result<([u64; CONTROL_WORDS], usize)> {
    let mut words = [0_u64; CONTROL_WORDS];
    let mut length = libc::socklen_t::try_from(size_of_val(&words)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open while it is borrowed; `words` is writable for the `length` bytes that are told, and
    // the kernel writes no more than those and sets `length` to how many it wrote.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            option,
            words.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok((words, length as usize))
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The interface's index, `offset` bytes into the first control message of this level and kind.
fn interface(
    words: &[u64; CONTROL_WORDS],
    length: usize,
    level: libc::c_int,
    kind: libc::c_int,
    offset: usize,
) -> io::Result<u32> {
    // `struct cmsghdr`: a length that counts the header, a level and a kind.
    const HEADER: usize = size_of::<usize>() + 8;
    let mut bytes = [0; CONTROL_WORDS * 8];
    for (eight, word) in bytes.chunks_exact_mut(8).zip(words) {
        eight.copy_from_slice(&word.to_ne_bytes());
    }
    let mut rest = bytes.get(..length).unwrap_or(&bytes);
    while let (Some(size), Some(head)) = (rest.first_chunk(), rest.get(..HEADER)) {
        let size = usize::from_ne_bytes(*size);
        let number = |at: usize| {
            let bytes = head.get(at..)?.first_chunk()?;
            Some(i32::from_ne_bytes(*bytes))
        };
        let is_it = number(HEADER - 8) == Some(level) && number(HEADER - 4) == Some(kind);
        if is_it && let Some(index) = rest.get(HEADER + offset..).and_then(<[u8]>::first_chunk) {
            return match u32::from_ne_bytes(*index) {
                0 => Err(io::Error::from_raw_os_error(libc::ENODATA)),
                index => Ok(index),
            };
        }
        rest = rest
            .get(size.next_multiple_of(8).max(HEADER)..)
            .unwrap_or_default();
    }
    Err(io::Error::from_raw_os_error(libc::ENODATA))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_over_loopback_came_in_on_loopback() {
        for (listen, connect) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
            ("[::]:0", "127.0.0.1"),
        ] {
            let listener = TcpListener::bind(listen).unwrap();
            ask_for_interfaces(&listener).unwrap();
            let port = listener.local_addr().unwrap().port();
            let _client = TcpStream::connect((connect, port)).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let local = accepted.local_addr().unwrap().ip();
            assert_eq!(ingress_interface(&accepted, local).unwrap(), 1, "{listen}");
        }
    }
}
