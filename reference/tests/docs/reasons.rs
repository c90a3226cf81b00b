//! The codes of refusals that the troubleshooting page names are the code's, and what it quotes of bodies is in the code.

use std::path::Path;

use podiam::reason::Reason;
use regex::Regex;

use crate::markdown::{Page, root, sources};

#[test]
fn every_body_and_reason_of_the_troubleshooting_page_is_the_agents() {
    let page = Page::read(Path::new("docs/troubleshooting.md"));
    let (_, rest) = page.text.split_once("\n## What the body says\n").unwrap();
    let table = rest.split("\n## ").next().unwrap();
    let code = Regex::new("`([^`]+)`").unwrap();
    let source: String = sources("src").into_iter().map(|(_, text)| text).collect();
    // Texts of errors are broken over lines in the source.
    let flat = Regex::new(r"\\?\n\s*")
        .unwrap()
        .replace_all(&source, "")
        .into_owned();
    let mut rows = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        for body in code.captures_iter(cells[0]) {
            assert!(flat.contains(&body[1]), "no answer says {:?}", &body[1]);
        }
        for reason in code.captures_iter(cells[2]) {
            assert!(
                source.contains(&format!("\"{}\"", &reason[1])),
                "no reason {:?}",
                &reason[1]
            );
        }
        rows += 1;
    }
    assert!(rows > 20, "only {rows} rows");
}

#[test]
fn every_reason_of_the_agent_is_on_the_page_by_name_or_by_its_kind() {
    let page = std::fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    // Rows that stand for a family of reasons: "… and others", and what is not known *yet*.
    let families = [
        "malformed-",
        "too-many-",
        "ceiling-",
        "external-id-",
        "namespace-",
        "unknown-",
        "identity-",
        "pod-changed",
    ];
    for facts in Reason::ALL {
        let reason = facts.code;
        let stands = page.contains(&format!("`{reason}`"))
            || families.iter().any(|it| reason.starts_with(it));
        assert!(stands, "docs/troubleshooting.md says nothing of {reason}");
    }
}
