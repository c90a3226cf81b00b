//! Attack -> outcome, with the real agent on real network namespaces: what pods and their neighbours get, and that
//! the node's own metadata service never hears of them. Needs root, `ip` (iproute2) and `nft` (nftables).
//!
//! [`node`] makes a node of each topology; the tables are in the other modules.

#![allow(
    clippy::unwrap_used,
    reason = "what cannot be had fails the test there"
)]

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod competitors;
mod iptables;
mod ipv6;
mod migration;
mod node;
mod repair;
mod startup;
