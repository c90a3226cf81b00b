//! `podiam intercept`: writes, shows and removes the rules that bring pods' requests to the agent. It needs no agent and
//! no cluster: an init container or a systemd unit runs it before there is either.
#![allow(
    clippy::doc_markdown,
    reason = "some of these doc comments are the help that a terminal shows"
)]

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use podiam_intercept::cilium::Redirect;
use podiam_intercept::{Backend, Mode, Outcome, open};
use serde::Serialize;

use super::{Failure, print};
use crate::config::{Install, InstallFlags, ModeFlags, PrintFlags, Written};

mod status;

/// The commands below `podiam intercept`.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Write all rules, for the time before an agent runs; they stay until `podiam intercept remove`
    Install {
        #[command(flatten)]
        flags: Written<InstallFlags>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },

    /// Show the rules and their counters; exits 1 where they are absent or not as podiam writes them
    Status {
        #[command(flatten)]
        flags: Written<ModeFlags>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },

    /// Refuse pods the metadata service, and bring them to no agent: for the time before kubelet starts pods
    Guard {
        #[command(flatten)]
        flags: Written<ModeFlags>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },

    /// Take the rules out, which opens the node's own credentials to pods
    Remove {
        #[command(flatten)]
        flags: Written<ModeFlags>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },

    /// Print the CiliumLocalRedirectPolicy to apply where Cilium replaces kube-proxy
    Print {
        #[command(flatten)]
        flags: Written<PrintFlags>,
    },
}

/// What `install`, `guard` and `remove` print with `--json`, one for each back end that was asked.
#[derive(Serialize)]
struct Report {
    back_end: &'static str,
    /// `created`, `replaced`, `adjusted`, `adopted`, `unchanged`, `unwritten`; `removed` or `absent`.
    outcome: &'static str,
}

/// Runs one of them and prints what it did.
pub(super) fn run(command: Command) -> Result<ExitCode, Failure> {
    let mut out = Vec::new();
    let code = match command {
        Command::Install { flags, json } => install(
            &mut out,
            flags.validate().map_err(Failure::Configuration)?,
            json,
        )?,
        Command::Status { flags, json } => {
            let mode = flags.validate().map_err(Failure::Configuration)?;
            status::run(&mut out, mode, json)?
        }
        Command::Guard { flags, json } => {
            let mode = flags.validate().map_err(Failure::Configuration)?;
            guard(&mut out, mode.unwrap_or(Mode::Nftables), json)?
        }
        Command::Remove { flags, json } => {
            let mode = flags.validate().map_err(Failure::Configuration)?;
            remove(&mut out, mode, json)?
        }
        Command::Print { flags } => {
            let redirect: Redirect = flags.validate().map_err(Failure::Configuration)?;
            write!(out, "{redirect}")?;
            ExitCode::SUCCESS
        }
    };
    print(&out)?;
    Ok(code)
}

/// The back ends that write rules: where no mode was named, each of them may have some.
fn writing() -> impl Iterator<Item = Mode> {
    Mode::ALL.into_iter().filter(|mode| mode.writes_rules())
}

fn install(out: &mut Vec<u8>, install: Install, json: bool) -> anyhow::Result<ExitCode> {
    let Install { mode, rules } = install;
    let mut back_end = open(mode);
    let Some(rules) = rules else {
        report(out, mode, Outcome::Unwritten, json, || {
            unwritten(&*back_end)
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    let outcome = back_end
        .install(&rules)
        .context("cannot write the interception rules")?;
    report(out, mode, outcome, json, || {
        let targets: Vec<String> = rules.targets().map(|target| target.to_string()).collect();
        format!(
            "pods' requests to the metadata service on interfaces {} go to {}, everything else that pods send there is refused",
            rules.interfaces,
            targets.join(" and ")
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn guard(out: &mut Vec<u8>, mode: Mode, json: bool) -> anyhow::Result<ExitCode> {
    let outcome = open(mode)
        .guard()
        .context("cannot refuse pods the metadata service")?;
    report(out, mode, outcome, json, || match outcome {
        Outcome::Unchanged => "there are rules already, and they stay as they are".to_owned(),
        _ => "pods are refused the metadata service until an agent writes its rules".to_owned(),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Success also where there was nothing. Without a mode every back end is asked, and one whose programs are missing has
/// nothing to remove.
fn remove(out: &mut Vec<u8>, mode: Option<Mode>, json: bool) -> anyhow::Result<ExitCode> {
    let mut reports = Vec::new();
    let modes: Vec<Mode> = match mode {
        Some(mode) => vec![mode],
        None => writing().collect(),
    };
    for each in modes {
        let removed = match open(each).remove() {
            Err(error) if mode.is_none() && status::is_absent(&error) => continue,
            removed => removed.with_context(|| format!("cannot remove the rules of {each}"))?,
        };
        let outcome = if removed { "removed" } else { "absent" };
        reports.push(Report {
            back_end: each.name(),
            outcome,
        });
    }
    if json {
        write_json(out, &reports)?;
        return Ok(ExitCode::SUCCESS);
    }
    let removed = reports.iter().filter(|report| report.outcome == "removed");
    let names: Vec<&str> = removed.map(|report| report.back_end).collect();
    if names.is_empty() {
        writeln!(out, "nothing to remove: there are no rules of podiam's")?;
    } else {
        writeln!(
            out,
            "removed podiam's rules ({}): pods now reach the node's metadata service and its role",
            names.join(", ")
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report(
    out: &mut Vec<u8>,
    mode: Mode,
    outcome: Outcome,
    json: bool,
    meaning: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    let name = match outcome {
        Outcome::Created => "created",
        Outcome::Replaced => "replaced",
        Outcome::Adjusted => "adjusted",
        Outcome::Adopted => "adopted",
        Outcome::Unchanged => "unchanged",
        Outcome::Unwritten => "unwritten",
    };
    if json {
        let back_end = mode.name();
        return write_json(
            out,
            &[Report {
                back_end,
                outcome: name,
            }],
        );
    }
    let stays = if outcome == Outcome::Unwritten {
        ""
    } else {
        "; only `podiam intercept remove` opens the node again"
    };
    writeln!(out, "{mode}: {name}: {}{stays}", meaning())?;
    Ok(())
}

fn unwritten(back_end: &dyn Backend) -> String {
    let note = back_end.note().unwrap_or_default();
    format!("podiam writes no rules: {note}")
}

fn write_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}
