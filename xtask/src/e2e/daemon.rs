//! A program that runs beside the story, with what it says in a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

/// A running program. It ends with the namespace of its processes.
pub(super) struct Daemon {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it. What it says is added to `NAME.log` in `logs`.
    pub(super) fn start(name: &'static str, command: &mut Command, logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        Ok(Self { name, child, log })
    }

    /// Fails with the end of its log if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("ended with {status}\n{}", self.tail());
        }
        Ok(())
    }

    /// Its process.
    pub(super) fn pid(&self) -> Pid {
        // Process IDs are positive and far below this type's end.
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The last it said.
    pub(super) fn tail(&self) -> String {
        format!("{}: {}", self.name, tail(&self.log))
    }
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
