//! Who is at the other end, with the real agent on the lab's nodes: neighbours that take a pod's address, addresses that
//! change hands behind the watch's back, ways around the metadata service's address. Each attack is first seen to
//! succeed where the defence is off. Needs root, `ip` (iproute2), `nft` (nftables), `setpriv` and `unshare` (util-linux).

#![allow(
    clippy::unwrap_used,
    reason = "what cannot be had fails the test there"
)]
#![allow(
    clippy::print_stdout,
    reason = "tables and measurements are for people to read"
)]

#[path = "../support/mod.rs"]
mod support;

mod fairness;
mod neighbours;
mod reuse;
mod scene;
mod services;
