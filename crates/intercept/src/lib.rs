//! The network face of podiam: rules that bring pods' requests for the metadata service to the agent, and the facts
//! that the kernel knows about a connection. Linux only.
//!
//! The only crate of the workspace that may hold `unsafe` code. It decides nothing about roles and speaks no HTTP.

mod backend;
pub mod cilium;
pub mod connection;
pub mod conntrack;
pub mod handover;
mod events;
mod interfaces;
pub mod iptables;
mod netlink;
pub mod nftables;
pub mod probe;
mod rules;
mod status;
mod unwritten;

pub use backend::{Backend, Error, Mode, Outcome, open};
pub use interfaces::{Interfaces, InterfacesError};
pub use nftables::Nftables;
pub use rules::{METADATA_V4, METADATA_V6, ReversePath, Rules};
pub use status::{Owner, Process, RuleStatus, Status};
