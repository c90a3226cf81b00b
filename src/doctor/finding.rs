//! What a check came to, and all of it as a report for people and programs. Pure.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::check::{Check, Group};

/// How a check ended, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Seen to be right.
    Ok,
    /// Not seen: a right is missing, or it can only be seen from elsewhere.
    CannotTell,
    /// It works, and something should be done about it.
    Warning,
    /// Pods get nothing, or too much.
    Wrong,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 4] = [Self::Ok, Self::CannotTell, Self::Warning, Self::Wrong];

    /// As reports write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::CannotTell => "cannot tell",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One check's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen, a line each; the first sums it up. Never a secret.
    pub evidence: Vec<String>,
    /// What to do about it; empty where all is well.
    pub fix: String,
}

impl Finding {
    /// Seen to be right.
    pub(super) fn ok(check: Check, evidence: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, evidence, "")
    }

    /// Not seen, for a reason, and how it could be.
    pub(super) fn cannot_tell(
        check: Check,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(check, Verdict::CannotTell, why, fix)
    }

    /// Works, and should be changed.
    pub(super) fn warning(
        check: Check,
        evidence: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(check, Verdict::Warning, evidence, fix)
    }

    /// Does not work, or is open.
    pub(super) fn wrong(check: Check, evidence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, Verdict::Wrong, evidence, fix)
    }

    pub(super) fn new(
        check: Check,
        verdict: Verdict,
        evidence: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            check,
            verdict,
            evidence: vec![evidence.into()],
            fix: fix.into(),
        }
    }

    /// With further lines of evidence.
    pub(super) fn and(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(lines);
        self
    }
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In the order of [`Check::ALL`].
    pub findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.check);
        Self { findings }
    }

    /// The worst verdict; [`Verdict::Ok`] where nothing was checked.
    pub fn worst(&self) -> Verdict {
        let verdicts = self.findings.iter().map(|finding| finding.verdict);
        verdicts.max().unwrap_or(Verdict::Ok)
    }

    fn count(&self, verdict: Verdict) -> usize {
        let all = self.findings.iter();
        all.filter(|finding| finding.verdict == verdict).count()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "verdict": self.worst().as_str(),
            "checks": self.findings.iter().map(|finding| json!({
                "check": finding.check.as_str(),
                "group": finding.check.group().as_str(),
                "verdict": finding.verdict.as_str(),
                "evidence": finding.evidence,
                "fix": (!finding.fix.is_empty()).then_some(&finding.fix),
            })).collect::<Value>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in Group::ALL {
            let mut of_group = self.findings.iter().filter(|it| it.check.group() == group);
            let Some(first) = of_group.next() else {
                continue;
            };
            writeln!(f, "{group}")?;
            for finding in std::iter::once(first).chain(of_group) {
                write_finding(f, finding)?;
            }
            writeln!(f)?;
        }
        let counts = Verdict::ALL.map(|verdict| format!("{} {verdict}", self.count(verdict)));
        writeln!(f, "{} checks: {}", self.findings.len(), counts.join(", "))
    }
}

fn write_finding(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    const INDENT: usize = 32;
    let mut lines = finding.evidence.iter();
    let first = lines.next().map_or("", String::as_str);
    writeln!(
        f,
        "  {:<11}  {:<16} {first}",
        finding.verdict, finding.check
    )?;
    for line in lines {
        writeln!(f, "{:INDENT$}{line}", "")?;
    }
    if !finding.fix.is_empty() {
        writeln!(f, "{:INDENT$}fix: {}", "", finding.fix)?;
    }
    Ok(())
}

/// At most `limit` of `items`, joined by commas, and how many more there are.
pub(super) fn some_of(items: &[impl fmt::Display], limit: usize) -> String {
    let mut text = String::new();
    for (position, item) in items.iter().take(limit).enumerate() {
        let comma = if position == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{item}");
    }
    if items.len() > limit {
        let _ = write!(text, " and {} more", items.len() - limit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::new(vec![
            Finding::warning(Check::Rbac, "too much: delete pods", "take it away")
                .and(["seen in namespace kube-system".to_owned()]),
            Finding::ok(Check::StsEndpoint, "answers in 3 ms"),
        ])
    }

    #[test]
    fn the_text_has_groups_verdicts_evidence_fixes_and_a_sum() {
        assert_eq!(
            report().to_string(),
            "\
aws
  ok           sts-endpoint     answers in 3 ms

cluster
  warning      rbac             too much: delete pods
                                seen in namespace kube-system
                                fix: take it away

2 checks: 1 ok, 0 cannot tell, 1 warning, 0 wrong
"
        );
    }

    #[test]
    fn the_json_has_these_keys() {
        assert_eq!(
            report().json(),
            json!({"verdict": "warning", "checks": [
                {"check": "sts-endpoint", "group": "aws", "verdict": "ok", "evidence": ["answers in 3 ms"], "fix": null},
                {"check": "rbac", "group": "cluster", "verdict": "warning",
                 "evidence": ["too much: delete pods", "seen in namespace kube-system"], "fix": "take it away"},
            ]})
        );
    }

    #[test]
    fn the_worst_verdict_counts() {
        assert_eq!(report().worst(), Verdict::Warning);
        assert_eq!(Report::new(Vec::new()).worst(), Verdict::Ok);
        assert!(Verdict::ALL.is_sorted());
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        assert_eq!(some_of(&["a", "b", "c"], 2), "a, b and 1 more");
        assert_eq!(some_of(&["a"], 2), "a");
    }
}
