//! The command line's root: which command was asked for, and how the process ends. Called by `main` only. What the
//! commands do is in the modules below, and what the agent does is in `app`.
//!
//! Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong; `iam lint`, `explain`, `migrate` and
//! `doctor` have more of their own.

mod admission;
mod agent;
mod agent_socket;
mod doctor;
mod explain;
mod iam;
mod intercept;
mod migrate;
mod status;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{AgentArgs, Problems, Program};

/// Per-pod AWS IAM roles for Kubernetes: answers the EC2 instance metadata service for each pod of a node.
#[derive(Parser)]
#[command(name = "podiam", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer this node's pods; takes kube2iam's flags (and is what a program named kube2iam does)
    #[command(disable_version_flag = true)]
    Agent(Box<AgentArgs>),

    /// Print the guards as an admission policy that refuses pods that name forbidden roles; takes the agent's flags
    #[command(disable_version_flag = true)]
    AdmissionPolicy(Box<AgentArgs>),

    /// Write, show or remove the rules that bring pods' requests to the agent
    #[command(subcommand)]
    Intercept(Box<intercept::Command>),

    /// Show how a running agent and its pods stand: roles, reasons, credentials, requests
    Status(status::StatusArgs),

    /// Say why a pod has its role and its credentials, or none
    Explain(Box<explain::ExplainArgs>),

    /// Make and check the IAM policies that keep pods apart; asks nothing of AWS
    #[command(subcommand)]
    Iam(Box<iam::Command>),

    /// Tell how to get from kube2iam or kiam to podiam, or from there to IRSA or EKS Pod Identity; changes nothing
    Migrate(Box<migrate::MigrateArgs>),
    /// Look at everything that must be right: AWS, the cluster, the node; changes nothing
    Doctor(Box<doctor::DoctorArgs>),

    /// Print a shell's completions
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// How a command fails.
enum Failure {
    Configuration(Problems),
    /// What was asked for makes no sense.
    Usage(anyhow::Error),
    /// It ends with an exit code of the command's own.
    Coded(u8, anyhow::Error),
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// The command as clap knows it: what help, completions and a man page are made of.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command that `words` ask for, argv\[0\] included.
pub fn run(words: Vec<OsString>) -> ExitCode {
    let said: Vec<String> = words
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let is_kube2iam = words
        .first()
        .is_some_and(|program| Path::new(program).file_name() == Some("kube2iam".as_ref()));
    let (program, parsed) = if is_kube2iam {
        (
            Program::Kube2iam,
            parse_kube2iam(words).map(|args| Command::Agent(Box::new(args))),
        )
    } else {
        (
            Program::Podiam,
            Cli::try_parse_from(words).map(|cli| cli.command),
        )
    };
    let result = match parsed {
        Ok(Command::Agent(args)) => agent::run(*args, program),
        Ok(Command::AdmissionPolicy(args)) => admission::run(*args),
        Ok(Command::Intercept(command)) => intercept::run(*command),
        Ok(Command::Status(args)) => status::run(&args),
        Ok(Command::Explain(args)) => explain::run(&args),
        Ok(Command::Iam(command)) => iam::run(&command, said),
        Ok(Command::Migrate(args)) => migrate::run(*args),
        Ok(Command::Doctor(args)) => doctor::run(*args),
        Ok(Command::Completions { shell }) => completions(shell),
        // Also how --help and --version end: clap knows which of its errors are none.
        Err(error) => error.exit(),
    };
    let (code, text) = match result {
        Ok(code) => return code,
        Err(Failure::Configuration(problems)) => (2, problems.to_string()),
        Err(Failure::Usage(error)) => (2, format!("{error:#}")),
        Err(Failure::Coded(code, error)) => (code, format!("{error:#}")),
        Err(Failure::Other(error)) => (1, format!("{error:#}")),
    };
    // If nobody listens on stderr, the exit code has to do.
    let _ = writeln!(io::stderr(), "podiam: {text}");
    ExitCode::from(code)
}

/// `kube2iam FLAGS` means `podiam agent FLAGS`.
fn parse_kube2iam(words: Vec<OsString>) -> Result<AgentArgs, clap::Error> {
    let mut command = AgentArgs::augment_args(clap::Command::new("kube2iam"));
    let matches = command.try_get_matches_from_mut(words)?;
    AgentArgs::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut command(), "podiam", &mut out);
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to stdout; a reader that has seen enough (`| head`) is no failure.
fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
