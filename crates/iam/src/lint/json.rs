//! Finds the documents in JSON, wherever they stand: alone, in what `aws iam get-role`, `get-role-policy` or
//! `get-account-authorization-details` print, in what podiam writes, and as texts in Terraform's plans.

use super::document::{Document, Purpose, RoleFacts, Setting, purpose, statements};
use super::finding::Finding;
use super::node::{Kind, Node, parse_json};

/// Adds every document below `node`.
pub(super) fn documents(
    node: &Node,
    file: usize,
    documents: &mut Vec<Document>,
    findings: &mut Vec<Finding>,
) {
    let mut walk = Walk {
        file,
        documents,
        findings,
    };
    walk.visit(node, "", &RoleFacts::default(), "");
}

struct Walk<'a> {
    file: usize,
    documents: &'a mut Vec<Document>,
    findings: &'a mut Vec<Finding>,
}

impl Walk<'_> {
    /// `key` is the name under which the node stands, `role` and `owner` what the maps around it tell.
    fn visit(&mut self, node: &Node, key: &str, role: &RoleFacts, owner: &str) {
        match &node.kind {
            Kind::Plain(_) => {}
            Kind::List(nodes) => {
                for node in nodes {
                    self.visit(node, key, role, owner);
                }
            }
            Kind::Text(text) => {
                if text.trim_start().starts_with('{')
                    && text.contains("Statement")
                    && let Ok(mut inner) = parse_json(text, node.line)
                {
                    on_one_line(&mut inner, node.line);
                    self.visit(&inner, key, role, owner);
                }
            }
            Kind::Map(_) if node.get("Statement").is_some() => self.add(node, key, role, owner),
            Kind::Map(entries) => {
                let owner = first_text(node, &["RoleName", "PolicyName", "address", "name"])
                    .unwrap_or(owner)
                    .to_owned();
                let role = facts(node, self.file, role);
                for (key, node) in entries {
                    self.visit(node, key, &role, &owner);
                }
            }
        }
    }

    fn add(&mut self, node: &Node, key: &str, role: &RoleFacts, owner: &str) {
        let subject = match (key, owner) {
            ("", "") => "the policy".to_owned(),
            (key, "") => key.to_owned(),
            ("", owner) => owner.to_owned(),
            (key, owner) => format!("{key} of {owner}"),
        };
        let statements = statements(node, self.file, &subject, self.findings);
        let said = matches!(key, "AssumeRolePolicyDocument" | "assume_role_policy");
        let purpose = purpose(said, &statements);
        self.documents.push(Document {
            file: self.file,
            line: node.line,
            subject,
            purpose,
            role: if purpose == Purpose::Trust {
                role.clone()
            } else {
                RoleFacts::default()
            },
            statements,
        });
    }
}

/// What this map adds to what is known of the role.
fn facts(node: &Node, file: usize, outer: &RoleFacts) -> RoleFacts {
    let account = first_text(node, &["Arn", "arn"]).and_then(|arn| {
        let account = arn.split(':').nth(4)?;
        (!account.is_empty()).then(|| account.to_owned())
    });
    let longest = ["MaxSessionDuration", "max_session_duration"]
        .iter()
        .find_map(|key| node.get(key))
        .and_then(|node| {
            Some(Setting {
                seconds: node.number()?,
                file,
                line: node.line,
            })
        });
    RoleFacts {
        account: account.or_else(|| outer.account.clone()),
        longest_session: longest.or(outer.longest_session),
    }
}

fn first_text<'a>(node: &'a Node, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| node.get(key)?.text())
}

/// The lines inside a text are not lines of the file.
fn on_one_line(node: &mut Node, line: u32) {
    node.line = line;
    match &mut node.kind {
        Kind::List(nodes) => nodes.iter_mut().for_each(|node| on_one_line(node, line)),
        Kind::Map(entries) => entries
            .iter_mut()
            .for_each(|(_, node)| on_one_line(node, line)),
        Kind::Plain(_) | Kind::Text(_) => {}
    }
}
