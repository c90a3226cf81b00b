//! The table: what it holds at which width, and what it lets through to a terminal.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::table::{draw, draw_stale};
use super::*;
use crate::admin::status::{
    AgentStatus, CredentialState, CredentialStatus, InterceptionStatus, PodState, PodStatus,
    StsStatus, Told, ViewStatus,
};

const PLAIN: Look = Look {
    width: None,
    colour: false,
};

fn agent() -> AgentStatus {
    AgentStatus {
        version: "1.2.3".into(),
        node: Some("node-a".into()),
        host_ip: None,
        time: "2026-11-24T15:00:00Z".parse().unwrap(),
        uptime_seconds: 11_520,
        ready: true,
        conditions: Vec::new(),
        findings: Vec::new(),
        sources: vec![ViewStatus {
            resource: "pods".into(),
            synced: true,
            age_seconds: Some(0),
            failures: 0,
            error: None,
        }],
        interception: InterceptionStatus {
            mode: "nftables".into(),
            intact: Some(true),
            repairs: 0,
            self_test: None,
        },
        identity: "auto".into(),
        sts: StsStatus {
            rate: 20.0,
            concurrency: 8,
            running: 0,
            waiting: [0, 2, 1],
        },
    }
}

fn pod(name: &str) -> PodStatus {
    PodStatus {
        namespace: "team".into(),
        name: name.into(),
        uid: name.into(),
        addresses: vec![Ipv4Addr::new(10, 0, 0, 9).into()],
        service_account: None,
        host_network: false,
        known_by: Some("link".into()),
        state: PodState::Served,
        role: Some("arn:aws:iam::123456789012:role/app".into()),
        role_name: Some("app".into()),
        source: Some("pod".into()),
        reason: None,
        audited: Vec::new(),
        credentials: Some(CredentialStatus {
            state: CredentialState::Fresh,
            session_name: "team.app".into(),
            access_key_id: Some("ASIA1".into()),
            obtained_at: None,
            expires_at: None,
            left_seconds: Some(2_801),
        }),
        requests: 12,
        denials: 0,
    }
}

fn refused(name: &str, text: &str) -> PodStatus {
    PodStatus {
        state: PodState::Refused,
        role: None,
        role_name: None,
        reason: Some(Told {
            code: "namespace-forbids".into(),
            text: text.into(),
        }),
        credentials: None,
        ..pod(name)
    }
}

fn status(pods: Vec<PodStatus>) -> Status {
    Status {
        agent: agent(),
        pods,
    }
}

fn width(line: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(line)
}

#[test]
fn the_columns_are_aligned_and_numbers_stand_at_the_right() {
    let status = status(vec![pod("a"), refused("a-longer-name", "it may not")]);
    let table = draw(&status, PLAIN);
    let rows: Vec<&str> = table.lines().skip_while(|line| !line.is_empty()).collect();
    assert_eq!(
        rows,
        [
            "",
            "   NAMESPACE  POD            IP        ROLE               SOURCE  CREDENTIALS    REQUESTS  DENIED",
            "✓  team       a              10.0.0.9  app                pod     fresh, 46 min        12       0",
            "✕  team       a-longer-name  10.0.0.9  namespace-forbids  pod     -                    12       0",
            "     it may not",
        ]
    );
    assert!(
        table.starts_with("podiam 1.2.3 on node-a: ready, up 3 h 12 min; view up to date\n"),
        "{table}"
    );
    assert!(
        table.contains("identity auto, pods known: 2 by link; STS 0 of 8 under way, 3 waiting"),
        "{table}"
    );
    assert!(table.contains("\npods: 1 refused, 1 served\n"), "{table}");
}

#[test]
fn the_table_fits_every_terminal_from_60_columns_on_and_keeps_pod_role_and_credentials() {
    let reason =
        "the role arn:aws:iam::123456789012:role/app is not allowed in the namespace \"team\"";
    let long = "cluster-autoscaler-6f8c5d7b9c-k2m4x-and-more-of-it";
    let all = status(vec![pod(long), refused(long, reason)]);
    let mut seen = HashSet::new();
    for columns in 60..=200 {
        let look = Look {
            width: Some(columns),
            colour: false,
        };
        let table = draw(&all, look);
        for line in table.lines() {
            assert!(width(line) <= columns, "{columns}: {line}");
        }
        for word in ["POD", "ROLE", "CREDENTIALS", "cluster-aut", "46 min", "✕"] {
            assert!(table.contains(word), "{columns}: {word} in\n{table}");
        }
        let has = |head| table.contains(head);
        // The least wanted column goes first.
        assert!(has("IP") || !has("SOURCE"), "{columns}\n{table}");
        assert!(has("DENIED") || !has("IP"), "{columns}\n{table}");
        seen.insert((has("DENIED"), has(" IP "), has("SOURCE")));
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn colour_stands_around_words_and_changes_nothing_else() {
    let all = status(vec![pod("a"), refused("b", "it may not")]);
    let coloured = draw(
        &all,
        Look {
            colour: true,
            ..PLAIN
        },
    );
    assert!(coloured.contains("\x1b[31m"), "refused is red");
    let mut plain = coloured;
    while let Some(start) = plain.find('\x1b') {
        let end = start + plain[start..].find('m').unwrap();
        plain.replace_range(start..=end, "");
    }
    assert_eq!(plain, draw(&all, PLAIN));
}

#[test]
fn nothing_that_others_wrote_is_an_order_to_the_terminal_or_breaks_a_line() {
    let evil = "evil\x1b[2J\r\n\u{202e}\u{9b}31m";
    let mut pod = refused(evil, evil);
    pod.namespace = evil.into();
    pod.source = Some(evil.into());
    pod.audited = vec![Told {
        code: evil.into(),
        text: evil.into(),
    }];
    let mut all = status(vec![pod]);
    all.agent.version = evil.into();
    all.agent.node = Some(evil.into());
    all.agent.identity = evil.into();
    all.agent.interception.mode = evil.into();
    all.agent.findings = vec![Told {
        code: evil.into(),
        text: evil.into(),
    }];
    let table = draw_stale(evil, Some(&all), PLAIN);
    let kept = |c: char| c == '\n' || (!c.is_control() && c != '\u{202e}');
    assert!(table.chars().all(kept), "{table:?}");
    assert_eq!(table.lines().count(), 11, "{table}");
}

#[test]
fn what_is_missing_of_the_agent_and_that_it_is_away_stand_first() {
    let mut all = status(vec![pod("a")]);
    all.agent.ready = false;
    all.agent.conditions = vec![crate::admin::status::ConditionStatus {
        name: "interception".into(),
        missing: Some("the rules are gone".into()),
    }];
    let table = draw_stale("agent not reachable since 15:00:00 UTC", Some(&all), PLAIN);
    let lines: Vec<&str> = table.lines().take(4).collect();
    assert_eq!(lines[0], "agent not reachable since 15:00:00 UTC");
    assert_eq!(lines[1], "as it was at 15:00:00 UTC:");
    assert!(lines[2].contains(": NOT READY, up"), "{table}");
    assert_eq!(lines[3], "  interception: the rules are gone");
    let nothing = draw_stale("agent not reachable", None, PLAIN);
    assert_eq!(nothing, "agent not reachable\n");
}
