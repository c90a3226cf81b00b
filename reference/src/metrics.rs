//! docs/metrics.md: every family that the agent registers.

use std::fmt::Write;

use anyhow::Result;
use podiam::metrics::{Family, Metrics};

use crate::markdown::{code, head, row, words};

/// What stands above the tables.
const HEADER: &str = "\
# Metrics

<!-- Written by `cargo xtask reference` out of the code: change it there. -->

At `/metrics` on the admin socket (`--metrics-port`, 9181), in Prometheus' text format. A family with labels is absent until it
has its first series. Durations are in seconds, sizes in bytes, everything else is a number of things. A histogram `NAME` is told as `NAME_bucket`
(with the label `le`), `NAME_sum` and `NAME_count`.

Labels are bounded: `role_arn` names up to 500 roles, further ones are counted as `other`; `reason` is one of the
[codes](troubleshooting.md#what-the-body-says); `code` of `podiam_sts_errors_total` is one of AWS's codes that podiam knows, or
`UnknownError`. What to alert on is in [Alerts](alerts.md).
";

/// The page.
pub fn page() -> Result<String> {
    let families = Metrics::new()?.families();
    let (theirs, ours): (Vec<Family>, Vec<Family>) = families
        .into_iter()
        .partition(|family| family.name.starts_with("kube2iam_"));
    let mut page = HEADER.to_owned();
    for (title, families) in [("kube2iam's, kept by name", theirs), ("podiam's own", ours)] {
        write!(page, "\n## {title}\n\n")?;
        page += &head(&["name", "type", "unit", "labels", "what it tells"]);
        for family in families {
            let labels: Vec<String> = family.labels.iter().map(|label| code(label)).collect();
            page += &row(&[
                code(&family.name),
                family.kind.to_owned(),
                unit(&family).to_owned(),
                labels.join(", "),
                words(&family.help),
            ]);
        }
    }
    Ok(page)
}

/// What a value counts, by Prometheus' rules for names.
fn unit(family: &Family) -> &'static str {
    let name = family.name.trim_end_matches("_total");
    if name.ends_with("_seconds") {
        "seconds"
    } else if name.ends_with("_bytes") {
        "bytes"
    } else if ["1 if", "1 while", "always 1", "1 for the state"]
        .iter()
        .any(|words| family.help.contains(words))
    {
        "0 or 1"
    } else {
        "number"
    }
}
