//! The documents that podiam makes, judged by a policy engine that is not ours: `@cloud-copilot/iam-simulate`, run as a
//! program of its own (`engine/decide.mjs`). It knows identity policies, trust policies, accounts and conditions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what cannot be had fails the test there"
)]

mod judge;
mod leaving;
mod lint;
mod mutants;
mod nodes;
mod presets;
