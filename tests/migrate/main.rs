//! `podiam migrate` from the outside: what it prints, values that the real Helm takes, a real cluster. Its plan is done
//! with real rules in tests/interception/migration.rs; its trust policies are judged in crates/iam/tests/engine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what cannot be had fails the test there"
)]

#[path = "../deploy/chart.rs"]
#[allow(dead_code, reason = "its other functions are those of tests/deploy")]
mod chart;
mod cluster;
#[path = "../iam/literate.rs"]
mod literate;
#[path = "../support/mod.rs"]
mod support;
mod values;

use std::process::Command;

use support::program::run;

/// Runs `podiam migrate WORDS` with `input`, and returns the exit code, stdout and stderr.
fn podiam(words: &[&str], input: &str) -> (i32, String, String) {
    let mut podiam = Command::new(env!("CARGO_BIN_EXE_podiam"));
    run(
        podiam.arg("migrate").args(words).env_remove("KUBECONFIG"),
        input,
    )
}

#[test]
fn the_documentation_shows_what_is_printed() {
    literate::check("docs/migration.md");
}

#[test]
fn every_output_and_every_mistake_is_written_down() {
    literate::check("tests/migrate/outputs.md");
}
