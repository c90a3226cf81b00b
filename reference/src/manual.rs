//! The man pages and completions of a release, out of the command line itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use clap_complete::Shell;

/// Writes a man page for `podiam` and one for each of its commands (`podiam-agent.1`, …) into a folder.
pub fn man_pages(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(podiam::commands::command(), folder)
        .with_context(|| format!("cannot write man pages into {}", folder.display()))
}

/// Writes the completions of every shell into a folder, each under the name that its shell looks for.
pub fn completions(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for shell in Shell::value_variants() {
        let mut command = podiam::commands::command();
        clap_complete::generate_to(*shell, &mut command, "podiam", folder).with_context(|| {
            format!(
                "cannot write the completions of {shell} into {}",
                folder.display()
            )
        })?;
    }
    Ok(())
}
