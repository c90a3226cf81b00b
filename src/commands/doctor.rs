//! `podiam doctor`: the flags, the progress bar and the exit code; what is looked at and what it means is in `doctor`.
//!
//! Exit codes: 0 all is well; 3 the worst is a warning; 4 something is wrong; 5 nothing is wrong that could be seen, and
//! something could not be.

#![allow(
    clippy::doc_markdown,
    reason = "some of these doc comments are the help that a terminal shows"
)]

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use podiam_iam::RoleArn;

use super::{Failure, print};
use crate::clock::Clock;
use crate::doctor::{
    Access, Check, Options, Place, Progress, Report, Selection, Verdict, agent_flags, examine,
};

const WARNINGS: u8 = 3;
const WRONGS: u8 = 4;
const UNSEEN: u8 = 5;

/// The flags of `podiam doctor`.
#[derive(Args)]
pub(super) struct DoctorArgs {
    /// Kubeconfig [default: the pod's service account, else KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: the current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// Namespace of the agents' pods
    #[arg(long, value_name = "NAME", default_value = "kube-system")]
    namespace: String,

    /// Labels of the agents' pods
    #[arg(
        long,
        value_name = "SELECTOR",
        default_value = "app.kubernetes.io/name=podiam"
    )]
    selector: String,

    /// Profile of the shared AWS files [default: AWS_PROFILE]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// Region of the STS endpoint [default: the agent's, else the SDK's]
    #[arg(long, value_name = "REGION")]
    aws_region: Option<String>,

    /// The nodes' role, where the caller is not a node [default: the role of the caller, if it is an instance]
    #[arg(long, value_name = "ARN")]
    node_role: Option<RoleArn>,

    /// Whether this is a node, on its own network [default: node in a pod, else elsewhere]
    #[arg(long, value_name = "node|elsewhere", value_parser = place())]
    from: Option<Place>,

    /// Make only these checks: codes or groups (aws, cluster, node), by commas
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    only: Vec<Selection>,

    /// Leave these checks out: codes or groups, by commas
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    skip: Vec<Selection>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// The agent's flags, after -- [default: those of the agents' pods]
    #[arg(last = true, value_name = "AGENT FLAGS")]
    agent: Vec<String>,
}

fn place() -> impl TypedValueParser<Value = Place> {
    PossibleValuesParser::new(["node", "elsewhere"]).map(|name| match name.as_str() {
        "node" => Place::Node,
        _ => Place::Elsewhere,
    })
}

/// Runs the checks and prints the report.
pub(super) fn run(args: DoctorArgs) -> Result<ExitCode, Failure> {
    let json = args.json;
    let options = options(args).map_err(Failure::Usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let bar = Bar::new(options.checks.len());
    let report = runtime.block_on(examine(&options, &Clock::system(), &bar));
    bar.0.finish_and_clear();
    let mut out = Vec::new();
    if json {
        writeln!(out, "{:#}", report.json())?;
    } else {
        write!(out, "{report}")?;
    }
    print(&out)?;
    Ok(exit_code(&report))
}

fn options(args: DoctorArgs) -> anyhow::Result<Options> {
    let DoctorArgs {
        kubeconfig,
        context,
        namespace,
        selector,
        profile,
        aws_region,
        node_role,
        from,
        only,
        skip,
        json: _,
        agent,
    } = args;
    let checks = Selection::wanted(&only, &skip);
    if checks.is_empty() {
        anyhow::bail!("--only and --skip leave no check");
    }
    let agent = if agent.is_empty() {
        None
    } else {
        let config = agent_flags(agent).map_err(anyhow::Error::msg);
        Some(config.context("the agent's flags after -- cannot be used")?)
    };
    Ok(Options {
        place: from.unwrap_or_else(Place::detect),
        access: Access {
            kubeconfig,
            context,
        },
        namespace,
        selector,
        agent,
        profile,
        region: aws_region,
        node_role,
        checks,
    })
}

fn exit_code(report: &Report) -> ExitCode {
    match report.worst() {
        Verdict::Ok => ExitCode::SUCCESS,
        Verdict::Warning => ExitCode::from(WARNINGS),
        Verdict::Wrong => ExitCode::from(WRONGS),
        Verdict::CannotTell => ExitCode::from(UNSEEN),
    }
}

/// On a terminal a bar; else nothing.
struct Bar(ProgressBar);

impl Bar {
    fn new(checks: usize) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(u64::try_from(checks).ok(), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Progress for Bar {
    fn asks(&self, what: &str) {
        self.0.set_message(format!("asking {what}"));
    }

    fn ended(&self, _: Check) {
        self.0.inc(1);
    }
}
