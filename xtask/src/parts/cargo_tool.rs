//! Cargo subcommands, installed into the cache instead of the user's own `~/.cargo/bin`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Log;
use super::catalog::Part;

/// Installs one, with these words about features. Unoptimised: they are quick enough so, and compile in half the time.
pub(super) fn install(part: Part, features: &[&str], folder: &Path, log: &Log) -> Result<()> {
    let target = folder.join("target");
    log.run(
        Command::new(crate::cargo())
            // Out of the workspace, so that its lints and flags do not reach into a stranger's code.
            .current_dir(folder)
            .args(["install", "--locked", "--debug", "--no-track"])
            .args(features)
            .arg("--root")
            .arg(folder)
            .arg("--target-dir")
            .arg(&target)
            .arg(format!("{}@{}", part.name(), part.version()))
            .env_remove("RUSTFLAGS")
            .env("CARGO_TERM_COLOR", "never"),
    )?;
    fs::remove_dir_all(&target)?;
    Ok(())
}
