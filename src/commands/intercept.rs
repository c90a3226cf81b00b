//! `podiam intercept`: shows and removes the rules that an agent left in the kernel. It needs no agent and no
//! configuration, and never installs anything.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use podiam_intercept::{Nftables, Status};
use serde::Serialize;

/// What `podiam intercept status --json` prints.
#[derive(Serialize)]
struct Report<'a> {
    /// Whether there is a table inet podiam at all.
    installed: bool,
    /// Whether its rules are exactly those that podiam writes; false where there is none.
    intact: bool,
    #[serde(flatten)]
    status: Option<&'a Status>,
}

/// `podiam intercept status`: rules, counters, target and interfaces, as a table or as JSON.
///
/// Success means installed and intact; the exit code is 1 where the rules are absent or drifted, so that scripts need
/// not read the text.
pub(super) fn status(out: &mut dyn Write, json: bool) -> anyhow::Result<ExitCode> {
    let status = Nftables::default()
        .status()
        .context("cannot read the interception rules")?;
    let intact = show(out, status.as_ref(), json)?;
    Ok(ExitCode::from(u8::from(!intact)))
}

/// Writes what there is, and returns whether it is as it should be.
fn show(out: &mut dyn Write, status: Option<&Status>, json: bool) -> anyhow::Result<bool> {
    let intact = status.is_some_and(Status::is_intact);
    if json {
        let report = Report {
            installed: status.is_some(),
            intact,
            status,
        };
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else if let Some(status) = status {
        write!(out, "{status}")?;
    } else {
        writeln!(
            out,
            "not installed: pods reach the node's metadata service and its role"
        )?;
    }
    Ok(intact)
}

/// `podiam intercept remove`: takes the rules out and says what that opens. Success also where there were none.
pub(super) fn remove(out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if Nftables::default()
        .remove()
        .context("cannot remove the interception rules")?
    {
        writeln!(
            out,
            "removed the table inet podiam: pods now reach the node's metadata service and its role"
        )?;
    } else {
        writeln!(out, "nothing to remove: there is no table inet podiam")?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use podiam_intercept::{METADATA_V4, RuleStatus, Rules};
    use serde_json::{Value, json};

    use super::*;

    fn shown(status: Option<&Status>, json: bool) -> (bool, String) {
        let mut out = Vec::new();
        let intact = show(&mut out, status, json).unwrap();
        (intact, String::from_utf8(out).unwrap())
    }

    fn installed() -> Status {
        let target = "10.0.0.1:8181".parse().unwrap();
        Status {
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
        let (intact, text) = shown(Some(&installed()), true);
        assert!(intact);
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({
                "installed": true,
                "intact": true,
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
            })
        );
    }

    #[test]
    fn absent_and_drifted_rules_are_not_intact() {
        let (intact, text) = shown(None, true);
        assert!(!intact);
        let absent = json!({"installed": false, "intact": false});
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), absent);

        let (intact, text) = shown(None, false);
        assert!(!intact && text.starts_with("not installed: "), "{text}");

        let mut drifted = installed();
        drifted.drift.push("the chain forward is missing".into());
        let (intact, text) = shown(Some(&drifted), false);
        assert!(
            !intact && text.contains("the chain forward is missing"),
            "{text}"
        );
    }
}
