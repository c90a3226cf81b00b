//! `cargo xtask screenshots`: the two pictures of the status page in docs/, out of the test that renders the page of a real
//! agent in headless Chromium.

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::parts::debian;

/// The test that takes the pictures.
const TEST: &str =
    "a_browser_shows_every_pod_with_its_role_or_reason_in_light_and_dark_wide_and_narrow";

/// Takes the pictures anew.
pub(crate) fn run() -> Result<ExitCode> {
    debian::ensure(&debian::PROGRAMS)?;
    let status = Command::new(crate::cargo())
        .current_dir(crate::workspace())
        .args([
            "test",
            "--locked",
            "--package",
            "podiam",
            "--test",
            "status",
        ])
        .args(["--", "--exact", &format!("page::{TEST}")])
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the test that takes the pictures failed");
    }
    for theme in ["light", "dark"] {
        let taken = crate::target().join(format!("status-page/{theme}.webp"));
        let kept = crate::workspace().join(format!("docs/status-{theme}.webp"));
        fs::copy(&taken, &kept).with_context(|| format!("cannot copy {}", taken.display()))?;
        println!("{}", kept.display());
    }
    Ok(ExitCode::SUCCESS)
}
