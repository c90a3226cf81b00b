//! The Python part: a virtual environment with the pinned packages of `xtask/parts/python/requirements.txt`.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Log;

/// Makes the environment in `folder`. It is run by its interpreter only (`python3 -m ...`), so that it may be moved.
pub(super) fn install(folder: &Path, log: &Log) -> Result<()> {
    log.run(
        Command::new("python3")
            .args(["-m", "venv", "--symlinks"])
            .arg(folder),
    )?;
    log.run(
        Command::new(folder.join("bin/python3"))
            // Everything is pinned, so nothing is to be resolved: `--no-deps`.
            .args([
                "-m",
                "pip",
                "--disable-pip-version-check",
                "--no-input",
                "--progress-bar=off",
                "install",
                "--no-deps",
                "--requirement",
            ])
            .arg(folder.join("requirements.txt")),
    )
}
