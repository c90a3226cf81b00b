//! Finds the documents in Terraform's files: in the resources of IAM that hold one, and in
//! `data "aws_iam_policy_document"`. References between resources are followed over all files.

use std::collections::{BTreeSet, HashMap};

use hcl::edit::structure::{Block, BlockLabel, Body};

use super::Source;
use super::code::Code;
use super::document::{Document, Purpose, RoleFacts, Setting, purpose, statements};
use super::finding::Finding;
use super::hcl::{Lines, Policy, attribute, node, policy};
use super::node::{Kind, Node};
use super::values::Values;

/// What all files together hold.
#[derive(Default)]
pub(super) struct Files {
    held: Vec<Held>,
    /// `aws_iam_policy_document`, by label.
    data: HashMap<String, Place>,
    /// The ARNs of roles by the label of `aws_iam_role`, with unknown account and partition.
    roles: HashMap<String, (usize, String)>,
    /// Variables and locals.
    values: Values,
    /// The folder of each file that was read, by its number.
    folders: HashMap<usize, String>,
}

/// A document that stands in a resource.
struct Held {
    place: Place,
    trust: bool,
    facts: RoleFacts,
    policy: Policy,
}

#[derive(Clone)]
struct Place {
    file: usize,
    line: u32,
    subject: String,
    /// Of data: the document.
    document: Option<Node>,
}

impl Files {
    /// Adds a file.
    pub(super) fn read(&mut self, file: usize, source: &Source<'_>, findings: &mut Vec<Finding>) {
        let text = source.text;
        let body = match hcl::edit::parser::parse_body(text) {
            Ok(body) => body,
            Err(error) => {
                let line = u32::try_from(error.location().line()).unwrap_or(u32::MAX);
                let reason = format!("this is not HCL: {}", error.message());
                findings.push(Finding::new(
                    Code::NotAPolicy,
                    file,
                    line,
                    "the file",
                    reason,
                ));
                return;
            }
        };
        let folder = source
            .name
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        self.values.read(folder, &body);
        self.folders.insert(file, folder.to_owned());
        let lines = Lines::of(text);
        for block in body.blocks() {
            let labels: Vec<&str> = block.labels.iter().map(label).collect();
            let (kind, name) = match (block.ident.as_str(), labels.as_slice()) {
                ("resource", [kind, name]) => (*kind, *name),
                ("data", ["aws_iam_policy_document", name]) => {
                    let place = Place {
                        file,
                        line: lines.line(block),
                        subject: format!("data.aws_iam_policy_document.{name}"),
                        document: Some(data_document(&block.body, &lines)),
                    };
                    if block.body.get_blocks("dynamic").next().is_some() {
                        findings.push(not_judged(&place, "a dynamic block"));
                    }
                    self.data.insert((*name).to_owned(), place);
                    continue;
                }
                _ => continue,
            };
            self.resource(file, kind, name, block, &lines);
        }
    }

    fn resource(&mut self, file: usize, kind: &str, name: &str, block: &Block, lines: &Lines) {
        let place = Place {
            file,
            line: lines.line(block),
            subject: format!("{kind}.{name}"),
            document: None,
        };
        let body = &block.body;
        let mut hold = |place: Place, trust, facts, body: &Body, attribute: &str| {
            if let Some(attribute) = body.get_attribute(attribute) {
                self.held.push(Held {
                    place,
                    trust,
                    facts,
                    policy: policy(&attribute.value, lines),
                });
            }
        };
        match kind {
            "aws_iam_role" => {
                let longest = attribute(body, "max_session_duration", lines);
                let facts = RoleFacts {
                    account: None,
                    longest_session: longest.and_then(|node| {
                        Some(Setting {
                            seconds: node.number()?,
                            file,
                            line: node.line,
                        })
                    }),
                };
                hold(place.clone(), true, facts, body, "assume_role_policy");
                for inline in body.get_blocks("inline_policy") {
                    let place = Place {
                        line: lines.line(inline),
                        ..place.clone()
                    };
                    hold(place, false, RoleFacts::default(), &inline.body, "policy");
                }
                let text =
                    |name| attribute(body, name, lines).and_then(|n| n.text().map(str::to_owned));
                if let Some(role) = text("name") {
                    let path = text("path").unwrap_or_else(|| "/".to_owned());
                    self.roles.insert(
                        name.to_owned(),
                        (
                            file,
                            format!("arn:${{partition}}:iam::${{account}}:role{path}{role}"),
                        ),
                    );
                }
            }
            "aws_iam_policy"
            | "aws_iam_role_policy"
            | "aws_iam_user_policy"
            | "aws_iam_group_policy" => {
                hold(place, false, RoleFacts::default(), body, "policy");
            }
            _ => {}
        }
    }

