//! `podiam status`: asks a running agent how it and its pods stand, and prints a table, once or again and again. The table
//! is laid out in `table`, the agent is asked in `ask`, `screen` owns the terminal while it is refreshed.

mod ask;
mod screen;
mod table;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use clap::Args;
use jiff::Timestamp;

use super::agent_socket::Agent;
use super::{Failure, print};
use crate::admin::status::Status;
use crate::clock::Clock;
use ask::AskError;
use screen::{Screen, Waited};
use table::Look;

/// What may be asked.
#[derive(Args)]
pub(super) struct StatusArgs {
    /// The agent's admin socket (its --metrics-port)
    #[arg(long, value_name = "URL", default_value_t = Agent::local(), value_parser = agent)]
    agent: Agent,

    /// Only pods of this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Only pods that are refused
    #[arg(long)]
    refused: bool,

    /// Refresh in place until Ctrl-C, also while the agent restarts
    #[arg(short, long)]
    watch: bool,

    /// Seconds between two readings with --watch
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,

    /// Print JSON: all that the agent tells; with --watch one line for each reading
    #[arg(long)]
    json: bool,
}

fn agent(text: &str) -> Result<Agent, String> {
    let right = "write http://HOST:PORT, such as";
    text.parse()
        .map_err(|problem| format!("{problem}; {right} {}", Agent::local()))
}

pub(super) fn run(args: &StatusArgs) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if args.watch {
        runtime.block_on(watch(args))?;
    } else {
        let status = runtime.block_on(args.read())?;
        let text = if args.json {
            format!("{}\n", serde_json::to_string_pretty(&status)?)
        } else {
            table::draw(&status, Look::of_stdout())
        };
        print(text.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl StatusArgs {
    async fn read(&self) -> Result<Status, AskError> {
        let mut status = ask::status(&self.agent).await?;
        status.keep(self.namespace.as_deref(), self.refused);
        Ok(status)
    }
}

/// Reads and shows until the user has seen enough. That the agent cannot be reached is shown, and is not the end.
async fn watch(args: &StatusArgs) -> anyhow::Result<()> {
    let clock = Clock::system();
    let pause = Duration::from_secs(args.interval);
    let in_place = !args.json && io::stdout().is_terminal();
    let mut screen = Screen::open(in_place)?;
    let mut last: Option<Status> = None;
    let mut away: Option<Timestamp> = None;
    loop {
        let error = match args.read().await {
            Ok(status) => {
                last = Some(status);
                away = None;
                None
            }
            Err(error) => {
                away.get_or_insert_with(|| clock.now());
                Some(error)
            }
        };
        loop {
            let look = Look::of_stdout();
            let shown = match (&error, away) {
                (None, _) | (_, None) => match &last {
                    Some(status) if args.json => format!("{}\n", serde_json::to_string(status)?),
                    Some(status) => table::draw(status, look),
                    None => String::new(),
                },
                (Some(error), Some(since)) if args.json => {
                    let since = since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                    let line =
                        serde_json::json!({ "unreachable": error.in_words(), "since": since });
                    format!("{line}\n")
                }
                (Some(error), Some(since)) => {
                    let note = format!(
                        "agent not reachable since {}: {}",
                        since.strftime("%H:%M:%S UTC"),
                        error.in_words()
                    );
                    table::draw_stale(&note, last.as_ref(), look)
                }
            };
            if !screen.show(&shown)? {
                return Ok(());
            }
            match screen.wait(pause).await {
                Waited::Pause => break,
                Waited::Resized => {}
                Waited::Enough => return Ok(()),
            }
        }
    }
}

impl Look {
    /// As wide as the terminal and in colour, if standard output is one and `NO_COLOR` and its like do not forbid it.
    fn of_stdout() -> Self {
        let out = io::stdout();
        let size = terminal_size::terminal_size_of(&out);
        Self {
            width: size.map(|(width, _)| usize::from(width.0)),
            colour: !matches!(AutoStream::choice(&out), ColorChoice::Never),
        }
    }
}

#[cfg(test)]
mod tests;
