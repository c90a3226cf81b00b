//! Whether everything that bears podiam's version bears the same, and what the changelog says of it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The changelog's section for `version`, if everything agrees; else every disagreement in one error.
pub(super) fn check(root: &Path, version: &str, unreleased: bool) -> Result<String> {
    let mut problems = Vec::new();
    for (file, before, after) in [
        // The crates that podiam is published with.
        (
            "Cargo.toml",
            "podiam-iam = { path = \"crates/iam\", version = \"",
            "\"",
        ),
        (
            "Cargo.toml",
            "podiam-intercept = { path = \"crates/intercept\", version = \"",
            "\"",
        ),
        ("deploy/helm/podiam/Chart.yaml", "\nversion: ", "\n"),
        ("deploy/helm/podiam/Chart.yaml", "\nappVersion: \"", "\""),
        ("deploy/kubernetes/podiam.yaml", "image: \"podiam:", "\""),
    ] {
        let text =
            fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))?;
        let said: Vec<&str> = text
            .split(before)
            .skip(1)
            .filter_map(|rest| rest.split(after).next())
            .collect();
        if said.is_empty() {
            problems.push(format!("{file}: nothing follows {before:?}"));
        }
        for other in said.into_iter().filter(|other| *other != version) {
            let place = before.trim();
            problems.push(format!(
                "{file}: {place} {other}, where Cargo.toml has {version}"
            ));
        }
    }
    let title = if unreleased { "Unreleased" } else { version };
    let changelog =
        fs::read_to_string(root.join("CHANGELOG.md")).context("cannot read CHANGELOG.md")?;
    let notes = section(&changelog, title);
    if notes.is_none() {
        problems.push(format!(
            "CHANGELOG.md: no section \"## {title}\" with a text (for a rehearsal: --unreleased)"
        ));
    }
    if !problems.is_empty() {
        bail!("the versions do not agree:\n  {}", problems.join("\n  "));
    }
    Ok(notes.unwrap_or_default())
}

/// What stands below a heading of the second level; `None` where that is nothing.
fn section(changelog: &str, title: &str) -> Option<String> {
    let is_title = |line: &&str| {
        let heading = line.strip_prefix("## ").unwrap_or_default();
        heading == title || heading.starts_with(&format!("{title} - "))
    };
    let mut lines = changelog.lines().skip_while(|line| !is_title(line));
    lines.next()?;
    let body: Vec<&str> = lines.take_while(|line| !line.starts_with("## ")).collect();
    let body = body.join("\n").trim().to_owned();
    (!body.is_empty()).then(|| body + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-12-01\n\n### Added\n\n- A.\n\n## 1.2.30\n\n- B.\n";

    #[test]
    fn a_section_is_that_of_its_version_and_of_no_longer_one() {
        assert_eq!(section(CHANGELOG, "1.2.3").unwrap(), "### Added\n\n- A.\n");
        assert_eq!(section(CHANGELOG, "1.2.30").unwrap(), "- B.\n");
        assert_eq!(section(CHANGELOG, "Unreleased"), None);
        assert_eq!(section(CHANGELOG, "1.2"), None);
    }

    #[test]
    fn this_tree_agrees_with_itself() {
        check(crate::workspace(), env!("CARGO_PKG_VERSION"), true).unwrap();
    }

    #[test]
    fn every_place_with_another_version_is_named_at_once() {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "Cargo.toml",
            "CHANGELOG.md",
            "deploy/helm/podiam/Chart.yaml",
            "deploy/kubernetes/podiam.yaml",
        ] {
            let to = root.path().join(file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(crate::workspace().join(file), to).unwrap();
        }
        let error = check(root.path(), "99.0.0", false).unwrap_err().to_string();
        for place in [
            "Cargo.toml: podiam-iam",
            "Cargo.toml: podiam-intercept",
            "Chart.yaml: version:",
            "Chart.yaml: appVersion:",
            "podiam.yaml: image:",
            "no section \"## 99.0.0\"",
        ] {
            assert!(error.contains(place), "{place}: {error}");
        }
    }
}
