//! Reports as text for people, as JSON for scripts, and as SARIF 2.1.0 (OASIS) for what shows findings beside the code.

use std::fmt::{self, Write};
use std::str::FromStr;

use serde_json::{Value, json};
use thiserror::Error;

use super::code::{Code, Severity};
use super::finding::{Finding, Report};

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
    /// For code hosts and editors.
    Sarif,
}

/// No output has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the formats are text, json and sarif")]
pub struct UnknownOutput;

impl FromStr for Output {
    type Err = UnknownOutput;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "sarif" => Ok(Self::Sarif),
            _ => Err(UnknownOutput),
        }
    }
}

impl Report {
    /// The report in a format; it ends with a newline. `version` is podiam's.
    pub fn write(&self, output: Output, version: &str) -> String {
        match output {
            Output::Text => self.to_string(),
            Output::Json => format!("{:#}\n", self.json()),
            Output::Sarif => format!("{:#}\n", self.sarif(version)),
        }
    }

    fn json(&self) -> Value {
        json!({
            "documents": self.documents,
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "notes": self.count(Severity::Note),
            "ignored": self.ignored,
            "findings": self.findings.iter().map(|finding| json!({
                "code": finding.code.as_str(),
                "severity": finding.severity.as_str(),
                "file": self.files[finding.file],
                "line": finding.line,
                "subject": finding.subject,
                "reason": finding.reason,
                "fix": finding.code.fix(),
            })).collect::<Value>(),
        })
    }

    fn sarif(&self, version: &str) -> Value {
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "podiam iam lint",
                    "version": version,
                    "rules": Code::ALL.iter().map(|code| json!({
                        "id": code.as_str(),
                        "shortDescription": {"text": code.summary()},
                        "help": {"text": code.fix()},
                        "defaultConfiguration": {"level": code.severity().as_str()},
                    })).collect::<Value>(),
                }},
                "results": self.findings.iter().map(|finding| self.result(finding)).collect::<Value>(),
            }],
        })
    }

    fn result(&self, finding: &Finding) -> Value {
        json!({
            "ruleId": finding.code.as_str(),
            "ruleIndex": Code::ALL.iter().position(|code| *code == finding.code),
            "level": finding.severity.as_str(),
            "message": {"text": format!("{}: {}. Fix: {}", finding.subject, finding.reason, finding.code.fix())},
            "locations": [{"physicalLocation": {
                "artifactLocation": {"uri": uri(&self.files[finding.file])},
                "region": {"startLine": finding.line.max(1)},
            }}],
        })
    }
}

/// A file's name as a relative URI reference.
fn uri(name: &str) -> String {
    let mut uri = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_./~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(
                f,
                "{}:{}: {}[{}] {}: {}\n  fix: {}",
                self.files[finding.file],
                finding.line,
                finding.severity,
                finding.code,
                finding.subject,
                finding.reason,
                finding.code.fix()
            )?;
        }
        let count = |severity, one: &str| {
            let n = self.count(severity);
            format!("{n} {one}{}", if n == 1 { "" } else { "s" })
        };
        writeln!(
            f,
            "{}, {}, {} in {} document{}; {} ignored",
            count(Severity::Error, "error"),
            count(Severity::Warning, "warning"),
            count(Severity::Note, "note"),
            self.documents,
            if self.documents == 1 { "" } else { "s" },
            self.ignored
        )
    }
}
