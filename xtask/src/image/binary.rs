//! The static binary. Whatever of the machine could get into it is taken out: paths are renamed, the commit stands in
//! for the time.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Arch, Source};
use crate::parts::{self, Part};

/// The compiler of the C in ring.
fn c_compiler(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "musl-gcc",
        Arch::Arm64 => "aarch64-linux-gnu-gcc",
    }
}

/// Compiles into `folder`, and returns the program.
pub(super) fn build(arch: Arch, source: &Source, folder: &Path) -> Result<Vec<u8>> {
    let target = arch.target();
    add_target(target)?;
    let home = cargo_home()?;
    let root = crate::workspace();
    let mut flags = format!(
        "--remap-path-prefix={}=/cargo --remap-path-prefix={}=/podiam",
        home.display(),
        root.display()
    );
    if arch == Arch::Arm64 {
        // Rust brings musl and a linker along; only ring's C needs a compiler from outside.
        flags += " -Clinker=rust-lld -Clink-self-contained=yes";
    }
    let name = target.replace('-', "_");
    // `cargo auditable` is cargo with a list of the dependencies in the program, which scanners read.
    let status = Command::new(Part::CargoAuditable.program(&parts::cache()?))
        .current_dir(root)
        .args([
            "auditable",
            "build",
            "--locked",
            "--release",
            "--package=podiam",
            "--bin=podiam",
        ])
        .arg(format!("--target={target}"))
        .arg("--target-dir")
        .arg(folder)
        .env(
            format!("CARGO_TARGET_{}_RUSTFLAGS", name.to_uppercase()),
            flags,
        )
        .env(format!("CC_{name}"), c_compiler(arch))
        .env(
            format!("CFLAGS_{name}"),
            format!("-ffile-prefix-map={}=/cargo", home.display()),
        )
        .env("CARGO_INCREMENTAL", "0")
        .env("PODIAM_COMMIT", &source.commit)
        .env("PODIAM_BUILD_DATE", &source.date)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .context("cannot start cargo auditable")?;
    if !status.success() {
        bail!("cargo build ended with {status}");
    }
    let program = folder.join(target).join("release/podiam");
    std::fs::read(&program).with_context(|| format!("cannot read {}", program.display()))
}

/// Where cargo keeps the sources of dependencies, whose paths stand in messages of panics.
fn cargo_home() -> Result<PathBuf> {
    let home = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let cargo = home("CARGO_HOME").map(PathBuf::from);
    let own = || home("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    cargo
        .or_else(own)
        .context("neither CARGO_HOME nor HOME is set")
}

/// Makes sure that Rust has its standard library for the target.
fn add_target(target: &str) -> Result<()> {
    let status = Command::new("rustup")
        .args(["--quiet", "target", "add", target])
        .status()
        .context("rustup is needed to add a target")?;
    if !status.success() {
        bail!("rustup target add {target} ended with {status}");
    }
    Ok(())
}
