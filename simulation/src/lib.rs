//! How podiam scales: the agent's own credentials engine ([`podiam::credentials`]), once for each of thousands of nodes,
//! before one STS with a quota. Time is tokio's paused time, which jumps to the next event, so that an hour takes seconds.
//!
//! Nothing of the engine is modelled; STS, pods and the clock are. Chance is seeded. What the kernel, the network and the
//! Kubernetes API add is left out.
//!
//! # Layout
//!
//! - [`sts`]: an STS with a quota for the account;
//! - [`cluster`]: nodes, each with an engine, and pods that come, ask, ask again and go;
//! - [`scenario`]: what happens to the cluster;
//! - [`report`], [`plot`]: what came of it.

pub mod cluster;
pub mod plot;
pub mod report;
pub mod scenario;
pub mod sts;
