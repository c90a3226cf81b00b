//! `cargo xtask simulate`: the engine on thousands of nodes. It is a program of its own, so that the chores need not be
//! linked with the agent.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

/// Options of `cargo xtask simulate`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Handed on; `-- --help` tells what there is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let status = Command::new(crate::cargo())
        .current_dir(crate::workspace())
        .args([
            "run",
            "--locked",
            "--quiet",
            "--package",
            "podiam-simulation",
            "--",
        ])
        .args(&args.rest)
        .status()
        .context("cargo cannot be started")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
