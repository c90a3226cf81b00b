//! Lint's SARIF against the schema of SARIF 2.1.0, which the crate serde-sarif carries, by Python's jsonschema; and by the
//! crate's own types, which are made from it.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use serde_sarif::sarif::Sarif;

use crate::podiam;
use crate::support::parts::{Part, program};

/// Fails with every place that the schema does not allow. Formats (of URIs) are checked too.
const CHECK: &str = r#"
import json, sys, jsonschema
schema, report = (json.load(open(name)) for name in sys.argv[1:])
validator = jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker())
errors = [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(report)]
sys.exit("\n".join(errors) or None)
"#;

/// The schema, in the sources of the crate that Cargo.lock pins.
fn schema() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["name"] == "serde-sarif")
        .unwrap();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    manifest.parent().unwrap().join("src/schema.json")
}

/// What the schema says against a report: nothing, or a line for each place.
fn judged(report: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), report).unwrap();
    let output = Command::new(program(Part::Python))
        .args(["-c", CHECK])
        .arg(schema())
        .arg(file.path())
        .output()
        .unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn every_report_is_sarif_as_the_schema_has_it() {
    for (files, results) in [
        (
            vec!["examples/iam/tutorial.tf", "examples/iam/scoped.tf"],
            true,
        ),
        (vec!["deploy/terraform/modules/node-policy/main.tf"], false),
        (vec!["-"], true),
    ] {
        let words: Vec<&str> = ["lint", "--format=sarif"]
            .into_iter()
            .chain(files)
            .collect();
        let (_, report) = podiam(&words, "{");
        assert_eq!(judged(&report), "", "{words:?}");
        let sarif: Sarif = serde_json::from_str(&report).unwrap();
        let found = sarif.runs[0].results.as_ref().unwrap();
        if results {
            assert!(!found.is_empty(), "{words:?}");
        }
    }
}

#[test]
fn the_schema_finds_what_is_wrong() {
    let (_, report) = podiam(&["lint", "--format=sarif", "examples/iam/tutorial.tf"], "");
    for (from, to) in [
        (r#""startLine": "#, r#""startLine": -"#),
        (r#""level": "error""#, r#""level": "bad""#),
        (r#""version": "2.1.0""#, r#""version": "2.0.0""#),
        (r#""ruleId""#, r#""rule""#),
    ] {
        assert!(report.contains(from), "{from}");
        assert_ne!(judged(&report.replacen(from, to, 1)), "", "{from}");
    }
}
