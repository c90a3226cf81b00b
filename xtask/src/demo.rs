//! `cargo xtask demo`: the real agent at work on a node of network namespaces, beside the lab's AWS. Every line that is
//! shown is also checked: the exit code tells whether all of it is as promised.
//!
//! What it makes lives in namespaces, a folder for temporary files and one child process; all three end with this
//! process, also when it is interrupted. Nothing is made in the namespace that it was started in.

mod agent;
mod manifests;
mod pod;
mod privilege;
mod reach;
mod roles;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::progress::{self, Style, human};
use crate::report::Report;

/// Options of the demo.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show this agent instead of building one
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
}

/// Runs the demo. Failure of an expectation is told by the exit code, an error by the error.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let style = Style::detect();
    println!(
        "{}: a node, its pods and an AWS of their own; nothing of this machine is changed\n",
        style.bold("podiam demo")
    );
    let agent = match &args.agent {
        Some(agent) => agent.clone(),
        None => build(style)?,
    };
    // Before any thread is started: a process with threads cannot enter a user namespace.
    privilege::acquire(style)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut report = Report::new(style);
        tokio::select! {
            // In this order: the signals are caught before anything is made.
            biased;
            interrupted = interrupt() => bail!("{}; everything is removed", interrupted?),
            told = story::tell(&mut report, &agent) => told?,
        }
        Ok(report.conclude())
    })
}

/// Builds the agent where cargo builds, with cargo's own progress shown.
fn build(style: Style) -> Result<PathBuf> {
    println!(
        "{}",
        style.dim("building the agent (the first time takes a minute or two)")
    );
    let took = progress::cargo_build(crate::workspace(), &["podiam"])?;
    println!("{} agent built in {}\n", style.green("✓"), human(took));
    // This program stands beside it.
    let own = std::env::current_exe().context("the path of this program is unknown")?;
    let agent = own.with_file_name("podiam");
    if !agent.is_file() {
        bail!("cargo built no {}", agent.display());
    }
    Ok(agent)
}

/// Waits for a signal that asks to stop, and says which.
async fn interrupt() -> Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        result = tokio::signal::ctrl_c() => result.map(|()| "interrupted")?,
        _ = terminate.recv() => "terminated",
        _ = hang_up.recv() => "the terminal is gone",
    })
}
