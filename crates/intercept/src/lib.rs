//! The network face of podiam: rules that bring pods' requests for the metadata service to the agent, and the facts
//! that the kernel knows about a connection. Linux only.
//!
//! The only crate of the workspace with `unsafe` code. It decides nothing about roles and speaks no HTTP.

mod interfaces;

pub use interfaces::{Interfaces, InterfacesError};
