//! Objects and chart values out of the texts of files: YAML or JSON, several documents to a file, lists taken apart.
//!
//! Unlike the agent's reader (`watch`), which keeps the little that it needs of pods, this one keeps whole objects: what
//! is looked for stands in containers' arguments and in the templates of controllers.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_saphyr::Options;
use thiserror::Error;

/// Why something cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A file or folder.
    #[error("{0:?} cannot be read")]
    Unreadable(PathBuf, #[source] io::Error),
    /// A document in it.
    #[error("{file}, document {document}: not YAML: {problem}")]
    Syntax {
        /// The file.
        file: String,
        /// Counted from 1.
        document: usize,
        /// One line.
        problem: String,
    },
}

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Kubernetes objects, each with the file, or the request, that it came from.
    pub objects: Vec<(String, Value)>,
    /// Documents that are no Kubernetes objects: chart values, perhaps.
    pub values: Vec<(String, Value)>,
    /// Files that looked like templates of a chart.
    pub templates: Vec<String>,
}

impl Input {
    /// Adds a file, or every `*.yaml`, `*.yml` and `*.json` file of a folder and its subfolders.
    pub fn add_path(&mut self, path: &Path) -> Result<(), ReadError> {
        let unreadable = |source| ReadError::Unreadable(path.to_owned(), source);
        if !path.is_dir() {
            let text = std::fs::read_to_string(path).map_err(unreadable)?;
            return self.add_text(&path.display().to_string(), &text);
        }
        let mut entries = std::fs::read_dir(path)
            .and_then(|entries| {
                entries
                    .map(|entry| Ok(entry?.path()))
                    .collect::<io::Result<Vec<_>>>()
            })
            .map_err(unreadable)?;
        entries.sort();
        for entry in entries {
            if is_hidden(&entry) {
                continue;
            }
            if entry.is_dir() || is_manifest(&entry) {
                self.add_path(&entry)?;
            }
        }
        Ok(())
    }

    /// Adds the documents of a text.
    pub fn add_text(&mut self, file: &str, text: &str) -> Result<(), ReadError> {
        // A chart's template is no YAML before Helm has rendered it.
        if text.contains("{{") && text.contains(".Values") {
            self.templates.push(file.to_owned());
            return Ok(());
        }
        let options: Options = serde_saphyr::options! { budget: None, with_snippet: false };
        let mut bytes = text.as_bytes();
        let documents = serde_saphyr::read_with_options::<_, Value>(&mut bytes, options);
        for (document, read) in (1..).zip(documents) {
            let value = read.map_err(|error| ReadError::Syntax {
                file: file.to_owned(),
                document,
                problem: error
                    .to_string()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            })?;
            self.add(file, value);
        }
        Ok(())
    }

    /// Adds a document, or each item of a list. An item of a `PodList` need not say that it is a pod.
    pub fn add(&mut self, place: &str, mut document: Value) {
        let kind = document["kind"].as_str().map(str::to_owned);
        let Some(kind) = kind else {
            if document.is_object() {
                self.values.push((place.to_owned(), document));
            }
            return;
        };
        let items = document.get_mut("items").map(Value::take);
        match (kind.strip_suffix("List"), items) {
            (Some(of), Some(Value::Array(items))) => {
                for mut item in items {
                    if item["kind"].is_null() && !of.is_empty() && item.is_object() {
                        item["kind"] = of.into();
                    }
                    self.add(place, item);
                }
            }
            _ => self.objects.push((place.to_owned(), document)),
        }
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_taken_apart_and_what_has_no_kind_is_values() {
        let mut input = Input::default();
        let text = "
kind: PodList
items:
- metadata: {name: a}
- {kind: Pod, metadata: {name: b}}
---
kind: List
items: [{kind: Namespace, metadata: {name: c}}]
---
host: {iptables: true}
---
";
        input.add_text("x.yaml", text).unwrap();
        let kinds: Vec<_> = input
            .objects
            .iter()
            .map(|(_, object)| object["kind"].clone())
            .collect();
        assert_eq!(kinds, ["Pod", "Pod", "Namespace"]);
        assert_eq!(input.values.len(), 1);
    }

    #[test]
    fn a_charts_template_is_left_out_and_a_bad_file_is_named() {
        let mut input = Input::default();
        input
            .add_text("t.yaml", "args: {{ .Values.extraArgs }}")
            .unwrap();
        assert_eq!(input.templates, ["t.yaml"]);
        let error = input.add_text("bad.yaml", "a: [1").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("bad.yaml, document 1: not YAML: "),
            "{error}"
        );
    }
}
