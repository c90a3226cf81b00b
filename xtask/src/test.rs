//! `cargo xtask test`: everything that must hold before a change lands, on a fresh machine or a used one.
//!
//! The steps run one after another and all of them run, whatever failed before; the last line counts what passed.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::parts::{self, Part, debian};
use crate::progress::{Style, human};
use crate::{book, fuzz};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this step (may be given more than once)
    #[arg(long, value_enum, value_name = "STEP")]
    only: Vec<Step>,
    /// Seconds for each fuzz target
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    fuzz_seconds: u32,
}

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Step {
    /// Fetch and build the real parts
    Parts,
    /// Formatting
    Format,
    /// Clippy, with every warning an error
    Lints,
    /// All tests of the workspace, the end-to-end tests among them
    Tests,
    /// The documentation builds and its links lead somewhere
    Docs,
    /// Licences, bans and sources of the dependencies (advisories need a database that is not in a registry)
    Dependencies,
    /// Every fuzz target for a bounded time
    Fuzz,
}

impl Step {
    const ALL: [Self; 7] = [
        Self::Parts,
        Self::Format,
        Self::Lints,
        Self::Tests,
        Self::Docs,
        Self::Dependencies,
        Self::Fuzz,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Parts => "parts",
            Self::Format => "format",
            Self::Lints => "lints",
            Self::Tests => "tests",
            Self::Docs => "docs",
            Self::Dependencies => "dependencies",
            Self::Fuzz => "fuzz",
        }
    }

    /// The parts it cannot do without.
    fn needs(self) -> &'static [Part] {
        match self {
            Self::Parts => &Part::ALL,
            Self::Tests => &[
                Part::KubeApiserver,
                Part::Etcd,
                Part::Python,
                Part::Helm,
                Part::IamSimulate,
            ],
            Self::Dependencies => &[Part::CargoDeny],
            Self::Fuzz => &[Part::CargoFuzz],
            Self::Docs => &[Part::Mdbook],
            Self::Format | Self::Lints => &[],
        }
    }

    fn run(self, args: &Args) -> Result<Count> {
        if !self.needs().is_empty() {
            debian::ensure(&debian::PROGRAMS)?;
            parts::ensure(self.needs())?;
        }
        match self {
            Self::Parts => Ok(Count::PASSED),
            Self::Format => cargo(&["fmt", "--all", "--check"], &[]),
            Self::Lints => cargo(
                &[
                    "clippy",
                    "--locked",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "--deny",
                    "warnings",
                ],
                &[],
            ),
            Self::Tests => tests(),
            Self::Docs => docs(),
            Self::Dependencies => dependencies(),
            Self::Fuzz => fuzz_all(args.fuzz_seconds),
        }
    }
}

/// How many checks passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
}

impl Count {
    const PASSED: Self = Self {
        passed: 1,
        failed: 0,
    };
    const FAILED: Self = Self {
        passed: 0,
        failed: 1,
    };

    fn of(success: bool) -> Self {
        if success { Self::PASSED } else { Self::FAILED }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs the steps and prints the summary.
pub(crate) fn run(args: &Args) -> ExitCode {
    let style = Style::detect();
    let steps: Vec<Step> = Step::ALL
        .into_iter()
        .filter(|s| args.only.is_empty() || args.only.contains(s))
        .collect();
    let started = Instant::now();
    let mut results: Vec<(Step, Count, Duration)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        println!(
            "{}",
            style.bold(&format!("[{}/{}] {}", number + 1, steps.len(), step.name()))
        );
        let since = Instant::now();
        let count = step.run(args).unwrap_or_else(|error| {
            eprintln!("{}", style.red(&format!("{}: {error:#}", step.name())));
            Count::FAILED
        });
        results.push((*step, count, since.elapsed()));
    }

    let mut total = Count::default();
    println!("\n{}", style.bold("summary"));
    for (step, count, time) in results {
        let verdict = if count.failed == 0 {
            style.green("passed")
        } else {
            style.red("FAILED")
        };
        println!(
            "  {:<14}{verdict}  {:>4} passed {:>3} failed  {}",
            step.name(),
            count.passed,
            count.failed,
            human(time)
        );
        total.add(count);
    }
    println!("  {:<14}{}\n", "all", human(started.elapsed()));
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A cargo command as one check.
fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Count> {
    let mut command = Command::new(crate::cargo());
    command
        .current_dir(crate::workspace())
        .args(arguments)
        .envs(environment.iter().copied());
    let status = command.status().context("cannot start cargo")?;
    Ok(Count::of(status.success()))
}

/// All tests, counted one by one. A failed build counts as one failure, and so does an ignored test: a test that does not
/// run proves nothing.
fn tests() -> Result<Count> {
    let mut child = Command::new(crate::cargo())
        .current_dir(crate::workspace())
        .args(["test", "--locked", "--workspace", "--no-fail-fast"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = child
        .stdout
        .take()
        .context("the output of cargo is piped")?;
    let mut count = Count::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        count.add(counted(&line));
    }
    if !child.wait()?.success() && count.failed == 0 {
        count.failed = 1;
    }
    if count.passed == 0 && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// What a line of the test harness adds: `test result: ok. 3 passed; 0 failed; 0 ignored; ...`.
fn counted(line: &str) -> Count {
    let Some(result) = line.strip_prefix("test result: ") else {
        return Count::default();
    };
    let number = |word: &str| {
        let before = result
            .split(';')
            .find_map(|part| part.trim().strip_suffix(word));
        before
            .and_then(|text| text.trim().rsplit(' ').next()?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    Count {
        passed: number("passed"),
        failed: number("failed") + number("ignored"),
    }
}

/// The documentation of the code, and the book.
fn docs() -> Result<Count> {
    let mut count = cargo(
        &["doc", "--locked", "--workspace", "--no-deps"],
        &[("RUSTDOCFLAGS", "--deny warnings")],
    )?;
    let made = book::run();
    if let Err(error) = &made {
        eprintln!("book: {error:#}");
    }
    count.add(Count::of(made.is_ok()));
    Ok(count)
}

fn dependencies() -> Result<Count> {
    println!(
        "not checked here: advisories, whose database is not in a package registry (cargo deny check advisories)"
    );
    let deny = Part::CargoDeny.program(&parts::cache()?);
    let status = Command::new(deny)
        .current_dir(crate::workspace())
        .args(["--locked", "check", "bans", "licenses", "sources"])
        .status()
        .context("cannot start cargo deny")?;
    Ok(Count::of(status.success()))
}

fn fuzz_all(seconds: u32) -> Result<Count> {
    let mut count = Count::default();
    for target in fuzz::targets()? {
        let passed = fuzz::one(&target, seconds)?;
        println!(
            "fuzz target {target}: {}",
            if passed { "nothing found" } else { "FAILED" }
        );
        count.add(Count::of(passed));
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_harness_is_counted_and_an_ignored_test_is_a_failure() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.02s";
        assert_eq!(
            counted(line),
            Count {
                passed: 12,
                failed: 4
            }
        );
        let line = "test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(
            counted(line),
            Count {
                passed: 7,
                failed: 0
            }
        );
        assert_eq!(counted("test a_name ... ok"), Count::default());
    }
}
