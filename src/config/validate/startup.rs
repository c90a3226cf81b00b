//! Judges what the agent proves, and what it does once it is ready.

use std::time::Duration;

use super::given;
use crate::config::check::Check;
use crate::config::flags::StartupFlags;
use crate::config::{Node, PodSource, Startup, StartupTaint, values};

/// More often would be a load of its own.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

impl StartupFlags {
    pub(super) fn judge(self, check: &mut Check, node: &Node, pods: &PodSource) -> Startup {
        let Self {
            self_test_interval,
            startup_taint,
        } = self;
        let interval = check
            .duration("self-test-interval", &self_test_interval)
            .filter(|interval| !interval.is_zero());
        if interval.is_some_and(|interval| interval < SHORTEST_INTERVAL) {
            check.problem(
                "self-test-interval",
                Some(&self_test_interval),
                "write 1s or more, or 0 for no self-test",
            );
        }
        let taint = given(startup_taint).and_then(|key| {
            let parsed = check.parse("startup-taint", &key, values::taint_key);
            let access = match pods {
                PodSource::Kubernetes(access) => Some(access.clone()),
                PodSource::Files(_) => {
                    let right = "conflicts with --workloads: a node is a cluster's; keep one";
                    check.problem("startup-taint", Some(&key), right);
                    None
                }
            };
            if node.name.is_none() && !check.has_problem("node") {
                let right = "needs --node, the name of the node whose taint it is";
                check.problem("startup-taint", Some(&key), right);
            }
            Some(StartupTaint {
                key: parsed?,
                node: node.name.clone()?,
                access: access?,
            })
        });
        Startup {
            self_test_interval: interval,
            taint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn the_self_test_runs_every_minute_unless_another_interval_is_given_or_none() {
        for (words, interval) in [
            (&[][..], Some(Duration::from_mins(1))),
            (&["--self-test-interval=5s"], Some(Duration::from_secs(5))),
            (&["--self-test-interval=0"], None),
        ] {
            assert_eq!(config(words).startup.self_test_interval, interval);
        }
        assert_one_problem(
            &["--self-test-interval=999ms"],
            "--self-test-interval=\"999ms\": ",
            "1s or more",
        );
    }

    #[test]
    fn a_startup_taint_is_a_key_and_needs_a_node_of_a_cluster() {
        let taint = config(&["--startup-taint=podiam.io/agent-not-ready", "--node=a"])
            .startup
            .taint
            .unwrap();
        assert_eq!(
            (taint.key.as_str(), taint.node.as_str()),
            ("podiam.io/agent-not-ready", "a")
        );
        assert!(config(&["--startup-taint="]).startup.taint.is_none());
        for (words, right) in [
            (&["--startup-taint=k"][..], "needs --node"),
            (
                &["--startup-taint=k", "--node=a", "--workloads=/w"],
                "conflicts with --workloads",
            ),
            (
                &["--startup-taint=k=v:NoSchedule", "--node=a"],
                "not the key of a taint",
            ),
        ] {
            assert_one_problem(words, "--startup-taint=\"k", right);
        }
    }
}
