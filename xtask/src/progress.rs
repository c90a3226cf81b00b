//! How chores talk: one line when something starts to take time, one line when it is done. Colours only on a terminal
//! (and never with `NO_COLOR` set), so that a log of CI stays readable.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Colours, or none.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// Colours where standard output is a terminal that wants them.
    pub(crate) fn detect() -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colours }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A heading.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What matters less.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What went well.
    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What did not.
    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }
}

/// Runs `cargo build` for `packages` of the workspace, with cargo's own progress shown, and says how long it took.
pub(crate) fn cargo_build(workspace: &Path, packages: &[&str]) -> Result<Duration> {
    let started = Instant::now();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).args(["build", "--locked"]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    let status = cargo.status().context("cargo cannot be started")?;
    if !status.success() {
        bail!("cargo build of {} failed ({status})", packages.join(", "));
    }
    Ok(started.elapsed())
}

/// A duration as people read it: `3 ms`, `1.2 s`, `2 min 05 s`.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match () {
        () if seconds >= 60 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        () if seconds >= 1 => format!("{:.1} s", duration.as_secs_f64()),
        () if duration.as_millis() >= 10 => format!("{} ms", duration.as_millis()),
        () => format!("{:.1} ms", duration.as_secs_f64() * 1e3),
    }
}
