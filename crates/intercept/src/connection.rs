//! What the kernel knows about an accepted connection and a client cannot forge.
//!
//! The server asks once per connection. Nothing here reads the stream.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4},
    os::fd::{AsFd, AsRawFd},
};

use nix::sys::socket::{SockaddrStorage, getsockname, getsockopt, sockopt};

/// Where the client meant to connect to before DNAT, out of conntrack (`SO_ORIGINAL_DST`, `IP6T_SO_ORIGINAL_DST`).
///
/// For a connection that came without DNAT it is the connection's own local address, so the caller compares it with
/// the metadata service's. An IPv4 client of a dual-stack listener gets an IPv4 address.
///
/// # Errors
/// `ENOENT` where conntrack does not know the connection (no NAT rules are loaded, or the flow was flushed); the
/// caller must then refuse.
pub fn original_destination(connection: &impl AsFd) -> io::Result<SocketAddr> {
    let fd = connection.as_fd();
    let local: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let is_v4 = match local.as_sockaddr_in6() {
        Some(v6) => v6.ip().to_ipv4_mapped().is_some(),
        None => local.as_sockaddr_in().is_some(),
    };
    if is_v4 {
        let address = getsockopt(&fd, sockopt::OriginalDst)?;
        let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
        return Ok(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into());
    }
    if local.as_sockaddr_in6().is_none() {
        return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    }
    let address = getsockopt(&fd, sockopt::Ip6tOriginalDst)?;
    let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
    Ok(SocketAddr::new(
        IpAddr::V6(ip),
        u16::from_be(address.sin6_port),
    ))
}
