//! The rules. Each looks at one document at a time, with what all the others tell: which roles are the nodes', and
//! whether some policy denies what it does not allow.

mod identity;
mod trust;

use super::Knowledge;
use super::code::Code;
use super::document::{Document, Purpose, is_unknown};
use super::finding::Finding;
use super::reach::{self, Reach};
use crate::RoleArn;
use crate::policy::Effect;

/// What the rules know besides the document before them.
struct Context {
    /// ARNs of the nodes' roles; account and partition may be unknown.
    node_roles: Vec<String>,
    /// The account that documents without one belong to.
    account: Option<String>,
    /// Whether the policy of a node was among the documents, and whether each denied the rest.
    node_policies: NodePolicies,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NodePolicies {
    /// None was given.
    Unseen,
    /// All deny what they do not allow.
    Closed,
    /// One does not.
    Open,
}

/// Judges all documents.
pub(super) fn judge(documents: &[Document], knowledge: &Knowledge, findings: &mut Vec<Finding>) {
    let identities = || documents.iter().filter(|d| d.purpose == Purpose::Identity);
    let assuming: Vec<&Document> = identities()
        .filter(|document| document.allowing().next().is_some() || closes(document))
        .collect();
    let node_policies = if assuming.is_empty() {
        NodePolicies::Unseen
    } else if assuming.iter().all(|document| closes(document)) {
        NodePolicies::Closed
    } else {
        NodePolicies::Open
    };
    let trusted = documents
        .iter()
        .filter(|document| document.purpose == Purpose::Trust)
        .flat_map(trust::roles);
    let mut node_roles: Vec<String> = knowledge
        .node_roles
        .iter()
        .map(RoleArn::to_string)
        .chain(trusted)
        .collect();
    node_roles.sort();
    node_roles.dedup();
    let context = Context {
        node_roles,
        account: knowledge.account.clone(),
        node_policies,
    };
    for document in documents {
        findings.extend(unknown_actions(document));
        match document.purpose {
            Purpose::Identity => identity::judge(document, &context, findings),
            Purpose::Trust => trust::judge(document, &context, findings),
        }
    }
}

/// Statements that allow what only Terraform knows: whether AssumeRole is among it cannot be told.
fn unknown_actions(document: &Document) -> impl Iterator<Item = Finding> {
    document.statements.iter().filter_map(|placed| {
        let actions = placed
            .statement
            .action
            .iter()
            .chain(placed.statement.not_action.iter());
        let unknown: Vec<&str> = actions
            .map(String::as_str)
            .filter(|a| is_unknown(a))
            .collect();
        (placed.statement.effect == Effect::Allow && !unknown.is_empty()).then(|| {
            let reason = format!(
                "its actions are {}, which only Terraform knows",
                unknown.join(", ")
            );
            document.finding(Code::NotJudged, placed, reason)
        })
    })
}

/// Whether a policy denies AssumeRole on all but a few roles, without conditions.
fn closes(document: &Document) -> bool {
    document.denying().any(|placed| {
        let spared = &placed.statement.not_resource;
        !spared.is_empty()
            && spared.iter().all(|resource| {
                matches!(
                    reach::of(resource),
                    Reach::Path | Reach::Beginning | Reach::Exact
                )
            })
    })
}