    /// Adds the documents, each once, with references replaced by what they refer to.
    pub(super) fn documents(mut self, documents: &mut Vec<Document>, findings: &mut Vec<Finding>) {
        // What the roles tell of the data that are their trust policies.
        let mut told: HashMap<String, RoleFacts> = HashMap::new();
        for (file, arn) in self.roles.values_mut() {
            *arn = self.values.resolve_text(folder(&self.folders, *file), arn);
        }
        for mut held in std::mem::take(&mut self.held) {
            if let Policy::Unknown(source) = &held.policy
                && let Some(found) = self
                    .values
                    .policy(folder(&self.folders, held.place.file), source)
            {
                held.policy = on_line_of(&held.place, found);
            }
            match held.policy {
                Policy::Document(node) => {
                    documents.push(self.document(
                        &held.place,
                        &node,
                        held.trust,
                        held.facts,
                        findings,
                    ));
                }
                Policy::Data(label) if self.data.contains_key(&label) => {
                    if held.trust {
                        let facts = told.entry(label).or_default();
                        facts.longest_session =
                            facts.longest_session.or(held.facts.longest_session);
                    }
                }
                Policy::Data(label) => findings.push(not_judged(
                    &held.place,
                    &format!("data.aws_iam_policy_document.{label}, which is in none of the files"),
                )),
                Policy::Unknown(source) => findings.push(not_judged(&held.place, &source)),
                Policy::NotJson(error) => findings.push(Finding::new(
                    Code::NotAPolicy,
                    held.place.file,
                    held.place.line,
                    &held.place.subject,
                    format!("its text is not JSON: {error}"),
                )),
            }
        }
        let mut data: Vec<(&String, &Place)> = self.data.iter().collect();
        data.sort_by_key(|(_, place)| (place.file, place.line));
        for (label, place) in data {
            let facts = told.get(label);
            if let Some(node) = &place.document {
                let trust = facts.is_some();
                let facts = facts.cloned().unwrap_or_default();
                documents.push(self.document(place, node, trust, facts, findings));
            }
        }
    }

    fn document(
        &self,
        place: &Place,
        node: &Node,
        trust: bool,
        role: RoleFacts,
        findings: &mut Vec<Finding>,
    ) -> Document {
        let mut node = node.clone();
        let mut unknown = BTreeSet::new();
        self.values
            .resolve(folder(&self.folders, place.file), &mut node, &mut unknown);
        self.resolve(&mut node);
        if !unknown.is_empty() {
            let names: Vec<String> = unknown.into_iter().collect();
            findings.push(Finding::new(
                Code::NotJudged,
                place.file,
                place.line,
                &place.subject,
                format!(
                    "{} has no value in these files: what depends on it cannot be told",
                    names.join(", ")
                ),
            ));
        }
        let statements = statements(&node, place.file, &place.subject, findings);
        let purpose = purpose(trust, &statements);
        Document {
            file: place.file,
            line: place.line,
            subject: place.subject.clone(),
            purpose,
            role: if purpose == Purpose::Trust {
                role
            } else {
                RoleFacts::default()
            },
            statements,
        }
    }

