//! Who may name a role and who may refuse one, through the real binary and at a real Kubernetes API: sources that are
//! watched only where they are on, audit, a ceiling that changes under a running agent, and the same guards at admission.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]

mod admission;
mod ceiling;
mod equality;
mod policies;
mod sources;
#[path = "../support/mod.rs"]
mod support;
