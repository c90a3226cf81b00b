//! The kernel's side of a hand-over: who of the sockets that share a port gets a new connection.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot have what it needs fails right there"
)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket,
    sockopt,
};
use podiam_intercept::handover::{listeners, share, steer};

const CONNECTIONS: usize = 64;

fn listener(address: SocketAddr) -> TcpListener {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    setsockopt(&socket, sockopt::ReusePort, &true).unwrap();
    let SocketAddr::V4(address) = address else {
        panic!("{address} is not IPv4")
    };
    bind(
        std::os::fd::AsRawFd::as_raw_fd(&socket),
        &SockaddrIn::from(address),
    )
    .unwrap();
    listen(&socket, Backlog::new(1024).unwrap()).unwrap();
    socket.into()
}

/// How many of so many new connections each listener gets.
fn deal(address: SocketAddr, group: &[&TcpListener]) -> Vec<usize> {
    let clients: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let count = |listener: &&TcpListener| {
        std::iter::from_fn(|| match listener.accept() {
            Ok(connection) => Some(connection),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        })
        .count()
    };
    let dealt = group.iter().map(count).collect();
    drop(clients);
    dealt
}

#[test]
fn a_newcomer_gets_every_new_connection_while_the_others_close_one_after_the_other() {
    let first = listener((Ipv4Addr::LOCALHOST, 0).into());
    let address = first.local_addr().unwrap();
    let second = listener(address);
    assert_eq!(listeners(address).unwrap(), 2);
    let (new, newer) = (listener(address), listener(address));
    let before = deal(address, &[&first, &second, &new, &newer]);
    assert!(before.iter().all(|count| *count > 0), "shared: {before:?}");

    steer(&new, 2).unwrap();
    let dealt = deal(address, &[&first, &second, &new, &newer]);
    assert_eq!(dealt, [0, 0, CONNECTIONS, 0]);

    drop(first);
    let dealt = deal(address, &[&second, &new, &newer]);
    assert_eq!(dealt[0], 0, "an old listener got a connection: {dealt:?}");

    drop(second);
    share(&new).unwrap();
    let after = deal(address, &[&new, &newer]);
    assert!(after.iter().all(|count| *count > 0), "shared: {after:?}");
}
