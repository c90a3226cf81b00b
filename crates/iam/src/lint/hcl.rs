//! HCL expressions as values with lines. Whatever only Terraform could evaluate stays as the text `${...}`.

use hcl::edit::Span;
use hcl::edit::expr::{Expression, ObjectKey};
use hcl::edit::structure::Body;
use hcl::edit::template::Element;
use serde_json::Value;

use super::node::{Kind, Node, parse_json};

/// Turns byte offsets into lines.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// Those of a text that is not at hand: everything is on its first line.
    pub(super) fn nowhere() -> Self {
        Self(Vec::new())
    }

    /// The line on which something with a place in the text begins, counted from 1.
    pub(super) fn line(&self, thing: &impl Span) -> u32 {
        let start = thing.span().map_or(0, |span| span.start);
        let before = self.0.partition_point(|&newline| newline < start);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }
}

/// A policy as Terraform's attribute holds it.
pub(super) enum Policy {
    /// `jsonencode({...})`, or a text of JSON.
    Document(Node),
    /// `data.aws_iam_policy_document.LABEL.json`: the label.
    Data(String),
    /// What only Terraform can evaluate.
    Unknown(String),
    /// A text that is not JSON, and why.
    NotJson(String),
}

/// Reads what stands after `policy =` or `assume_role_policy =`.
pub(super) fn policy(expression: &Expression, lines: &Lines) -> Policy {
    let line = lines.line(expression);
    match expression {
        Expression::Parenthesis(inner) => policy(inner.inner(), lines),
        Expression::FuncCall(call) if call.name.name.as_str() == "jsonencode" => {
            match call.args.iter().next() {
                Some(argument) => Policy::Document(node(argument, lines)),
                None => Policy::Unknown(source(expression)),
            }
        }
        Expression::String(text) => from_text(text, line),
        Expression::StringTemplate(template) => {
            let text = template_text(template.iter());
            data_label(text.trim_start_matches("${").trim_end_matches('}'))
                .map_or_else(|| from_text(&text, line), Policy::Data)
        }
        // The text begins on the line after `<<EOF`.
        Expression::HeredocTemplate(heredoc) => {
            from_text(&template_text(heredoc.template.iter()), line + 1)
        }
        other => {
            let source = source(other);
            data_label(&source).map_or(Policy::Unknown(source), Policy::Data)
        }
    }
}

fn from_text(text: &str, line: u32) -> Policy {
    match parse_json(text, line) {
        Ok(node) => Policy::Document(node),
        Err(error) => Policy::NotJson(error.to_string()),
    }
}

fn data_label(source: &str) -> Option<String> {
    let label = source
        .strip_prefix("data.aws_iam_policy_document.")?
        .strip_suffix(".json")?;
    Some(label.to_owned())
}

/// The value of an expression.
pub(super) fn node(expression: &Expression, lines: &Lines) -> Node {
    let kind = match expression {
        Expression::Parenthesis(inner) => return node(inner.inner(), lines),
        Expression::Null(_) => Kind::Plain(Value::Null),
        Expression::Bool(value) => Kind::Plain(Value::Bool(*value.value())),
        Expression::Number(value) => Kind::Plain(
            value
                .value()
                .as_u64()
                .map_or_else(|| Value::String(value.value().to_string()), Value::from),
        ),
        Expression::String(text) => Kind::Text(text.value().clone()),
        Expression::StringTemplate(template) => Kind::Text(template_text(template.iter())),
        Expression::HeredocTemplate(heredoc) => Kind::Text(template_text(heredoc.template.iter())),
        Expression::Array(items) => {
            Kind::List(items.iter().map(|item| node(item, lines)).collect())
        }
        Expression::Object(object) => Kind::Map(
            object
                .iter()
                .map(|(key, value)| (object_key(key, lines), node(value.expr(), lines)))
                .collect(),
        ),
        other => Kind::Text(format!("${{{}}}", source(other))),
    };
    Node {
        line: lines.line(expression),
        kind,
    }
}

fn object_key(key: &ObjectKey, lines: &Lines) -> String {
    match key {
        ObjectKey::Ident(name) => name.to_string().trim().to_owned(),
        ObjectKey::Expression(expression) => match node(expression, lines).kind {
            // A bare word in place of a key is its own name.
            Kind::Text(text) => text
                .strip_prefix("${")
                .and_then(|inner| inner.strip_suffix('}'))
                .map_or_else(|| text.clone(), str::to_owned),
            _ => source(expression),
        },
    }
}

fn template_text<'a>(elements: impl Iterator<Item = &'a Element>) -> String {
    elements
        .map(|element| match element {
            Element::Literal(text) => text.value().clone(),
            Element::Interpolation(interpolation) => {
                format!("${{{}}}", source(&interpolation.expr))
            }
            Element::Directive(_) => "${%}".to_owned(),
        })
        .collect()
}

/// An expression as it was written, on one line.
pub(super) fn source(expression: &Expression) -> String {
    let text = expression.to_string();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The value of an attribute.
pub(super) fn attribute(body: &Body, name: &str, lines: &Lines) -> Option<Node> {
    body.get_attribute(name)
        .map(|attribute| node(&attribute.value, lines))
}
