//! docs/logs.md beside the events in the code: every field that is written is described, and every one that is described is
//! written.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::markdown::{Page, sources};

/// Where an event begins.
static EVENT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"tracing::(?:trace|debug|info|warn|error)!\(").unwrap());
/// `field = value`.
static NAMED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^([a-z_][a-z_.]*)\s*=[^=]").unwrap());
/// A variable by whose name the field is called.
static SHORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^[%?]?([a-z_]+)$").unwrap());

/// The fields of the events in a source.
fn fields(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for event in EVENT.find_iter(source) {
        for part in arguments(&source[event.end()..]) {
            let part = part.trim();
            if part.starts_with('"') {
                break;
            }
            if let Some(field) = NAMED.captures(part).or_else(|| SHORT.captures(part)) {
                found.insert(field[1].to_owned());
            }
        }
    }
    found
}

/// The arguments of a macro, from behind its opening parenthesis to its end.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut quoted, mut escaped) = (0, 0, false, false);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        if quoted {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => quoted = true,
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => {
                parts.push(&text[start..at]);
                return parts;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

#[test]
fn the_fields_on_the_page_are_those_in_the_code() {
    let written: BTreeSet<String> = sources("src")
        .iter()
        .filter(|(path, _)| !path.to_string_lossy().contains("tests"))
        .flat_map(|(_, text)| fields(text))
        .collect();
    let page = Page::read(Path::new("docs/logs.md"));
    let described: BTreeSet<String> = page
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .flat_map(|cell| {
            cell.split(", ")
                .map(|it| it.trim_matches(['`', ' ']).to_owned())
        })
        .collect();
    let left: Vec<&String> = written.difference(&described).collect();
    assert!(left.is_empty(), "docs/logs.md does not describe {left:?}");
    let invented: Vec<&String> = described.difference(&written).collect();
    assert!(
        invented.is_empty(),
        "docs/logs.md describes {invented:?}, which nobody writes"
    );
    assert!(written.len() > 20, "{written:?}");
}

#[test]
fn fields_are_found_however_an_event_is_written() {
    let source = r#"tracing::info!(target: "t", a.b = f(x, "c = 1"), %address, count, kind = ?e.kind, "text {x}", y = 1);"#;
    let found: Vec<String> = fields(source).into_iter().collect();
    assert_eq!(found, ["a.b", "address", "count", "kind"]);
}
