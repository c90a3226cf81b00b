//! Judges how sessions are made: their names, their life, their refresh.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{attribution, given};
use crate::config::check::Check;
use crate::config::flags::SessionFlags;
use crate::config::pflag::GoDuration;
use crate::config::{Node, Program, SessionNaming, Sessions, values};

/// STS takes 900 s to 43 200 s as `DurationSeconds`.
const SESSION_DURATION: RangeInclusive<Duration> =
    Duration::from_mins(15)..=Duration::from_hours(12);
/// The most that STS allows where a role's session assumes the next role (role chaining).
const CHAINED_DURATION: Duration = Duration::from_hours(1);
/// What a refresh should leave of the old session: botocore's mandatory refresh is 10 minutes before the end.
const REFRESH_MARGIN: Duration = Duration::from_mins(10);
/// The youngest age at which a session may be refreshed: STS limits the calls of an account.
const SHORTEST_AGE: Duration = Duration::from_secs(1);

/// Calls under way at once where their rate bounds them too: a slow STS must not gather them.
const CONCURRENCY: usize = 8;
/// The same where nothing else bounds them. 500 pods with a role each, STS at 50 ms: four rounds are over before the first
/// client's 400 ms are, and no more than 128 connections are made for it; without a limit they take
/// half as much memory again and are no faster.
const UNRATED_CONCURRENCY: usize = 128;

impl SessionFlags {
    pub(super) fn judge(self, check: &mut Check, node: &Node) -> Sessions {
        let Self {
            iam_role_session_ttl,
            iam_role_error_ttl,
            use_regional_sts_endpoint,
            session,
            session_tags,
            session_tag_labels,
            session_tags_transitive,
            source_identity,
            cluster_name,
            iam_session_duration,
            aws_region,
            sts_rate,
            sts_concurrency,
        } = self;
        if !check.switch("use-regional-sts-endpoint", &use_regional_sts_endpoint) {
            check.without_effect(
                "use-regional-sts-endpoint",
                "STS is always asked at its regional endpoint",
            );
        }
        let kinds = [
            ("pod", SessionNaming::Pod),
            ("workload", SessionNaming::Workload),
            ("role", SessionNaming::Role),
        ];
        let naming = given(session).and_then(|kind| check.choice("session", &kind, &kinds));
        let by_default = match check.program() {
            Program::Podiam => SessionNaming::Pod,
            Program::Kube2iam => SessionNaming::Role,
        };
        let naming = naming.unwrap_or(by_default);
        let attribution = attribution::judge(
            check,
            node,
            naming,
            attribution::Raw {
                tags: session_tags,
                labels: session_tag_labels,
                transitive: session_tags_transitive,
                source_identity,
                cluster: given(cluster_name),
            },
        );
        let duration = session_duration(check, &iam_session_duration);
        let refresh_age = refresh_age(check, given(iam_role_session_ttl), duration);
        let error_ttl = check.duration("iam-role-error-ttl", &iam_role_error_ttl);
        let sts_rate = check
            .parse("sts-rate", &sts_rate, values::rate)
            .unwrap_or_default();
        Sessions {
            naming,
            attribution,
            duration,
            refresh_age,
            error_ttl: error_ttl.unwrap_or_default(),
            region: given(aws_region)
                .and_then(|region| check.parse("aws-region", &region, values::region)),
            sts_rate,
            sts_concurrency: match sts_concurrency {
                Some(calls) => check
                    .parse("sts-concurrency", &calls, values::calls)
                    .unwrap_or_default(),
                None if sts_rate > 0.0 => CONCURRENCY,
                None => UNRATED_CONCURRENCY,
            },
        }
    }
}

fn session_duration(check: &mut Check, text: &str) -> Duration {
    const FLAG: &str = "iam-session-duration";
    let Some(duration) = check.duration(FLAG, text) else {
        return CHAINED_DURATION;
    };
    if !SESSION_DURATION.contains(&duration) {
        check.problem(FLAG, Some(text), "STS makes sessions of 15m to 12h");
        return CHAINED_DURATION;
    }
    if duration.subsec_nanos() != 0 {
        check.problem(FLAG, Some(text), "STS counts in whole seconds");
    }
    if duration > CHAINED_DURATION {
        check.notice(format!(
            "--{FLAG}={text:?}: STS refuses more than 1h where the node's own credentials are a role's (role chaining), \
             as those of an instance profile are"
        ));
    }
    duration
}

