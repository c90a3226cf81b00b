//! `podiam iam`: the IAM documents of a cluster, made and checked. What they say is decided in `podiam-iam`; here are the
//! flags, the files and the exit codes. Nothing is asked of AWS, and nothing is written but to stdout.

mod args;
mod generate;
mod lint;

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;

use super::Failure;

#[derive(Subcommand)]
pub(super) enum Command {
    /// The nodes' policy: assume the pods' roles, and nothing else
    NodePolicy(args::NodePolicyArgs),

    /// A role's trust policy: the nodes may assume it
    TrustPolicy(args::TrustPolicyArgs),

    /// A workload's role: whom it trusts and what it may do
    Workload(args::WorkloadArgs),

    /// Everything for a cluster, out of one YAML file
    Bootstrap(args::BootstrapArgs),

    /// Find what is dangerous in policies that exist; exits 3 for warnings, 4 for errors
    Lint(args::LintArgs),
}

/// Runs a command; `said` are the words of the command line, for the note in what is made.
pub(super) fn run(command: &Command, said: Vec<String>) -> Result<ExitCode, Failure> {
    match command {
        Command::NodePolicy(args) => generate::node_policy(args, said),
        Command::TrustPolicy(args) => generate::trust_policy(args, said),
        Command::Workload(args) => generate::workload(args, said),
        Command::Bootstrap(args) => generate::bootstrap(args, said),
        Command::Lint(args) => lint::run(args),
    }
}

/// The text of a file, or of stdin for `-`.
pub(super) fn read(file: &str) -> anyhow::Result<String> {
    if file == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read stdin")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))
}
