//! What the agent tells of itself and its pods, at the whole agent: the status document, who may read it, the command that
//! prints it, and the page as a browser renders it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]

mod browser;
mod command;
mod document;
mod page;
mod peers;
mod scene;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod watch;