fn refresh_age(check: &mut Check, ttl: Option<String>, duration: Duration) -> Duration {
    const FLAG: &str = "iam-role-session-ttl";
    let half = duration / 2;
    let Some(text) = ttl else { return half };
    let Some(age) = check.duration(FLAG, &text) else {
        return half;
    };
    match duration.checked_sub(age) {
        Some(left) if age >= SHORTEST_AGE && !left.is_zero() => {
            if left < REFRESH_MARGIN {
                check.notice(format!(
                    "--{FLAG}={text:?} would leave {} of a session, and SDKs want 10m at least: it is refreshed before that",
                    GoDuration::from(left)
                ));
            }
            age
        }
        _ => {
            let duration = GoDuration::from(duration);
            let right = format!(
                "a session is refreshed at an age of 1s or more, and less than --iam-session-duration ({duration})"
            );
            check.problem(FLAG, Some(&text), right);
            half
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn sessions_live_an_hour_and_are_refreshed_at_half_of_their_life() {
        let sessions = config(&[]).sessions;
        assert_eq!(sessions.duration, Duration::from_hours(1));
        assert_eq!(sessions.refresh_age, Duration::from_mins(30));
        assert_eq!(sessions.error_ttl, Duration::ZERO);
        assert_eq!(sessions.region, None);
        let sessions = config(&[
            "--iam-session-duration=30m",
            "--iam-role-error-ttl=1m",
            "--aws-region=eu-central-1",
        ])
        .sessions;
        assert_eq!(sessions.refresh_age, Duration::from_mins(15));
        assert_eq!(sessions.error_ttl, Duration::from_mins(1));
        assert_eq!(sessions.region.as_deref(), Some("eu-central-1"));
        assert_eq!(
            config(&["--iam-role-session-ttl=15m0s"])
                .sessions
                .refresh_age,
            Duration::from_mins(15)
        );
    }

    #[test]
    fn a_session_duration_is_what_sts_takes_and_more_than_an_hour_gets_a_notice() {
        for (text, notice) in [
            ("900s", false),
            ("1h", false),
            ("1h0m1s", true),
            ("12h", true),
        ] {
            let config = config(&["--iam-session-duration", text]);
            assert_eq!(has_notice(&config, "role chaining"), notice, "{text}");
        }
        for text in ["899s", "12h1s", "0", "-1h", "3600", "30m0.5s"] {
            let flag = format!("--iam-session-duration={text}");
            assert_one_problem(&[&flag], &format!("--iam-session-duration={text:?}: "), "");
        }
    }

    #[test]
    fn a_refresh_age_is_below_the_duration_and_leaves_what_sdks_want() {
        for (text, notice) in [
            ("1s", false),
            ("15m", false),
            ("50m", false),
            ("50m1s", true),
            ("59m59s", true),
        ] {
            let config = config(&["--iam-role-session-ttl", text]);
            assert_eq!(has_notice(&config, "SDKs want 10m"), notice, "{text}");
        }
        for text in ["0", "999ms", "1h", "2h", "-15m"] {
            let flag = format!("--iam-role-session-ttl={text}");
            assert_one_problem(&[&flag], &format!("--iam-role-session-ttl={text:?}: "), " ");
        }
        assert_one_problem(
            &["--iam-role-session-ttl=1h"],
            "--iam-role-session-ttl",
            "--iam-session-duration (1h0m0s)",
        );
        assert!(problems(&["--iam-role-session-ttl=1h", "--iam-session-duration=2h"]).is_empty());
    }

    #[test]
    fn the_budget_for_sts_is_20_calls_a_second_and_8_at_once_unless_other_numbers_are_given() {
        let budget = |words: &[&str]| {
            let sessions = config(words).sessions;
            (sessions.sts_rate.to_string(), sessions.sts_concurrency)
        };
        assert_eq!(budget(&[]), ("20".into(), 8));
        assert_eq!(budget(&["--sts-rate=0"]), ("0".into(), 128));
        assert_eq!(
            budget(&["--sts-rate=0.5", "--sts-concurrency=64"]),
            ("0.5".into(), 64)
        );
        assert_eq!(
            budget(&["--sts-rate=0", "--sts-concurrency=0"]),
            ("0".into(), 0)
        );
        for text in ["-1", "0.001", "1001", "NaN", "inf", "", "10/s"] {
            let flag = format!("--sts-rate={text}");
            assert_one_problem(&[&flag], "--sts-rate", "0.01 to 1000");
        }
        for text in ["-1", "1001", "0.5", "", "many"] {
            let flag = format!("--sts-concurrency={text}");
            assert_one_problem(&[&flag], "--sts-concurrency", "1 to 1000");
        }
    }

    #[test]
    fn a_session_is_a_pods_own_unless_started_as_kube2iam_or_told() {
        use SessionNaming::{Pod, Role};
        for (program, words, expected) in [
            (Program::Podiam, &[][..], Pod),
            (Program::Kube2iam, &[], Role),
            (Program::Podiam, &["--session=role"], Role),
            (Program::Kube2iam, &["--session=pod"], Pod),
        ] {
            assert_eq!(
                judge_as(program, words).unwrap().sessions.naming,
                expected,
                "{program:?} {words:?}"
            );
        }
    }
}
