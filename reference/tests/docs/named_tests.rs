//! Tests that pages name as a proof exist: `file: name` wherever it stands, and the last column of README's table.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::markdown::{Page, pages, root, sources};

/// A test function, below its attributes.
static ATTRIBUTE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"#\[(?:tokio::)?test[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)").unwrap()
});
/// A function inside a macro: proptest's have an attribute of their own.
static INDENTED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^\s+(?:async )?fn (\w+)\(").unwrap());

/// The names of the test functions in a source.
fn tests_of(source: &str) -> BTreeSet<&str> {
    let names = |regex: &Regex| -> Vec<&str> {
        let found = regex.captures_iter(source);
        found.filter_map(|it| Some(it.get(1)?.as_str())).collect()
    };
    let mut found: BTreeSet<&str> = names(&ATTRIBUTE).into_iter().collect();
    if source.contains("proptest!") {
        found.extend(names(&INDENTED));
    }
    found
}

/// What of the proofs that a page names is none.
fn missing(page: &Page) -> (usize, Vec<String>) {
    let proof = Regex::new(r"^([\w/]+\.rs): (\w+)$").unwrap();
    let mut missing = Vec::new();
    let mut count = 0;
    for code in &page.codes {
        let Some(proof) = proof.captures(code) else {
            continue;
        };
        count += 1;
        let source = std::fs::read_to_string(root().join(&proof[1])).unwrap_or_default();
        if !tests_of(&source).contains(&proof[2]) {
            missing.push(format!("{}: {code}", page.path.display()));
        }
    }
    (count, missing)
}

#[test]
fn every_test_that_is_named_with_its_file_exists() {
    let (mut count, mut all) = (0, Vec::new());
    for page in pages() {
        let (named, missing) = missing(&page);
        count += named;
        all.extend(missing);
    }
    assert!(all.is_empty(), "{all:#?}");
    assert!(count > 40, "only {count} proofs are found");
}

#[test]
fn every_test_in_the_comparison_with_kube2iam_exists() {
    let folders = ["src", "tests", "crates", "simulation"];
    let sources: Vec<String> = folders
        .iter()
        .flat_map(|it| sources(it))
        .map(|(_, text)| text)
        .collect();
    let all: BTreeSet<&str> = sources.iter().flat_map(|text| tests_of(text)).collect();
    let readme = Page::read(std::path::Path::new("README.md"));
    let sentence = Regex::new(r"^[a-z0-9]+(_[a-z0-9]+){4,}$").unwrap();
    let named: Vec<&String> = readme
        .codes
        .iter()
        .filter(|code| sentence.is_match(code))
        .collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(
            all.contains(name.as_str()),
            "README.md names the test {name}, which does not exist"
        );
    }
}

#[test]
fn a_proof_that_is_none_is_found() {
    let text = "`reference/tests/docs/named_tests.rs: a_proof_that_is_none_is_found`, `src/main.rs: no_such_test`";
    let page = Page::parse(std::path::Path::new("docs/x.md"), text.to_owned());
    let (count, missing) = missing(&page);
    assert_eq!(count, 2);
    assert_eq!(missing, ["docs/x.md: src/main.rs: no_such_test"]);
}
