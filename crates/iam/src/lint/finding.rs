//! What was found, and where.

use super::code::{Code, Severity};

/// Something wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub code: Code,
    /// How bad here.
    pub severity: Severity,
    /// Which file, counted from 0 as they were given.
    pub file: usize,
    /// The line of the statement or setting, counted from 1.
    pub line: u32,
    /// The line at which the document or resource around it begins.
    pub document_line: u32,
    /// Which document: `aws_iam_role.app`, `AssumeRolePolicyDocument of app`.
    pub subject: String,
    /// What exactly is wrong.
    pub reason: String,
    /// The statement's `Sid`.
    pub sid: Option<String>,
}

impl Finding {
    pub(super) fn new(
        code: Code,
        file: usize,
        line: u32,
        subject: &str,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity: code.severity(),
            file,
            line,
            document_line: line,
            subject: subject.to_owned(),
            reason: reason.into(),
            sid: None,
        }
    }
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The files' names, in the order given.
    pub files: Vec<String>,
    /// How many documents were judged.
    pub documents: usize,
    /// By file, line and code.
    pub findings: Vec<Finding>,
    /// How many findings comments asked to ignore.
    pub ignored: usize,
}

impl Report {
    pub(super) fn new(files: Vec<String>, documents: usize) -> Self {
        Self {
            files,
            documents,
            findings: Vec::new(),
            ignored: 0,
        }
    }

    pub(super) fn sort(&mut self) {
        self.findings.sort_by(|a, b| {
            (a.file, a.line, a.code, &a.reason).cmp(&(b.file, b.line, b.code, &b.reason))
        });
        self.findings.dedup();
    }

    /// How bad the worst finding is.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// How many findings are exactly this bad.
    pub fn count(&self, severity: Severity) -> usize {
        let all = self.findings.iter();
        all.filter(|finding| finding.severity == severity).count()
    }
}
