//! What `podiam migrate` finds and advises, as data: written as Markdown (`text`) or as JSON. Nothing is decided here.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::inventory::Origin;
use super::leave::Leave;

/// Everything that is told.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What is migrated from.
    pub from: Origin,
    /// Where it was found, and what was read.
    pub found: Vec<String>,
    /// What goes on working as it is.
    pub unchanged: Vec<String>,
    /// What is different afterwards.
    pub changes: Vec<Change>,
    /// What the pods' roles are, before and after.
    pub workloads: Vec<Judged>,
    /// Values of podiam's chart.
    pub values: Value,
    /// What to do, in order.
    pub plan: Vec<Step>,
    /// The way out, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leave: Option<Leave>,
}

/// Something that is different afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Whether a pod would lose its role, or podiam not start, unless something is done first.
    pub first: bool,
    /// Which flag, annotation or object.
    pub about: String,
    /// What is different.
    pub says: String,
    /// What to do about it; empty where nothing need be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub todo: String,
}

impl Change {
    /// Something to know of.
    pub(super) fn note(about: impl Into<String>, says: impl Into<String>) -> Self {
        Self {
            first: false,
            about: about.into(),
            says: says.into(),
            todo: String::new(),
        }
    }

    /// Something to do before the migration.
    pub(super) fn first(
        about: impl Into<String>,
        says: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        Self {
            first: true,
            todo: todo.into(),
            ..Self::note(about, says)
        }
    }

    /// The same, with what may be done about it.
    #[must_use]
    pub(super) fn unless(mut self, todo: impl Into<String>) -> Self {
        self.todo = todo.into();
        self
    }
}

/// A workload, and what podiam will give it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// Kind, namespace and name.
    pub workload: String,
    /// The annotation, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks_for: Option<String>,
    /// The role that podiam will give it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Why it will have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A step of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// In a few words.
    pub title: String,
    /// Why it comes here, and what is true while it lasts.
    pub why: String,
    /// What to run.
    pub commands: Vec<String>,
    /// What to look at afterwards.
    pub check: Vec<String>,
    /// How to go back to before it.
    pub back: Vec<String>,
}

impl Report {
    /// Whether there is something to do before the migration.
    pub fn needs_work(&self) -> bool {
        self.changes.iter().any(|change| change.first)
            || self
                .leave
                .as_ref()
                .is_some_and(|leave| !leave.conflicts.is_empty())
    }

    /// The values as YAML, as a file for Helm.
    pub fn values_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        serde_saphyr::to_string(&self.values)
    }

    /// Markdown, which reads as plain text too.
    pub fn text(&self) -> Result<String, serde_saphyr::ser::Error> {
        let mut out = Document::default();
        out.line(format!("# From {} to podiam", self.from.name()));
        out.list(&self.found);
        out.heading("Works unchanged");
        out.list(&self.unchanged);
        let (first, notes): (Vec<_>, Vec<_>) = self.changes.iter().partition(|change| change.first);
        if !first.is_empty() {
            out.heading("To do before");
            out.changes(&first);
        }
        out.heading("Changes");
        out.changes(&notes);
        out.heading("Workloads");
        out.workloads(&self.workloads);
        out.heading("Values for podiam's chart");
        out.block("yaml", &self.values_yaml()?);
        out.heading("Plan");
        for (number, step) in (1..).zip(&self.plan) {
            out.step(number, step);
        }
        if let Some(leave) = &self.leave {
            leave.write(&mut out);
        }
        Ok(out.text)
    }
}

/// Markdown in the making.
#[derive(Default)]
pub(super) struct Document {
    text: String,
}

impl Document {
    pub(super) fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    pub(super) fn heading(&mut self, heading: &str) {
        self.line(format!("\n## {heading}"));
    }

    pub(super) fn list(&mut self, items: &[String]) {
        self.line("");
        if items.is_empty() {
            self.line("Nothing.");
        }
        for item in items {
            self.line(format!("- {item}"));
        }
    }

    pub(super) fn block(&mut self, language: &str, text: &str) {
        self.line(format!("\n```{language}\n{}\n```", text.trim_end()));
    }

    pub(super) fn changes(&mut self, changes: &[&Change]) {
        let items: Vec<String> = changes
            .iter()
            .map(|change| {
                let todo = if change.todo.is_empty() {
                    String::new()
                } else {
                    format!(" → {}", change.todo)
                };
                format!("**{}**: {}{todo}", change.about, change.says)
            })
            .collect();
        self.list(&items);
    }

    /// Those with the same fate together: a cluster has many.
    fn workloads(&mut self, workloads: &[Judged]) {
        let mut fates: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for judged in workloads {
            let fate = match (&judged.role, &judged.refused) {
                (Some(role), _) => format!("`{role}`"),
                (None, Some(why)) => format!("no role: {why}"),
                (None, None) => "cannot tell".to_owned(),
            };
            fates.entry(fate).or_default().push(&judged.workload);
        }
        let lines: Vec<String> = fates
            .into_iter()
            .map(|(fate, workloads)| format!("{fate}: {}", workloads.join(", ")))
            .collect();
        self.list(&lines);
    }

    pub(super) fn step(&mut self, number: usize, step: &Step) {
        self.line(format!("\n### {number}. {}\n\n{}", step.title, step.why));
        for (name, lines) in [
            ("", &step.commands),
            ("Check:", &step.check),
            ("Back:", &step.back),
        ] {
            if lines.is_empty() {
                continue;
            }
            if !name.is_empty() {
                self.line(format!("\n{name}"));
            }
            self.block("sh", &lines.join("\n"));
        }
    }
}
