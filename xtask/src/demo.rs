//! `cargo xtask demo`: podiam on a node of namespaces, beside the lab's AWS.

use std::process::ExitCode;

use anyhow::{Result, bail};

/// Options of the demo.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the demo.
pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    bail!("the demo comes with the agent")
}
