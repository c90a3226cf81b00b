//! podiam's stand-ins, for tests, the demo and measurements. Never linked into the agent.
//!
//! # Layout
//!
//! - [`aws`]: an AWS of one process: the instance metadata service (IMDS) of a node and STS, with a log of everything
//!   they were asked and faults on demand.
//! - [`netns`]: nodes and pods as network namespaces that vanish with their owner.
//! - [`wire`]: HTTP/1.1 as bytes, for clients that must see every byte of an answer.
//! - [`load`]: a load generator that checks every answer; [`floor`]: the cheapest HTTP server there is, to compare with.

pub mod aws;
pub mod floor;
pub mod load;
pub mod netns;
pub mod wire;
