//! A policy document as it stands in a file, and what the file tells of the role around it.

use serde::Deserialize;

use super::code::Code;
use super::finding::Finding;
use super::node::{Kind, Node};
use crate::policy::{Effect, Statement};

/// What a document is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// What an identity may do.
    Identity,
    /// Whom a role trusts.
    Trust,
}

/// A document with places.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) file: usize,
    pub(super) line: u32,
    pub(super) subject: String,
    pub(super) purpose: Purpose,
    pub(super) role: RoleFacts,
    pub(super) statements: Vec<Placed>,
}

/// A statement and its line.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) line: u32,
    pub(super) statement: Statement,
}

/// What is known of the role that a document belongs to.
#[derive(Clone, Debug, Default)]
pub(super) struct RoleFacts {
    /// Its account, if the file says it.
    pub(super) account: Option<String>,
    /// `MaxSessionDuration`.
    pub(super) longest_session: Option<Setting>,
}

/// A number of seconds and where it is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) seconds: u64,
    pub(super) file: usize,
    pub(super) line: u32,
}

impl Document {
    /// The statements that allow AssumeRole.
    pub(super) fn allowing(&self) -> impl Iterator<Item = &Placed> {
        self.with(Effect::Allow)
    }

    /// The statements that deny AssumeRole whatever the request.
    pub(super) fn denying(&self) -> impl Iterator<Item = &Placed> {
        self.with(Effect::Deny)
            .filter(|placed| placed.statement.condition.is_empty())
    }

    fn with(&self, effect: Effect) -> impl Iterator<Item = &Placed> {
        self.statements.iter().filter(move |placed| {
            placed.statement.effect == effect && covers_assume_role(&placed.statement)
        })
    }

    pub(super) fn finding(&self, code: Code, placed: &Placed, reason: String) -> Finding {
        let mut finding = Finding::new(code, self.file, placed.line, &self.subject, reason);
        finding.document_line = self.line;
        finding.sid.clone_from(&placed.statement.sid);
        finding
    }
}

/// Whether a statement speaks of `sts:AssumeRole`; actions know no case.
fn covers_assume_role(statement: &Statement) -> bool {
    let named = |patterns: &[String]| {
        patterns.iter().any(|pattern| {
            super::wildcard::matches(&pattern.to_ascii_lowercase(), "sts:assumerole")
        })
    };
    named(&statement.action) || (!statement.not_action.is_empty() && !named(&statement.not_action))
}

/// Whether a whole text is an expression that only Terraform can evaluate.
pub(super) fn is_unknown(text: &str) -> bool {
    text.starts_with("${")
}

/// Reads the statements of `document`, a map that has `Statement`; what is no statement becomes a finding.
pub(super) fn statements(
    document: &Node,
    file: usize,
    subject: &str,
    findings: &mut Vec<Finding>,
) -> Vec<Placed> {
    let nodes = match document.get("Statement") {
        Some(Node {
            kind: Kind::List(nodes),
            ..
        }) => nodes.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let mut statements = Vec::new();
    for node in nodes {
        let effect = node.get("Effect").unwrap_or(node);
        if effect.text().is_some_and(is_unknown) {
            let reason = "a statement is made by an expression".to_owned();
            findings.push(Finding::new(
                Code::NotJudged,
                file,
                node.line,
                subject,
                reason,
            ));
            continue;
        }
        match Statement::deserialize(node.to_json()) {
            Ok(statement) => statements.push(Placed {
                line: node.line,
                statement,
            }),
            Err(error) => findings.push(Finding::new(
                Code::NotAPolicy,
                file,
                node.line,
                subject,
                format!("this is not a statement: {error}"),
            )),
        }
    }
    statements
}

/// A document is a trust policy if its place says so, or if it names principals.
pub(super) fn purpose(said: bool, statements: &[Placed]) -> Purpose {
    let principals = statements.iter().any(|placed| {
        placed.statement.principal.is_some() || placed.statement.not_principal.is_some()
    });
    if said || principals {
        Purpose::Trust
    } else {
        Purpose::Identity
    }
}