    /// Replaces `${aws_iam_role.LABEL.arn}` by the ARN, as far as it is known.
    fn resolve(&self, node: &mut Node) {
        match &mut node.kind {
            Kind::Text(text) => {
                let label = text
                    .strip_prefix("${aws_iam_role.")
                    .and_then(|rest| rest.strip_suffix(".arn}"));
                if let Some((_, arn)) = label.and_then(|label| self.roles.get(label)) {
                    text.clone_from(arn);
                }
            }
            Kind::List(nodes) => nodes.iter_mut().for_each(|node| self.resolve(node)),
            Kind::Map(entries) => entries.iter_mut().for_each(|(_, node)| self.resolve(node)),
            Kind::Plain(_) => {}
        }
    }
}

/// The folder of a file.
fn folder(folders: &HashMap<usize, String>, file: usize) -> &str {
    folders.get(&file).map_or("", String::as_str)
}

/// A document that is written down elsewhere, with the line of the resource that uses it.
fn on_line_of(place: &Place, policy: Policy) -> Policy {
    match policy {
        Policy::Document(mut node) => {
            super::values::on_line(&mut node, place.line);
            Policy::Document(node)
        }
        other => other,
    }
}

fn not_judged(place: &Place, what: &str) -> Finding {
    Finding::new(
        Code::NotJudged,
        place.file,
        place.line,
        &place.subject,
        format!("its document is made by {what}"),
    )
}

fn label(label: &BlockLabel) -> &str {
    label.as_str()
}

/// The document that a `data "aws_iam_policy_document"` makes, in IAM's own words.
fn data_document(body: &Body, lines: &Lines) -> Node {
    let statements = body
        .get_blocks("statement")
        .map(|block| statement(block, lines))
        .collect();
    Node {
        line: 1,
        kind: Kind::Map(vec![(
            "Statement".to_owned(),
            Node {
                line: 1,
                kind: Kind::List(statements),
            },
        )]),
    }
}

fn statement(block: &Block, lines: &Lines) -> Node {
    let line = lines.line(block);
    let body = &block.body;
    let text = |text: &str| Node {
        line,
        kind: Kind::Text(text.to_owned()),
    };
    let map = |entries| Node {
        line,
        kind: Kind::Map(entries),
    };
    let mut entries = vec![("Effect".to_owned(), text("Allow"))];
    for (theirs, element) in [
        ("sid", "Sid"),
        ("effect", "Effect"),
        ("actions", "Action"),
        ("not_actions", "NotAction"),
        ("resources", "Resource"),
        ("not_resources", "NotResource"),
    ] {
        if let Some(node) = attribute(body, theirs, lines) {
            entries.push((element.to_owned(), node));
        }
    }
    for (theirs, element) in [
        ("principals", "Principal"),
        ("not_principals", "NotPrincipal"),
    ] {
        let kinds: Vec<(String, Node)> = body
            .get_blocks(theirs)
            .filter_map(|block| {
                let kind = attribute(&block.body, "type", lines)?.text()?.to_owned();
                Some((kind, attribute(&block.body, "identifiers", lines)?))
            })
            .collect();
        if kinds.iter().any(|(kind, _)| kind == "*") {
            entries.push((element.to_owned(), text("*")));
        } else if !kinds.is_empty() {
            entries.push((element.to_owned(), map(kinds)));
        }
    }
    let mut conditions: Vec<(String, Node)> = Vec::new();
    for block in body.get_blocks("condition") {
        let get = |name: &str| {
            let value = &block.body.get_attribute(name)?.value;
            Some(node(value, lines))
        };
        let (Some(operator), Some(variable), Some(values)) =
            (get("test"), get("variable"), get("values"))
        else {
            continue;
        };
        let (Some(operator), Some(variable)) = (operator.text(), variable.text()) else {
            continue;
        };
        let entry = (variable.to_owned(), values);
        match conditions.iter_mut().find(|(name, _)| name == operator) {
            Some((
                _,
                Node {
                    kind: Kind::Map(keys),
                    ..
                },
            )) => keys.push(entry),
            _ => conditions.push((operator.to_owned(), map(vec![entry]))),
        }
    }
    if !conditions.is_empty() {
        entries.push(("Condition".to_owned(), map(conditions)));
    }
    map(entries)
}
