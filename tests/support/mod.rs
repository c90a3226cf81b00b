//! The real parts that the end-to-end tests start, and how they talk to them. Everything here ends with the value that
//! started it, also when its test panics; nothing is skipped: what is missing panics with its name.

#![allow(
    dead_code,
    reason = "every test binary includes this and uses its own share of it"
)]
#![allow(
    unreachable_pub,
    reason = "a test binary has no outside: pub is what its tests may use"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what cannot be had fails the test there"
)]

pub mod agent;
pub mod apiserver;
pub mod http;
pub mod manifest;
pub mod moto;
pub mod node;
pub mod parts;
pub mod pki;
pub mod pods;
pub mod process;
pub mod program;
pub mod relay;
pub mod road;
pub mod rust_sdk;
pub mod steady;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a test waits for something that should happen at once, on a machine that does other work too.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often something that cannot tell by itself is asked.
const POLL: Duration = Duration::from_millis(20);

/// Asks `probe` until it answers, and panics with `what` if it does not within [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let mut polls = tokio::time::interval(POLL);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        polls.tick().await;
        match probe().await {
            Ok(value) => return value,
            Err(last) if tokio::time::Instant::now() > deadline => {
                panic!("{what} did not happen within {PATIENCE:?}; at last: {last}")
            }
            Err(_) => {}
        }
    }
}

/// An address on loopback whose port nobody listens on, and nobody else in this process was given. It is below those
/// that the kernel takes for outgoing connections: one of those could be in the way when its program starts.
pub fn free_address(ip: Ipv4Addr) -> SocketAddr {
    const FIRST: u32 = 20_000;
    const PORTS: u32 = 12_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Each process begins elsewhere.
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let number = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + number % PORTS).unwrap();
        let address = SocketAddr::new(ip.into(), port);
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("all ports from {FIRST} on are taken");
}
