//! What a node, or whoever may assume roles, is allowed: how far its resources reach, and whether the rest is denied.

use super::{Context, closes};
use crate::lint::code::{Code, Severity};
use crate::lint::document::{Document, Placed, is_unknown};
use crate::lint::finding::Finding;
use crate::lint::reach::{self, Reach};

pub(super) fn judge(document: &Document, context: &Context, findings: &mut Vec<Finding>) {
    let closed = closes(document);
    for placed in document.allowing() {
        let before = findings.len();
        for resource in placed.statement.resource.iter() {
            findings.extend(too_far(document, placed, resource));
        }
        if !placed.statement.not_resource.is_empty() {
            findings.push(document.finding(
                Code::AssumeAnything,
                placed,
                format!(
                    "AssumeRole is allowed on everything but {}",
                    placed.statement.not_resource.join(", ")
                ),
            ));
        }
        if closed {
            // The Deny cuts the Allow down to what it spares; the Allow is merely untidy.
            for finding in &mut findings[before..] {
                finding.severity = finding.severity.min(Severity::Warning);
                finding
                    .reason
                    .push_str("; only the Deny beside it limits this");
            }
        } else {
            findings.push(no_deny(document, placed));
        }
    }
    for placed in document.denying() {
        for spared in placed
            .statement
            .not_resource
            .iter()
            .filter(|r| is_no_role(r))
        {
            findings.push(document.finding(
                Code::NotJudged,
                placed,
                format!("the Deny spares {spared}, which only Terraform knows"),
            ));
        }
    }
    for node in &context.node_roles {
        if let Some(placed) = allows(document, node) {
            findings.push(document.finding(
                Code::ReachesNodeRole,
                placed,
                format!("the node's own role, {node}, may be assumed, so a pod that names it would be the node"),
            ));
        }
    }
}

fn too_far(document: &Document, placed: &Placed, resource: &str) -> Option<Finding> {
    let (code, reason) = match reach::of(resource) {
        Reach::Everything => (
            Code::AssumeAnything,
            format!("AssumeRole is allowed on every role of every account ({resource:?})"),
        ),
        Reach::EveryRole => (
            Code::AssumeEveryRole,
            format!(
                "AssumeRole is allowed on every role of an account, or in any account ({resource:?})"
            ),
        ),
        Reach::Beginning => (
            Code::NoPath,
            format!(
                "AssumeRole is allowed on every role whose name begins so ({resource:?}): whoever may create a role \
                 with such a name extends the list"
            ),
        ),
        Reach::Exact if is_no_role(resource) => (
            Code::NotJudged,
            format!("AssumeRole is allowed on {resource}, which only Terraform knows"),
        ),
        Reach::Path | Reach::Exact => return None,
    };
    Some(document.finding(code, placed, reason))
}

/// Whether the whole resource is an expression, other than the ARN of one role.
fn is_no_role(resource: &str) -> bool {
    is_unknown(resource)
        && !resource.starts_with("${aws_iam_role.")
        && !resource.starts_with("${data.aws_iam_role.")
}

fn no_deny(document: &Document, placed: &Placed) -> Finding {
    let exact = placed
        .statement
        .resource
        .iter()
        .all(|resource| reach::of(resource) == Reach::Exact);
    let mut finding = document.finding(
        Code::NoDeny,
        placed,
        "AssumeRole is not denied on the rest: inside its account, every role whose trust policy names this identity \
         may be assumed, whatever is allowed here"
            .to_owned(),
    );
    if exact {
        finding.severity = Severity::Note;
    }
    finding
}

/// The statement by which `role` may be assumed, unless another denies it.
fn allows<'a>(document: &'a Document, role: &str) -> Option<&'a Placed> {
    let covers = |resources: &[String]| resources.iter().any(|r| reach::may_cover(r, role));
    let applies = |placed: &&Placed| {
        let statement = &placed.statement;
        covers(&statement.resource)
            || (!statement.not_resource.is_empty() && !covers(&statement.not_resource))
    };
    let denied = document.denying().find(applies).is_some();
    document.allowing().find(applies).filter(|_| !denied)
}
