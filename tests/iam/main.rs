//! `podiam iam` from the outside: what it prints in every format, its help and its errors, and what moto's IAM and
//! CloudFormation make of the documents. What the documents mean is proven in crates/iam/tests/engine/.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what cannot be had fails the test there"
)]

mod aws;
mod literate;
mod sarif;
#[path = "../support/mod.rs"]
mod support;

use std::process::Command;

use support::program::run;

const PODIAM: &str = env!("CARGO_BIN_EXE_podiam");

/// Runs `podiam iam WORDS` with `input`, and returns the exit code and stdout.
fn podiam(words: &[&str], input: &str) -> (i32, String) {
    let (code, stdout, _) = run(Command::new(PODIAM).arg("iam").args(words), input);
    (code, stdout)
}

#[test]
fn every_command_prints_what_the_documentation_shows() {
    literate::check("docs/iam.md");
}

#[test]
fn every_format_of_every_command_is_written_down() {
    literate::check("tests/iam/formats.md");
}

#[test]
fn the_help_of_every_command_is_written_down() {
    literate::check("tests/iam/help.md");
}

#[test]
fn every_mistake_has_its_answer() {
    literate::check("tests/iam/errors.md");
}

#[test]
fn the_same_flags_print_the_same_bytes() {
    for format in ["json", "hcl", "cloudformation", "awscli"] {
        let words = ["bootstrap", "examples/iam/cluster.yaml", "--format", format];
        let (code, first) = podiam(&words, "");
        assert_eq!(code, 0, "{format}");
        assert_eq!(podiam(&words, "").1, first, "{format}");
        assert!(first.contains("podiam 0"), "{format}: {first}");
    }
}

#[test]
fn a_file_and_stdin_say_the_same() {
    let file = std::fs::read_to_string("examples/iam/cluster.yaml").unwrap();
    let (_, by_name) = podiam(&["bootstrap", "examples/iam/cluster.yaml"], "");
    let (code, by_stdin) = podiam(&["bootstrap", "-"], &file);
    assert_eq!(code, 0);
    let note = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(note(&by_stdin), note(&by_name));

    let tutorial = std::fs::read_to_string("examples/iam/tutorial.tf").unwrap();
    let (by_name, by_stdin) = (
        podiam(&["lint", "examples/iam/tutorial.tf"], ""),
        podiam(&["lint", "-"], &tutorial),
    );
    assert_eq!(by_name.0, 4);
    assert_eq!(
        by_stdin.1,
        by_name.1.replace("examples/iam/tutorial.tf:", "-:")
    );
}

#[test]
fn what_podiam_makes_passes_its_own_lint_in_the_formats_that_lint_reads() {
    for format in ["json", "hcl"] {
        let (_, made) = podiam(
            &["bootstrap", "examples/iam/cluster.yaml", "--format", format],
            "",
        );
        let (code, report) = podiam(&["lint", "-"], &made);
        assert_eq!(code, 0, "{format}: {report}");
        assert!(!report.contains(" in 0 documents"), "{format}: {report}");
    }
}
