//! podiam's chores, `cargo xtask CHORE`. Each has a file of its own; this one only dispatches.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talking to a person at a terminal is what xtask does"
)]

mod bench;
mod book;
mod chart;
mod demo;
mod e2e;
mod fuzz;
mod image;
mod instructions;
mod parts;
mod progress;
mod reference;
mod release;
mod report;
mod screenshots;
mod simulate;
mod test;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// podiam's chores.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true
)]
enum Xtask {
    /// Shows podiam at work on this machine: no cluster, no AWS account, nothing of the machine is changed
    Demo(demo::Args),
    /// Checks everything: format, lints, all tests against real parts, docs, dependencies, fuzz targets
    Test(test::Args),
    /// Runs podiam in a whole Kubernetes on this machine: containerd, kubelet, control plane, Helm (root, Linux)
    E2e(e2e::Args),
    /// Measures podiam beside a bare HTTP responder, and fails where a figure misses its bar
    Bench(bench::Args),
    /// Counts the instructions of a cached request, and fails where they have changed by more than 3 %
    Instructions(instructions::Args),
    /// Simulates the agents of thousands of nodes before one STS: a table, and plots with `--svg DIR`
    Simulate(simulate::Args),
    /// Runs the fuzz targets
    Fuzz(fuzz::Args),
    /// Writes deploy/kubernetes/podiam.yaml out of the Helm chart
    Chart,
    /// Takes the pictures of the status page in docs/, in headless Chromium
    Screenshots,
    /// Builds the container image into dist/, without a Docker daemon
    Image(image::Args),
    /// Writes docs/configuration.md and docs/metrics.md out of the code
    Reference,
    /// Makes a book of docs/ in target/book, and looks at every link of it
    Book,
    /// Makes everything that a release consists of, in dist/; publishes nothing
    Release(release::Args),
    /// Fetches and builds the real parts that the tests run (`test` does so by itself)
    Parts,
}

fn main() -> ExitCode {
    let result = match Xtask::parse() {
        Xtask::Demo(args) => demo::run(&args),
        Xtask::Test(args) => Ok(test::run(&args)),
        Xtask::E2e(args) => e2e::run(&args),
        Xtask::Bench(args) => bench::run(&args),
        Xtask::Instructions(args) => instructions::run(&args),
        Xtask::Simulate(args) => simulate::run(&args),
        Xtask::Fuzz(args) => fuzz::run(&args),
        Xtask::Chart => chart::run(),
        Xtask::Screenshots => screenshots::run(),
        Xtask::Image(args) => image::run(&args),
        Xtask::Reference => reference::run(),
        Xtask::Book => book::run(),
        Xtask::Release(args) => release::run(&args),
        Xtask::Parts => fetch_parts(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn fetch_parts() -> Result<ExitCode> {
    parts::debian::ensure(&parts::debian::PROGRAMS)?;
    parts::ensure(&parts::Part::ALL)?;
    let cache = parts::cache()?;
    for part in parts::Part::ALL {
        println!(
            "{:<16}{:<12}{}",
            part.name(),
            part.version(),
            part.program(&cache).display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The cargo that runs this chore.
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The root of the workspace.
fn workspace() -> &'static Path {
    // This crate stands one folder below the root, so it has a parent.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Where cargo builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}
