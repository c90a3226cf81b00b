//! The table.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cluster::Size;
use crate::scenario::{Outcome, Scenario};
use crate::sts::Second;

impl Scenario {
    /// What a table and a plot call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::AllAtOnce => "all agents at once",
            Self::RollOut => "roll-out, a tenth a minute",
            Self::ZoneOutage => "a zone is lost",
            Self::MassReschedule => "all pods replaced in 10 min",
        }
    }

    /// Its plot's file, without the extension.
    pub fn file(self) -> &'static str {
        match self {
            Self::AllAtOnce => "all-at-once",
            Self::RollOut => "roll-out",
            Self::ZoneOutage => "zone-outage",
            Self::MassReschedule => "mass-reschedule",
        }
    }
}

/// One row for each outcome, as Markdown.
pub fn table(size: Size, outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{} nodes, {} pods with a role on each, {} roles, STS serves {} calls a second\n\n",
        size.nodes, size.pods, size.roles, size.quota
    );
    text.push_str(
        "| what happens | agents | calls | throttled | peak calls/s | seconds at the quota | credentials held after, p50 / p99 / last | \
         requests refused | pods' wait, p99 |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for outcome in outcomes {
        let sum = |of: fn(&Second) -> u32| {
            outcome
                .seconds
                .iter()
                .map(|it| u64::from(of(it)))
                .sum::<u64>()
        };
        let (served, throttled) = (sum(|it| it.served), sum(|it| it.throttled));
        let peak = outcome
            .seconds
            .iter()
            .map(|it| it.served + it.throttled)
            .max();
        let limited = outcome.seconds.iter().filter(|it| it.throttled > 0).count();
        let last = match outcome.without {
            0 => seconds(quantile(&outcome.seen.firsts, 100)),
            none => format!("{none} never"),
        };
        let waits = &outcome.seen.waits;
        let wait = if waits.is_empty() {
            "-".into()
        } else {
            seconds(quantile(waits, 99))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} / {} / {} | {} | {} |",
            outcome.scenario.title(),
            outcome.setting.name,
            served + throttled,
            throttled,
            peak.unwrap_or_default(),
            limited,
            seconds(quantile(&outcome.seen.firsts, 50)),
            seconds(quantile(&outcome.seen.firsts, 99)),
            last,
            outcome.seen.refused,
            wait,
        );
    }
    text
}

/// The time within which `percent` of them were.
pub fn quantile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(place).copied().unwrap_or_default()
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
