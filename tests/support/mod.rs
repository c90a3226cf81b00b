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
pub mod relay;
pub mod road;
pub mod rust_sdk;
pub mod steady;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
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

/// An address on loopback whose port nobody listens on.
pub fn free_address(ip: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((IpAddr::V4(ip), 0)).unwrap();
    listener.local_addr().unwrap()
}
