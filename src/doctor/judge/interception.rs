//! `interception`: the rules are whole, and pods' questions to the metadata service get to an agent.

use std::net::SocketAddr;

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::selftest::{Finding as Test, Verdict as Tested};

const CHECK: Check = Check::Interception;

/// The rules in the kernel.
#[derive(Clone, Debug)]
pub(in crate::doctor) enum Rules {
    /// Another program's business, and a note on it.
    NotOurs(String),
    /// None.
    Absent,
    /// Some.
    There(Seen),
    /// They cannot be looked at.
    Unseen(String),
}

/// What the rules do.
#[derive(Clone, Debug, Default)]
pub(in crate::doctor) struct Seen {
    pub(in crate::doctor) place: String,
    /// They only refuse: no agent has written its rules.
    pub(in crate::doctor) is_guard: bool,
    pub(in crate::doctor) drift: Vec<String>,
    pub(in crate::doctor) interfaces: Option<String>,
    pub(in crate::doctor) targets: Vec<SocketAddr>,
}

/// `wanted` is where the agent listens for pods, where its flags say it. A pod's question outweighs what the rules look
/// like.
pub(in crate::doctor) fn judge(
    rules: Rules,
    wanted: Option<SocketAddr>,
    tested: Result<Tested, String>,
) -> Finding {
    let (tested_as, told) = match tested {
        Ok(Tested { finding, detail }) => (finding, detail),
        Err(why) => (Test::Unknown, why),
    };
    let test = format!("asked as a pod: {told}");
    match tested_as {
        Test::Bypassed => {
            return Finding::wrong(
                CHECK,
                test,
                "start the agent with --intercept=nftables (or cilium where Cilium replaces kube-proxy), and see what else changes the node's rules",
            );
        }
        Test::Closed => {
            return Finding::wrong(
                CHECK,
                test,
                "see whether the agent runs and listens, and which rule or network policy refuses it",
            );
        }
        Test::Intercepted | Test::Unknown => {}
    }
    let is_proven = tested_as == Test::Intercepted;
    match rules {
        Rules::There(seen) => judge_rules(&seen, wanted, is_proven, test),
        Rules::Absent => Finding::wrong(
            CHECK,
            "there are no rules: pods reach the node's metadata service, and its role",
            "start the agent with --intercept=nftables, or run `podiam intercept guard` until it starts",
        )
        .and([test]),
        Rules::NotOurs(note) if is_proven => Finding::ok(CHECK, test).and([note]),
        Rules::NotOurs(note) => Finding::cannot_tell(
            CHECK,
            format!("podiam writes no rules: {note}"),
            "let the doctor see a pod's namespace: hostPID: true, or /run/netns mounted",
        )
        .and([test]),
        Rules::Unseen(why) if is_proven => {
            Finding::ok(CHECK, test).and([format!("the rules cannot be looked at: {why}")])
        }
        Rules::Unseen(why) => Finding::cannot_tell(
            CHECK,
            format!("the rules cannot be looked at: {why}"),
            "run as root with CAP_NET_ADMIN on the node's own network (kubectl exec into an agent's pod)",
        )
        .and([test]),
    }
}

fn judge_rules(seen: &Seen, wanted: Option<SocketAddr>, is_proven: bool, test: String) -> Finding {
    let place = &seen.place;
    if !seen.drift.is_empty() {
        return Finding::wrong(
            CHECK,
            format!("{place} is not as podiam writes it"),
            "the agent repairs its rules within seconds: does it run? else `podiam intercept install`",
        )
        .and(seen.drift.iter().cloned())
        .and([test]);
    }
    if seen.is_guard {
        return Finding::wrong(
            CHECK,
            format!(
                "{place} is only the guard: pods are refused, and no agent has written its rules"
            ),
            "see why the agent does not start",
        )
        .and([test]);
    }
    let targets: Vec<String> = seen.targets.iter().map(ToString::to_string).collect();
    let told = format!(
        "{place} is whole: interfaces {}, to {}",
        seen.interfaces.as_deref().unwrap_or("none"),
        targets.join(" and ")
    );
    if let Some(wanted) = wanted
        && !seen.targets.contains(&wanted)
    {
        return Finding::wrong(
            CHECK,
            format!("{told}; the agent of this node listens at {wanted}"),
            "let the agent write its rules: restart it with --host-ip and --app-port as they should be",
        )
        .and([test]);
    }
    let finding = Finding::ok(CHECK, told);
    if is_proven {
        finding.and([test])
    } else {
        finding.and([format!("not {test}")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn a_pods_question_outweighs_rules_that_look_right() {
        use Verdict::{CannotTell, Ok as Right, Wrong};
        let target: SocketAddr = "10.0.0.1:8181".parse().unwrap();
        let whole = || Seen {
            place: "table inet podiam".into(),
            interfaces: Some("all".into()),
            targets: vec![target],
            ..Seen::default()
        };
        let drifted = || Seen {
            drift: vec!["the chain forward is missing".into()],
            ..whole()
        };
        let guard = || Seen {
            is_guard: true,
            ..whole()
        };
        let other: SocketAddr = "10.0.0.2:8181".parse().unwrap();
        for (rules, wanted, tested, verdict) in [
            (
                Rules::There(whole()),
                Some(target),
                Test::Intercepted,
                Right,
            ),
            (Rules::There(whole()), Some(target), Test::Unknown, Right),
            (Rules::There(whole()), Some(target), Test::Bypassed, Wrong),
            (Rules::There(whole()), Some(target), Test::Closed, Wrong),
            (Rules::There(whole()), Some(other), Test::Intercepted, Wrong),
            (Rules::There(drifted()), None, Test::Intercepted, Wrong),
            (Rules::There(guard()), None, Test::Unknown, Wrong),
            (Rules::Absent, None, Test::Unknown, Wrong),
            (
                Rules::NotOurs("note".into()),
                None,
                Test::Intercepted,
                Right,
            ),
            (
                Rules::NotOurs("note".into()),
                None,
                Test::Unknown,
                CannotTell,
            ),
            (
                Rules::Unseen("may not".into()),
                None,
                Test::Unknown,
                CannotTell,
            ),
            (
                Rules::Unseen("may not".into()),
                None,
                Test::Intercepted,
                Right,
            ),
        ] {
            let tested = Tested {
                finding: tested,
                detail: "the pod".into(),
            };
            let finding = judge(rules, wanted, Ok(tested));
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        }
    }
}
