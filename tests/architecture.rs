//! The shape of the code: modules use only modules above them, the documentation tells the same order, and what must not
//! be linked into the agent is not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules in the order in which `lib.rs` declares them.
fn declared_order(lib: &str) -> Vec<String> {
    let declarations = lib.lines().filter_map(|line| {
        line.strip_prefix("pub mod ")
            .or_else(|| line.strip_prefix("mod "))
    });
    declarations
        .filter_map(|rest| rest.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// The modules in the order in which ARCHITECTURE.md lists them: the rows or items of its section "Modules" that open
/// with a module's name in backticks.
fn documented_order(architecture: &str) -> Vec<String> {
    let section = architecture
        .lines()
        .skip_while(|line| !(line.starts_with('#') && line.contains("Modules")))
        .skip(1);
    let lines = section.take_while(|line| !line.starts_with('#'));
    let names = lines.filter_map(|line| {
        let item = line.trim_start_matches(|c: char| c.is_ascii_digit() || "|-*. ".contains(c));
        (item.len() < line.len())
            .then(|| item.strip_prefix('`')?.split('`').next())
            .flatten()
    });
    names
        .map(|name| name.trim_end_matches('/').to_owned())
        .collect()
}

/// Every use of a module that does not stand above the one that uses it. `files` holds the sources below `src/`, each
/// with its path there.
fn violations(order: &[String], files: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let rank: BTreeMap<&str, usize> = order
        .iter()
        .enumerate()
        .map(|(rank, name)| (name.as_str(), rank))
        .collect();
    let mut found = Vec::new();
    for (path, source) in files {
        let module = module_path(path);
        let Some(own) = module.first() else { continue };
        let Some(own_rank) = rank.get(own.as_str()) else {
            found.push(format!(
                "{}: {own} is not declared in lib.rs",
                path.display()
            ));
            continue;
        };
        for used in used_modules(source, module.len()) {
            match rank.get(used.as_str()) {
                Some(used_rank) if used_rank > own_rank => {
                    found.push(format!(
                        "{}: {own} uses {used}, which stands below it",
                        path.display()
                    ));
                }
                _ => {}
            }
        }
    }
    found
}

/// `imds/route.rs` is [imds, route], `config/mod.rs` is [config]; `lib.rs` and `main.rs` are no module.
fn module_path(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    if parts == ["lib"] || parts == ["main"] {
        Vec::new()
    } else {
        parts
    }
}

/// The first name of every path that starts at the crate's root: `crate::a`, `crate::{a, b::c}`, and as many `super::` as
/// lead there from a module `depth` levels down.
fn used_modules(source: &str, depth: usize) -> Vec<String> {
    let code: String = source
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let up = "super::".repeat(depth);
    let mut used = Vec::new();
    for prefix in ["crate::", up.as_str()] {
        for (at, _) in code.match_indices(prefix) {
            let before = &code[..at];
            let whole_path = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                && !before.ends_with("super::");
            if whole_path {
                // A module of tests inside the file is one level further down.
                heads(
                    code[at + prefix.len()..].trim_start_matches("super::"),
                    &mut used,
                );
            }
        }
    }
    used
}

/// The first names of a path or of each path in a brace group.
fn heads(rest: &str, used: &mut Vec<String>) {
    let Some(group) = rest.strip_prefix('{') else {
        used.push(
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect(),
        );
        return;
    };
    let mut depth = 0;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads(group[start..at].trim(), used);
                start = at + 1;
                if c == '}' {
                    return;
                }
            }
            _ => {}
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(folder: &Path, below: &Path, files: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, below, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.insert(path.strip_prefix(below).unwrap().to_owned(), read(&path));
        }
    }
}

#[test]
fn modules_use_only_modules_above_them() {
    let src = root().join("src");
    let mut files = BTreeMap::new();
    sources(&src, &src, &mut files);
    let order = declared_order(&files[Path::new("lib.rs")]);
    assert!(order.len() > 3, "lib.rs declares {order:?}");
    let found = violations(&order, &files);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_architecture_document_lists_the_modules_in_their_order() {
    let declared = declared_order(&read(&root().join("src/lib.rs")));
    assert_eq!(
        documented_order(&read(&root().join("ARCHITECTURE.md"))),
        declared
    );
}

#[test]
fn a_use_of_a_lower_module_is_found_however_it_is_written() {
    let order = declared_order("//! docs\n\npub mod top;\npub mod middle;\nmod bottom;\n");
    assert_eq!(order, ["top", "middle", "bottom"]);
    let found = |path: &str, source: &str| {
        violations(
            &order,
            &BTreeMap::from([(PathBuf::from(path), source.to_owned())]),
        )
        .len()
    };
    for (path, source) in [
        ("middle.rs", "use crate::bottom::Thing;"),
        ("middle.rs", "fn f() { crate::bottom::run() }"),
        ("middle.rs", "use crate::{top::{A, B}, bottom};"),
        ("middle.rs", "use super::bottom;"),
        ("middle/mod.rs", "use crate::bottom as b;"),
        ("middle/inner.rs", "use super::super::bottom::X;"),
        ("middle/inner.rs", "pub use crate::{\n    bottom::X,\n};"),
        ("middle.rs", "mod tests { use super::super::bottom; }"),
        ("stray.rs", ""),
    ] {
        assert_eq!(found(path, source), 1, "{path}: {source}");
    }
    for (path, source) in [
        (
            "middle.rs",
            "use crate::top::Thing; use crate::middle::Own;",
        ),
        ("middle.rs", "//! [`crate::bottom`] uses this\n"),
        (
            "middle/inner.rs",
            "use super::bottom_half; use other_crate::bottom;",
        ),
        ("bottom.rs", "use crate::{top, middle};"),
        ("lib.rs", "use crate::bottom;"),
    ] {
        assert_eq!(found(path, source), 0, "{path}: {source}");
    }
}

#[test]
fn the_documented_order_is_read_from_tables_and_lists() {
    let table = "# A\n| `x` | y |\n## Modules\n\n| module | owns |\n|---|---|\n| `clock` | time |\n| `imds/` | pods |\n## Next\n- `z`\n";
    assert_eq!(documented_order(table), ["clock", "imds"]);
    assert_eq!(
        documented_order("## Modules\n1. `a`: first\n2. `b`\n"),
        ["a", "b"]
    );
}

#[test]
fn the_agent_links_neither_the_lab_nor_a_second_tls_stack() {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args([
            "tree",
            "--locked",
            "--package",
            "podiam",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{lib}",
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).unwrap();
    let linked = |name: &str| {
        tree.lines()
            .any(|line| line.split_whitespace().next() == Some(name))
    };
    assert!(
        linked("rustls") && linked("ring"),
        "not a tree of the agent:\n{tree}"
    );
    for banned in [
        "podiam_lab",
        "openssl",
        "openssl_sys",
        "native_tls",
        "aws_lc_rs",
        "aws_lc_sys",
        "serde_yaml",
    ] {
        assert!(!linked(banned), "{banned} is linked into the agent");
    }
}
