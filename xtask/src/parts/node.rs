//! Parts for Node.js: the packages that the lock file beside this crate (`xtask/parts/`) pins, each with its checksum.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Log;

/// Installs what the lock file in `folder` names; no package runs a script of its own.
pub(super) fn install(folder: &Path, log: &Log) -> Result<()> {
    log.run(Command::new("npm").current_dir(folder).args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
    ]))
}
