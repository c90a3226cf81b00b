//! A value as JSON or HCL wrote it, with its line: the one shape in which documents reach the rules, whatever the file.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

/// A value and the line on which it begins, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: u32,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// null, true, 3.
    Plain(Value),
    /// What could not be evaluated stands in it as `${...}`.
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value of a key, if this is a map that has it. Of a key that is there twice, the last, as JSON readers do.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Kind::Map(entries) = &self.kind else {
            return None;
        };
        entries
            .iter()
            .rev()
            .find(|(name, _)| name == key)
            .map(|(_, node)| node)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number, or a text that is one.
    pub(super) fn number(&self) -> Option<u64> {
        match &self.kind {
            Kind::Plain(value) => value.as_u64(),
            Kind::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The value without lines.
    pub(super) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Plain(value) => value.clone(),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(nodes) => nodes.iter().map(Node::to_json).collect(),
            Kind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, node)| (key.clone(), node.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

/// Reads JSON whose first line is line `first` of its file.
pub(super) fn parse_json(text: &str, first: u32) -> Result<Node, serde_json::Error> {
    let mut node: Node = serde_json::from_str(text)?;
    number(&mut node, &mut lines(text, first).into_iter());
    Ok(node)
}

/// Gives every node its line, in the order in which their first characters stand in the text.
fn number(node: &mut Node, lines: &mut impl Iterator<Item = u32>) {
    node.line = lines.next().unwrap_or_default();
    match &mut node.kind {
        Kind::List(nodes) => nodes.iter_mut().for_each(|node| number(node, lines)),
        Kind::Map(entries) => entries.iter_mut().for_each(|(_, node)| number(node, lines)),
        Kind::Plain(_) | Kind::Text(_) => {}
    }
}

/// The line of every value in a text that is known to be JSON.
fn lines(text: &str, first: u32) -> Vec<u32> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, first);
    while let Some(&byte) = bytes.get(at) {
        let mut end = at + 1;
        match byte {
            b'\n' => line += 1,
            b'{' | b'[' => found.push(line),
            b'"' => {
                while let Some(&byte) = bytes.get(end).filter(|&&byte| byte != b'"') {
                    end += if byte == b'\\' { 2 } else { 1 };
                }
                end += 1;
                let after = bytes[end.min(bytes.len())..].trim_ascii_start();
                if after.first() != Some(&b':') {
                    found.push(line);
                }
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                found.push(line);
                while bytes
                    .get(end)
                    .is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
                {
                    end += 1;
                }
            }
            _ => {}
        }
        at = end;
    }
    found
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kind = deserializer.deserialize_any(KindVisitor)?;
        Ok(Self { line: 0, kind })
    }
}

/// Keeps the order of keys, which `serde_json`'s own map does not.
struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Plain(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Plain(
            Number::from_f64(value).map_or(Value::Null, Value::Number),
        ))
    }

    fn visit_str<E>(self, text: &str) -> Result<Kind, E> {
        Ok(Kind::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Kind, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = values.next_element()? {
            nodes.push(node);
        }
        Ok(Kind::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Kind::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line_however_the_text_is_laid_out() {
        let text = "\n{ \"a\" :\n [1, -2.5e+3,\n \"x\\\"y: \\\\\", \"\n\"],\n\"b\\\"\": {\"c\": null,\n\"d\":true}}"
            .replace("\"\n\"", "\"z\"");
        let node = parse_json(&text, 10).unwrap();
        let a = node.get("a").unwrap();
        let Kind::List(items) = &a.kind else { panic!() };
        let b = node.get("b\"").unwrap();
        assert_eq!(node.line, 11);
        assert_eq!(a.line, 12);
        assert_eq!(
            items.iter().map(|n| n.line).collect::<Vec<_>>(),
            [12, 12, 13, 13]
        );
        assert_eq!(b.line, 14);
        assert_eq!(b.get("d").unwrap().line, 15);
        assert_eq!(
            node.to_json(),
            serde_json::from_str::<Value>(&text).unwrap()
        );
    }
}
