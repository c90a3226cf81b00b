//! Which sockets a network namespace has (`sock_diag(7)`): whether a connection that claims to be a pod's is one.
//!
//! The question is about one connection and costs the kernel one look-up in a hash table; no list is ever made. It is
//! written by hand: three structures of a fixed size.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// `struct nlmsghdr`, and after it `struct inet_diag_req_v2`.
const HEADER: usize = 16;
const QUESTION: usize = HEADER + 56;
/// Where the state stands in `struct inet_diag_msg`.
const STATE: usize = HEADER + 1;
/// Of `net/tcp_states.h`: the handshake is done. A client that has finished sending waits in one of the other two.
const ESTABLISHED: u8 = 1;
const FIN_WAIT_1: u8 = 4;
const FIN_WAIT_2: u8 = 5;

/// The sockets of one network namespace. While it is open, the namespace stays.
#[derive(Debug)]
pub struct Sockets(Socket);

impl Sockets {
    /// Of the namespace of the calling thread; it may be used on any other.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_SOCK_DIAG)?;
        Ok(Self(socket))
    }

    /// Whether the namespace has a TCP socket that is connected from `local` to `remote`: one whose handshake is done,
    /// and not one that only listens or still knocks.
    ///
    /// # Errors
    /// What the kernel says, but that there is no such socket. `EINVAL` or `ENOENT`: a kernel without `inet_diag`.
    pub fn has_connection(&mut self, local: SocketAddr, remote: SocketAddr) -> io::Result<bool> {
        let question = question(local, remote);
        let kernel = NetlinkAddr::new(0, 0);
        self.0.send_to(&question, &kernel, 0)?;
        let mut answer = [0; 512];
        // The kernel answers inside `send`.
        let length = self.0.recv(&mut &mut answer[..], libc::MSG_DONTWAIT)?;
        read(answer.get(..length).unwrap_or(&answer))
    }
}

fn question(local: SocketAddr, remote: SocketAddr) -> [u8; QUESTION] {
    let mut question = [0; QUESTION];
    let mut put = |at: usize, bytes: &[u8]| question[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &u32::to_ne_bytes(72));
    put(4, &BY_FAMILY.to_ne_bytes());
    put(6, &1_u16.to_ne_bytes());
    let family = if local.is_ipv4() { 2 } else { 10 };
    put(HEADER, &[family, 6]);
    // Every state: the answer names it.
    put(HEADER + 4, &u32::MAX.to_ne_bytes());
    put(HEADER + 8, &local.port().to_be_bytes());
    put(HEADER + 10, &remote.port().to_be_bytes());
    for (at, ip) in [(HEADER + 12, local.ip()), (HEADER + 28, remote.ip())] {
        match ip {
            IpAddr::V4(ip) => put(at, &ip.octets()),
            IpAddr::V6(ip) => put(at, &ip.octets()),
        }
    }
    // No cookie: whichever socket it is.
    put(HEADER + 48, &[0xff; 8]);
    question
}

fn read(answer: &[u8]) -> io::Result<bool> {
    let kind = answer.get(4..6).ok_or(io::ErrorKind::UnexpectedEof)?;
    if kind == BY_FAMILY.to_ne_bytes() {
        let state = answer.get(STATE).ok_or(io::ErrorKind::UnexpectedEof)?;
        return Ok(matches!(*state, ESTABLISHED | FIN_WAIT_1 | FIN_WAIT_2));
    }
    let code = answer
        .get(HEADER..)
        .and_then(<[u8]>::first_chunk)
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    match i32::from_ne_bytes(*code).saturating_neg() {
        libc::ENOENT => Ok(false),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_known_by_its_two_ends_and_by_nothing_less() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(any).unwrap();
            let remote = listener.local_addr().unwrap();
            let client = TcpStream::connect(remote).unwrap();
            let local = client.local_addr().unwrap();
            let mut sockets = Sockets::open().unwrap();
            assert!(sockets.has_connection(local, remote).unwrap());
            let other = SocketAddr::new(local.ip(), local.port() ^ 1);
            assert!(!sockets.has_connection(other, remote).unwrap());
            let elsewhere = SocketAddr::new(remote.ip(), remote.port() ^ 1);
            assert!(!sockets.has_connection(local, elsewhere).unwrap());
            assert!(
                !sockets.has_connection(remote, elsewhere).unwrap(),
                "a socket that only listens"
            );
        }
    }

    #[test]
    fn a_client_that_has_finished_sending_is_still_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = listener.local_addr().unwrap();
        let client = TcpStream::connect(remote).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut sockets = Sockets::open().unwrap();
        let local = client.local_addr().unwrap();
        assert!(sockets.has_connection(local, remote).unwrap());
    }

    #[test]
    fn a_socket_of_ipv6_that_speaks_ipv4_is_found_as_one_of_ipv4() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = listener.local_addr().unwrap();
        let mapped = format!("[::ffff:127.0.0.1]:{}", remote.port());
        let client = TcpStream::connect(mapped).unwrap();
        let port = client.local_addr().unwrap().port();
        let local = SocketAddr::from(([127, 0, 0, 1], port));
        let mut sockets = Sockets::open().unwrap();
        assert!(sockets.has_connection(local, remote).unwrap());
    }
}
