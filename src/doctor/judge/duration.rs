//! `session-duration`: roles allow sessions as long as the agent asks for.

use std::time::Duration;

use podiam_iam::RoleArn;

use crate::doctor::check::Check;
use crate::doctor::finding::{Finding, some_of};

const CHECK: Check = Check::SessionDuration;
/// Every role's `MaxSessionDuration` is this or more, and with role chaining no session is longer.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_manage-assume.html>
const ALWAYS: Duration = Duration::from_hours(1);

/// What is known.
pub(in crate::doctor) struct Seen {
    /// What the agent asks for; or why that is not known.
    pub(in crate::doctor) wanted: Result<Duration, String>,
    /// Whether the agent asks as a session of a role, as instance profiles are.
    pub(in crate::doctor) is_chained: Option<bool>,
    /// The roles' own limits, as far as they could be asked for.
    pub(in crate::doctor) limits: Vec<(RoleArn, Result<Duration, String>)>,
}

pub(in crate::doctor) fn judge(seen: Seen) -> Finding {
    let wanted = match seen.wanted {
        Ok(wanted) => wanted,
        Err(why) => return Finding::cannot_tell(CHECK, why, "see agents"),
    };
    let told = format!("the agent asks for sessions of {} s", wanted.as_secs());
    if wanted <= ALWAYS {
        return Finding::ok(CHECK, format!("{told}, which every role allows"));
    }
    if seen.is_chained == Some(true) {
        return Finding::wrong(
            CHECK,
            format!(
                "{told} as a session of the nodes' role: role chaining ends at 3600 s, and STS refuses more"
            ),
            "set --iam-session-duration to 1h or less",
        );
    }
    let shorter: Vec<String> = seen
        .limits
        .iter()
        .filter_map(|(role, limit)| {
            let limit = limit.as_ref().ok().filter(|limit| **limit < wanted)?;
            Some(format!("{} ({} s)", role.as_str(), limit.as_secs()))
        })
        .collect();
    if !shorter.is_empty() {
        return Finding::wrong(
            CHECK,
            format!("{told}; too long for {}", some_of(&shorter, 10)),
            "raise MaxSessionDuration of these roles, or lower --iam-session-duration",
        );
    }
    let unknown = seen
        .limits
        .iter()
        .find_map(|(_, limit)| limit.as_ref().err());
    match unknown {
        Some(why) => Finding::cannot_tell(
            CHECK,
            format!("{told}; {why}"),
            "allow iam:GetRole on the pods' roles",
        ),
        None => Finding::ok(
            CHECK,
            format!("{told}; all {} roles allow it", seen.limits.len()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    fn judged(wanted: u64, is_chained: Option<bool>, limits: &[Result<u64, &str>]) -> Finding {
        let role = RoleArn::parse("arn:aws:iam::123456789012:role/app").unwrap();
        let limits = limits.iter().map(|limit| {
            let limit = limit.map(Duration::from_secs).map_err(str::to_owned);
            (role.clone(), limit)
        });
        judge(Seen {
            wanted: Ok(Duration::from_secs(wanted)),
            is_chained,
            limits: limits.collect(),
        })
    }

    #[test]
    fn an_hour_is_always_right_and_more_only_where_every_role_allows_it_without_chaining() {
        use Verdict::{CannotTell, Ok as Right, Wrong};
        for (finding, verdict) in [
            (judged(3600, Some(true), &[]), Right),
            (judged(3601, Some(true), &[Ok(43200)]), Wrong),
            (judged(7200, Some(false), &[Ok(43200)]), Right),
            (judged(7200, Some(false), &[Ok(43200), Ok(3600)]), Wrong),
            (judged(7200, None, &[Ok(43200), Err("denied")]), CannotTell),
        ] {
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        }
    }
}
