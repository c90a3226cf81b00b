//! `podiam iam lint`: reads the files, has them judged, and turns the worst finding into the exit code.

use std::process::ExitCode;

use podiam_iam::lint::{Knowledge, Language, Report, Severity, Source, lint};

use super::args::LintArgs;
use crate::commands::{Failure, print};

/// The exit code where the worst finding is a warning.
const WARNINGS: u8 = 3;
/// The exit code where there is an error among the findings.
const ERRORS: u8 = 4;

pub(super) fn run(args: &LintArgs) -> Result<ExitCode, Failure> {
    let texts: Vec<String> = args
        .files
        .iter()
        .map(|file| super::read(file))
        .collect::<anyhow::Result<_>>()?;
    let sources: Vec<Source<'_>> = args
        .files
        .iter()
        .zip(&texts)
        .map(|(name, text)| Source {
            name,
            text,
            language: Language::of(name, text),
        })
        .collect();
    let knowledge = Knowledge {
        node_roles: args.node_roles.clone(),
        account: args.account.clone(),
    };
    let report = lint(&sources, &knowledge);
    print(
        report
            .write(args.format, env!("CARGO_PKG_VERSION"))
            .as_bytes(),
    )?;
    Ok(exit_code(&report))
}

fn exit_code(report: &Report) -> ExitCode {
    match report.worst() {
        Some(Severity::Error) => ExitCode::from(ERRORS),
        Some(Severity::Warning) => ExitCode::from(WARNINGS),
        Some(Severity::Note) | None => ExitCode::SUCCESS,
    }
}
