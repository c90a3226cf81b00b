//! `podiam intercept status`: what each back end has in the kernel, for people and programs.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use podiam_intercept::{Error, Mode, Status, cilium, iptables, open};
use serde::Serialize;

use super::{write_json, writing};
use crate::telemetry::Chain;

/// What `podiam intercept status --json` prints.
#[derive(Serialize)]
struct Report {
    /// Whether any back end has rules.
    installed: bool,
    /// Whether all rules that there are, are exactly those that podiam writes; false where there are none.
    intact: bool,
    /// Each back end that was looked at.
    back_ends: Vec<Seen>,
}

/// What there is of one back end.
#[derive(Serialize)]
struct Seen {
    back_end: &'static str,
    installed: bool,
    intact: bool,
    #[serde(flatten)]
    status: Option<Status>,
    /// What the back end itself has to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Why it could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Shows one back end, or every one that writes rules; Cilium too where its dataplane is.
///
/// Success means installed and intact; the exit code is 1 where rules are absent or drifted, so that scripts need not
/// read the text. A back end that cannot be looked at is an error only if no other can.
pub(super) fn run(out: &mut Vec<u8>, mode: Option<Mode>, json: bool) -> anyhow::Result<ExitCode> {
    let modes: Vec<Mode> = if let Some(mode) = mode {
        vec![mode]
    } else {
        let is_cilium = cilium::detect(Path::new("/")).is_here();
        writing().chain(is_cilium.then_some(Mode::Cilium)).collect()
    };
    let mut back_ends = Vec::new();
    let mut failure = None;
    for each in modes {
        let mut back_end = open(each);
        let (status, error) = match back_end.status() {
            Ok(status) => (status, None),
            Err(error) => {
                let told = Chain(&error).to_string();
                failure = failure.or(Some(error));
                (None, Some(told))
            }
        };
        back_ends.push(Seen {
            back_end: each.name(),
            installed: status.is_some(),
            intact: status.as_ref().is_some_and(Status::is_intact),
            status,
            note: back_end.note(),
            error,
        });
    }
    if back_ends.iter().all(|seen| seen.error.is_some())
        && let Some(error) = failure
    {
        return Err(anyhow::Error::new(error).context("cannot read the interception rules"));
    }
    let intact = show(out, back_ends, json)?;
    Ok(ExitCode::from(u8::from(!intact)))
}

/// Whether the error means that this back end cannot have rules that it could remove: its programs are not installed.
pub(super) fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Iptables(iptables::Error::Missing { .. }))
}

/// Writes what there is, and returns whether it is as it should be.
fn show(out: &mut Vec<u8>, back_ends: Vec<Seen>, json: bool) -> anyhow::Result<bool> {
    let mut installed = back_ends.iter().filter(|seen| seen.installed).peekable();
    let report = Report {
        installed: installed.peek().is_some(),
        intact: installed.peek().is_some() && installed.all(|seen| seen.intact),
        back_ends,
    };
    if json {
        write_json(out, &report)?;
        return Ok(report.intact);
    }
    for status in report
        .back_ends
        .iter()
        .filter_map(|seen| seen.status.as_ref())
    {
        write!(out, "{status}")?;
    }
    if !report.installed {
        writeln!(
            out,
            "no rules of podiam's: unless others intercept, pods reach the node's metadata service and its role"
        )?;
    }
    for seen in &report.back_ends {
        let name = seen.back_end;
        if let Some(note) = &seen.note {
            writeln!(out, "{name}: {note}")?;
        }
        if let Some(error) = &seen.error {
            writeln!(out, "{name}: not looked at: {error}")?;
        }
    }
    Ok(report.intact)
}

#[cfg(test)]
mod tests {
    use podiam_intercept::{METADATA_V4, RuleStatus, Rules};
    use serde_json::{Value, json};

    use super::*;

    fn seen(back_end: &'static str, status: Option<Status>) -> Seen {
        Seen {
            back_end,
            installed: status.is_some(),
            intact: status.as_ref().is_some_and(Status::is_intact),
            status,
            note: None,
            error: None,
        }
    }

    fn shown(back_ends: Vec<Seen>, json: bool) -> (bool, String) {
        let mut out = Vec::new();
        let intact = show(&mut out, back_ends, json).unwrap();
        (intact, String::from_utf8(out).unwrap())
    }

    fn installed() -> Status {
        let target = "10.0.0.1:8181".parse().unwrap();
        Status {
            place: "table inet podiam".into(),
            intercepts: Some(Rules::new(
                METADATA_V4,
                target,
                "eni+,!eni7".parse().unwrap(),
            )),
            drift: Vec::new(),
            rules: vec![RuleStatus {
                chain: "prerouting".into(),
                rule: Some("jump imds".into()),
                packets: 2,
                bytes: 120,
            }],
            ..Status::default()
        }
    }

    #[test]
    fn the_json_has_these_keys() {
        let back_ends = vec![seen("nftables", Some(installed())), seen("iptables", None)];
        let (intact, text) = shown(back_ends, true);
        assert!(intact);
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({
                "installed": true,
                "intact": true,
                "back_ends": [
                    {
                        "back_end": "nftables",
                        "installed": true,
                        "intact": true,
                        "place": "table inet podiam",
                        "intercepts": {
                            "metadata": "169.254.169.254",
                            "target": "10.0.0.1:8181",
                            "target_v6": null,
                            "interfaces": "eni+,!eni7",
                            "reverse_path": "on",
                        },
                        "guard": false,
                        "owner": null,
                        "age_seconds": null,
                        "drift": [],
                        "rules": [{"chain": "prerouting", "rule": "jump imds", "packets": 2, "bytes": 120}],
                    },
                    {"back_end": "iptables", "installed": false, "intact": false},
                ],
            })
        );
    }

    #[test]
    fn absent_and_drifted_rules_are_not_intact() {
        let (intact, text) = shown(vec![seen("nftables", None)], true);
        assert!(!intact);
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&report["installed"], &report["intact"]),
            (&json!(false), &json!(false))
        );

        let (intact, text) = shown(vec![seen("nftables", None)], false);
        assert!(
            !intact && text.starts_with("no rules of podiam's: "),
            "{text}"
        );

        let mut drifted = installed();
        drifted.drift.push("the chain forward is missing".into());
        let back_ends = vec![
            seen("nftables", Some(installed())),
            seen("iptables", Some(drifted)),
        ];
        let (intact, text) = shown(back_ends, false);
        assert!(
            !intact && text.contains("the chain forward is missing"),
            "{text}"
        );
    }

    #[test]
    fn what_could_not_be_looked_at_is_told_beside_what_could() {
        let mut unread = seen("iptables", None);
        unread.error = Some("the program iptables is missing".into());
        let (intact, text) = shown(vec![seen("nftables", Some(installed())), unread], false);
        assert!(intact);
        assert!(
            text.ends_with("iptables: not looked at: the program iptables is missing\n"),
            "{text}"
        );
    }
}
