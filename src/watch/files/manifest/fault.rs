//! What can be wrong with a manifest, and how the one line is put that says so.

use thiserror::Error;

use crate::watch::objects::ObjectError;

/// What is wrong with a manifest, and where. Empty documents are not counted.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{file}, document {document}{}: {problem}", line.map(|line| format!(" (line {line})")).unwrap_or_default())]
pub(in crate::watch::files) struct ManifestError {
    pub(super) file: String,
    /// From 1.
    pub(super) document: usize,
    /// Where the object begins; a syntax error says by itself where it is.
    pub(super) line: Option<u64>,
    pub(super) problem: Problem,
}

#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum Problem {
    #[error("{0}")]
    Syntax(String),
    #[error("kind is missing: this is no Kubernetes manifest")]
    NoKind,
    #[error("{0}")]
    Field(String),
    #[error("{0}")]
    Object(#[from] ObjectError),
    #[error("metadata.{field}: {value:?} is not a name that Kubernetes allows")]
    Name { field: &'static str, value: String },
    #[error("the {kind} {name:?} is in {first} already")]
    Twice {
        kind: &'static str,
        name: String,
        first: String,
    },
}

/// Where an object stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    pub(super) document: usize,
    pub(super) line: u64,
}

impl Place<'_> {
    /// Says that `problem` is here.
    pub(super) fn error(self, problem: impl Into<Problem>) -> ManifestError {
        ManifestError {
            file: self.file.to_owned(),
            document: self.document,
            line: Some(self.line),
            problem: problem.into(),
        }
    }
}
