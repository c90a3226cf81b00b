//! `cargo xtask fuzz`: every fuzz target of `fuzz/`, each for a bounded time, with cargo-fuzz out of the cache.
//!
//! On stable Rust: coverage instrumentation is stable, the sanitizers are not. The targets hold no unsafe code, so what a
//! sanitizer would find there is little; panics, overflows and broken invariants are found all the same.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::parts::{self, Part};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these targets (default: all of them)
    targets: Vec<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Runs the targets, and says which failed.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    parts::ensure(&[Part::CargoFuzz])?;
    let known = targets()?;
    let chosen = if args.targets.is_empty() {
        &known
    } else {
        &args.targets
    };
    let mut failed = Vec::new();
    for target in chosen {
        println!("fuzzing {target} for {} s", args.seconds);
        if !one(target, args.seconds)? {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(
        "failed: {} (what made it fail is in fuzz/artifacts)",
        failed.join(", ")
    )
}

/// The names of all targets. None at all is an error: a fuzz step that fuzzes nothing must not pass.
pub(crate) fn targets() -> Result<Vec<String>> {
    let output = cargo_fuzz()?
        .arg("list")
        .output()
        .context("cannot start cargo fuzz")?;
    if !output.status.success() {
        bail!(
            "cargo fuzz list: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let targets: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    if targets.is_empty() {
        bail!("there are no fuzz targets");
    }
    Ok(targets)
}

/// Runs one target for `seconds` after it is built, beginning with its seeds; true where nothing was found.
pub(crate) fn one(target: &str, seconds: u32) -> Result<bool> {
    let fuzz = crate::workspace().join("fuzz");
    // What libFuzzer finds goes to the first folder; the seeds are only read.
    let corpus = fuzz.join("corpus").join(target);
    std::fs::create_dir_all(&corpus)
        .with_context(|| format!("cannot make {}", corpus.display()))?;
    let seeds = fuzz.join("seeds").join(target);
    let status = cargo_fuzz()?
        .args(["run", "--sanitizer", "none", target])
        .args([corpus].into_iter().chain(seeds.exists().then_some(seeds)))
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        // A single slow input is a finding too: a request parser has no business taking seconds.
        .args(["-timeout=5", "-print_final_stats=1", "-verbosity=0"])
        .status()
        .context("cannot start cargo fuzz")?;
    Ok(status.success())
}

fn cargo_fuzz() -> Result<Command> {
    let mut command = Command::new(Part::CargoFuzz.program(&parts::cache()?));
    command.arg("fuzz").current_dir(crate::workspace());
    Ok(command)
}
