//! `agents`: there are some, they have flags that can be read, and each is ready.

use crate::doctor::agents::AgentPod;
use crate::doctor::check::Check;
use crate::doctor::finding::{Finding, some_of};

const CHECK: Check = Check::Agents;

/// The pods that were found, or why none could be looked for; `config` is what came of the flags of the first.
pub(in crate::doctor) fn judge(
    pods: Result<&[AgentPod], String>,
    config: Result<(), String>,
    place: &str,
) -> Finding {
    let pods = match pods {
        Ok(pods) => pods,
        Err(why) => {
            return Finding::cannot_tell(
                CHECK,
                why,
                "give --kubeconfig and --context, or the agent's own flags after --",
            );
        }
    };
    if pods.is_empty() {
        return Finding::wrong(
            CHECK,
            format!("no pod of {place}"),
            "install the chart, or say with --namespace and --selector where the agents are",
        );
    }
    if let Err(why) = config {
        return Finding::wrong(
            CHECK,
            format!("the flags of {} cannot be used: {why}", pods[0].name),
            "correct the DaemonSet's args",
        );
    }
    let told: Vec<String> = pods
        .iter()
        .filter(|pod| !pod.is_ready)
        .map(|pod| format!("{} on {}", pod.name, pod.node))
        .collect();
    if told.is_empty() {
        return Finding::ok(CHECK, format!("{} agents, all ready", pods.len()));
    }
    Finding::wrong(
        CHECK,
        format!(
            "{} of {} agents are not ready: {}",
            told.len(),
            pods.len(),
            some_of(&told, 10)
        ),
        "ask each for its conditions: /readyz on the port of /metrics says what is missing",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::agents::tests::pod;
    use crate::doctor::finding::Verdict;

    #[test]
    fn agents_must_be_there_configured_and_ready() {
        let good = pod("a", "podiam:1", &["agent"]);
        let mut unready = pod("b", "podiam:1", &["agent"]);
        unready.is_ready = false;
        let bad_flags = || Err("--x".to_owned());
        for (pods, config, verdict, words) in [
            (vec![good.clone()], Ok(()), Verdict::Ok, "1 agents"),
            (vec![], Ok(()), Verdict::Wrong, "no pod of here"),
            (vec![good.clone()], bad_flags(), Verdict::Wrong, "--x"),
            (
                vec![good, unready],
                Ok(()),
                Verdict::Wrong,
                "1 of 2 agents are not ready: b on node-of-b",
            ),
        ] {
            let finding = judge(Ok(&pods), config, "here");
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.evidence[0].contains(words), "{finding:?}");
        }
        let unseen = judge(Err("no cluster".into()), Ok(()), "here");
        assert_eq!(unseen.verdict, Verdict::CannotTell);
    }
}
