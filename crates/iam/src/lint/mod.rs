//! Judges IAM documents that exist: JSON as the AWS CLI prints it, and Terraform. All files are judged together, because
//! whether a role's trust is safe depends on the node's policy. Nothing is asked of AWS, and what cannot be read in a
//! file (a variable, a module) is taken to be unknown, never to be safe.

mod code;
mod document;
mod finding;
mod hcl;
mod ignore;
mod json;
mod node;
mod reach;
mod report;
mod rules;
mod terraform;
mod values;
mod wildcard;

pub use code::{Code, Severity};
pub use finding::{Finding, Report};
pub use report::{Output, UnknownOutput};

use ignore::Ignores;

use crate::RoleArn;

/// A file to judge.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its name in findings.
    pub name: &'a str,
    /// What is in it.
    pub text: &'a str,
    /// Its language.
    pub language: Language,
}

/// What a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// JSON.
    Json,
    /// Terraform's HCL.
    Hcl,
}

impl Language {
    /// By the file's name, else (`-`) by its first character: JSON begins with `{` or `[`.
    pub fn of(name: &str, text: &str) -> Self {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        match extension {
            Some("json") => Self::Json,
            Some("tf" | "hcl") => Self::Hcl,
            _ if text.trim_start().starts_with(['{', '[']) => Self::Json,
            _ => Self::Hcl,
        }
    }
}

/// What the files cannot tell.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// The roles of the nodes, besides those that trust policies name.
    pub node_roles: Vec<RoleArn>,
    /// The account that documents without one belong to.
    pub account: Option<String>,
}

/// Judges all files together.
pub fn lint(sources: &[Source<'_>], knowledge: &Knowledge) -> Report {
    let mut documents = Vec::new();
    let mut findings = Vec::new();
    let mut files = terraform::Files::default();
    for (file, source) in sources.iter().enumerate() {
        match source.language {
            Language::Json => match node::parse_json(source.text, 1) {
                Ok(node) => json::documents(&node, file, &mut documents, &mut findings),
                Err(error) => findings.push(Finding::new(
                    Code::NotAPolicy,
                    file,
                    u32::try_from(error.line()).unwrap_or(u32::MAX),
                    "the file",
                    format!("this is not JSON: {error}"),
                )),
            },
            Language::Hcl => files.read(file, source, &mut findings),
        }
    }
    files.documents(&mut documents, &mut findings);
    rules::judge(&documents, knowledge, &mut findings);

    let ignores: Vec<Ignores> = sources.iter().map(|s| Ignores::of(s.text)).collect();
    let mut report = Report::new(
        sources
            .iter()
            .map(|source| source.name.to_owned())
            .collect(),
        documents.len(),
    );
    for finding in findings {
        if ignores[finding.file].cover(&finding) {
            report.ignored += 1;
        } else {
            report.findings.push(finding);
        }
    }
    report.sort();
    report
}

#[cfg(test)]
mod tests;
