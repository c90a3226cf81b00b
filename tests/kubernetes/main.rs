//! The agent against a real Kubernetes API: which pods it knows, what it decides, and what it says when the API refuses
//! or goes away. A pod here is an object at the API server whose address is one of loopback's; a client bound to that
//! address is the pod.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]

mod api;
mod claims;
mod events;
mod explain;
mod pods;
mod scene;
#[path = "../support/mod.rs"]
mod support;
