//! The variables and locals of Terraform's modules, as far as files tell: `var.x` is its default, `local.x` its
//! expression. A folder is a module, so names are looked up in the folder of whoever uses them. A caller of the module
//! or a `.tfvars` file may set a variable otherwise: what is judged is the default. One without a default stays `${var.x}`.

use std::collections::{BTreeSet, HashMap};

use hcl::edit::expr::Expression;
use hcl::edit::structure::Body;

use super::hcl::{Lines, Policy, node, policy};
use super::node::{Kind, Node};

/// How far definitions are followed; Terraform allows no circle, but a file may have one.
const DEPTH: usize = 16;

/// What is defined, by folder and name (`var.x`, `local.x`).
#[derive(Default)]
pub(super) struct Values(HashMap<(String, String), Expression>);

impl Values {
    /// Adds what a file defines.
    pub(super) fn read(&mut self, folder: &str, body: &Body) {
        for block in body.blocks() {
            match (block.ident.as_str(), block.labels.as_slice()) {
                ("variable", [name]) => {
                    if let Some(default) = block.body.get_attribute("default") {
                        self.define(folder, format!("var.{}", name.as_str()), &default.value);
                    }
                }
                ("locals", []) => {
                    for local in block.body.attributes() {
                        self.define(
                            folder,
                            format!("local.{}", local.key.as_str()),
                            &local.value,
                        );
                    }
                }
                _ => {}
            }
        }
    }

    fn define(&mut self, folder: &str, name: String, value: &Expression) {
        self.0.insert((folder.to_owned(), name), value.clone());
    }

    /// The document that a reference stands for. `None`: it is no reference, or it has no value.
    pub(super) fn policy(&self, folder: &str, source: &str) -> Option<Policy> {
        let mut source = source.to_owned();
        for _ in 0..DEPTH {
            let definition = self.0.get(&(folder.to_owned(), source.clone()))?;
            match policy(definition, &Lines::nowhere()) {
                Policy::Unknown(next) if is_reference(&next) => source = next,
                found => return Some(found),
            }
        }
        None
    }

    /// Replaces references by their values, on the lines where they are used; `unknown` learns of those without one.
    pub(super) fn resolve(&self, folder: &str, node: &mut Node, unknown: &mut BTreeSet<String>) {
        self.replace(folder, node, unknown, 0);
    }

    /// The same for a text that should stay one.
    pub(super) fn resolve_text(&self, folder: &str, text: &str) -> String {
        let mut node = Node {
            line: 0,
            kind: Kind::Text(text.to_owned()),
        };
        self.resolve(folder, &mut node, &mut BTreeSet::new());
        node.text().unwrap_or(text).to_owned()
    }

    fn replace(&self, folder: &str, at: &mut Node, unknown: &mut BTreeSet<String>, depth: usize) {
        match &mut at.kind {
            Kind::Text(text) => {
                if let Some(kind) = self.text(folder, text, unknown, depth) {
                    at.kind = kind;
                    let line = at.line;
                    on_line(at, line);
                }
            }
            Kind::List(nodes) => {
                for node in nodes {
                    self.replace(folder, node, unknown, depth);
                }
            }
            Kind::Map(entries) => {
                for (_, node) in entries {
                    self.replace(folder, node, unknown, depth);
                }
            }
            Kind::Plain(_) => {}
        }
    }

    /// What a text is with its references replaced. `None`: it has none.
    fn text(
        &self,
        folder: &str,
        text: &str,
        unknown: &mut BTreeSet<String>,
        depth: usize,
    ) -> Option<Kind> {
        let mut out = String::new();
        let mut rest = text;
        let mut found = false;
        while let Some((before, name, after)) = next_reference(rest) {
            found = true;
            let value = self.value(folder, name, unknown, depth);
            if before.is_empty() && out.is_empty() && after.is_empty() {
                return value.map(|node| node.kind);
            }
            out.push_str(before);
            match value.map(|node| node.kind) {
                Some(Kind::Text(value)) => out.push_str(&value),
                Some(Kind::Plain(value)) => out.push_str(&value.to_string()),
                // Of lists and maps Terraform makes no text.
                _ => {
                    out.push_str("${");
                    out.push_str(name);
                    out.push('}');
                }
            }
            rest = after;
        }
        found.then(|| Kind::Text(out + rest))
    }

    /// The value of `var.x`, `local.x` or, below it, `local.x.key`.
    fn value(
        &self,
        folder: &str,
        name: &str,
        unknown: &mut BTreeSet<String>,
        depth: usize,
    ) -> Option<Node> {
        let mut parts = name.split('.');
        let root = format!("{}.{}", parts.next()?, parts.next()?);
        let definition = self.0.get(&(folder.to_owned(), root.clone()));
        let value = definition.filter(|_| depth < DEPTH).and_then(|definition| {
            let mut value = node(definition, &Lines::nowhere());
            self.replace(folder, &mut value, unknown, depth + 1);
            parts.try_fold(value, |value, key| value.get(key).cloned())
        });
        if value.is_none() {
            unknown.insert(root);
        }
        value
    }
}

/// The first `${var.…}` or `${local.…}` of a text: what stands before it, the name, and what stands after.
fn next_reference(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(start) = text[from..].find("${").map(|at| from + at) {
        let inner = &text[start + 2..];
        let end = inner.find('}')?;
        if is_reference(&inner[..end]) {
            return Some((&text[..start], &inner[..end], &inner[end + 1..]));
        }
        from = start + 2;
    }
    None
}

/// Names and dots alone, from `var` or `local`.
fn is_reference(text: &str) -> bool {
    let name = text
        .strip_prefix("var.")
        .or_else(|| text.strip_prefix("local."));
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    name.is_some_and(|name| !name.is_empty() && name.chars().all(legal))
}

/// Puts a value and all in it on one line.
pub(super) fn on_line(node: &mut Node, line: u32) {
    node.line = line;
    match &mut node.kind {
        Kind::List(nodes) => nodes.iter_mut().for_each(|node| on_line(node, line)),
        Kind::Map(entries) => entries.iter_mut().for_each(|(_, node)| on_line(node, line)),
        Kind::Text(_) | Kind::Plain(_) => {}
    }
}
