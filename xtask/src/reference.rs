//! `cargo xtask reference`: the pages of docs/ and the manual that are made of the code, by the crate `podiam-reference`.
//! Its tests see that the pages are today's.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

/// Writes the pages.
pub(crate) fn run() -> Result<ExitCode> {
    let folder = crate::workspace().join("docs");
    generate("docs", &folder)?;
    for page in ["configuration.md", "metrics.md"] {
        println!("{}", folder.join(page).display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Man pages and completions, in folders of their own below `folder`.
pub(crate) fn manual(folder: &Path) -> Result<()> {
    generate("manual", folder)
}

fn generate(what: &str, folder: &Path) -> Result<()> {
    let status = Command::new(crate::cargo())
        .current_dir(crate::workspace())
        .args([
            "run",
            "--quiet",
            "--locked",
            "--package=podiam-reference",
            "--",
            what,
        ])
        .arg(folder)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("podiam-reference {what} ended with {status}");
    }
    Ok(())
}
