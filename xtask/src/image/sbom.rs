//! The bill of materials of the program, in `CycloneDX`: every crate in it with version, licence and checksum.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Arch, Source};
use crate::parts::{self, Part};

/// What cargo-cyclonedx is told to call its files. It writes one into the folder of each crate of the workspace.
const NAME: &str = "podiam-sbom.cdx";

/// Makes it. The time in it is the commit's, and there is no serial number: the same crates give the same bytes.
pub(super) fn make(arch: Arch, source: &Source) -> Result<Vec<u8>> {
    let root = crate::workspace();
    let output = Command::new(Part::CargoCyclonedx.program(&parts::cache()?))
        .current_dir(root)
        .args([
            "cyclonedx",
            "--format=json",
            "--spec-version=1.5",
            "--no-build-deps",
        ])
        .arg(format!("--target={}", arch.target()))
        .arg(format!("--override-filename={NAME}"))
        .env("SOURCE_DATE_EPOCH", source.seconds.to_string())
        .output()
        .context("cannot start cargo cyclonedx")?;
    let made = fs::read_to_string(root.join(format!("{NAME}.json")));
    clean()?;
    if !output.status.success() {
        bail!(
            "cargo cyclonedx: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let made = made.context("cargo cyclonedx wrote nothing")?;
    // Crates of this workspace are named by their folders.
    Ok(made
        .replace(&root.display().to_string(), "/podiam")
        .into_bytes())
}

/// Takes away what it has written.
fn clean() -> Result<()> {
    let root = crate::workspace();
    let crates = fs::read_dir(root.join("crates"))?
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let folders: Vec<PathBuf> = crates
        .chain([root.to_owned()])
        .chain(["reference", "simulation", "xtask"].map(|name| root.join(name)))
        .collect();
    for folder in folders {
        let file = folder.join(format!("{NAME}.json"));
        if file.exists() {
            fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
    }
    Ok(())
}
