//! What others do to the rules: refused where the kernel can keep the table closed, repaired where it cannot; and what
//! becomes of them while no agent runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use podiam::interception;
use podiam::lifecycle::Readiness;
use podiam::metrics::Metrics;
use podiam_intercept::{METADATA_V4, Nftables, Rules};
use podiam_lab::netns::{NODE, NODE6, Wiring};
use tokio::runtime::Runtime;

use crate::attacks::assert_core;
use crate::node::{APP_PORT, Attack, NOTHING, Node, Topology, until};
use crate::support::PATIENCE;

/// Longer than that, pods must not be without the rules.
const LIMIT: Duration = Duration::from_secs(1);

/// Both wirings, with both families.
const TOPOLOGIES: [Topology; 2] = [
    Topology::new(Wiring::Routed, true),
    Topology::new(Wiring::Bridge, true),
];

/// What an administrator's hand or a careless script does.
fn by_hand(node: &Node) -> [String; 5] {
    let listed = node.nft("list chain inet podiam forward");
    let rule = listed.lines().find(|line| line.contains("@metadata4"));
    let (_, handle) = rule.unwrap().rsplit_once("# ").unwrap();
    [
        format!("delete rule inet podiam forward {handle}"),
        "flush chain inet podiam imds".to_owned(),
        "flush chain inet podiam input".to_owned(),
        "delete table inet podiam".to_owned(),
        "flush ruleset".to_owned(),
    ]
}

/// The agent's keeper of the rules in this process, over a table that the kernel does not keep closed: an agent's own on
/// this kernel could not be harmed.
struct PlainKeeper(Option<Runtime>);

impl PlainKeeper {
    fn start(node: &Node) -> Self {
        let start = || {
            // Its threads are in the namespace of the thread that makes it.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let target = (NODE, APP_PORT).into();
            let rules = Rules::new(METADATA_V4, target, "".parse().unwrap())
                .also_to(Some(std::net::SocketAddrV6::new(NODE6, APP_PORT, 0, 0)));
            runtime.spawn(interception::keep(
                Box::new(Nftables::on_an_old_kernel()),
                rules,
                Readiness::default().condition("interception"),
                Arc::new(Metrics::new().unwrap()),
            ));
            runtime
        };
        Self(Some(node.namespace().enter(start).unwrap()))
    }
}

impl Drop for PlainKeeper {
    fn drop(&mut self) {
        // Dropped as such, it would wait for its threads, which a test's runtime forbids.
        self.0.take().unwrap().shutdown_background();
    }
}

fn is_intact(node: &Node) -> bool {
    let status = || Nftables::default().status().unwrap();
    let status = node.namespace().enter(status).unwrap();
    status.is_some_and(|status| status.is_intact() && status.intercepts.is_some())
}

/// Waits until the rules are as they should be, and returns how long that took.
fn intact(node: &Node) -> Duration {
    let since = Instant::now();
    while !is_intact(node) {
        assert!(since.elapsed() < PATIENCE, "not repaired");
        std::thread::yield_now();
    }
    since.elapsed()
}

/// The rules, whoever owns them and whenever they were written; with `-a` each with the number that it has for life.
fn listed(node: &Node, flags: &str) -> String {
    let arguments = ["-s", flags, "list", "table", "inet", "podiam"];
    let arguments = arguments
        .into_iter()
        .filter(|argument| !argument.is_empty());
    let table = node.run("nft", &arguments.collect::<Vec<_>>(), "").unwrap();
    let is_rule = |line: &&str| {
        !["table inet", "comment", "flags "]
            .iter()
            .any(|part| line.contains(part))
    };
    table.lines().filter(is_rule).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "figures are to be read")]
async fn a_plain_table_is_repaired_within_a_second_whatever_is_done_to_it() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let agent = node.start_agent_with(&["--intercept=none", &format!("--host-ip6={NODE6}")]);
        let _keeper = PlainKeeper::start(&node);
        intact(&node);
        agent.ready().await;
        for by_hand in by_hand(&node) {
            node.nft(&by_hand);
            let took = intact(&node);
            println!("{topology}: repaired after `nft {by_hand}`: {took:?}");
            assert!(took < LIMIT, "{by_hand}: {took:?}");
            assert_core(&node, &format!("after `nft {by_hand}`")).await;
        }
    }
}

#[tokio::test]
async fn an_owned_table_cannot_be_changed_by_hand() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let agent = node.start_agent();
        agent.ready().await;
        let before = listed(&node, "-a");
        node.nft("add table inet others");
        for by_hand in by_hand(&node) {
            match node.try_nft(&by_hand) {
                Ok(_) => assert_eq!(by_hand, "flush ruleset"),
                Err(refused) => assert!(
                    refused.contains("Operation not permitted"),
                    "{by_hand}: {refused}"
                ),
            }
            assert_eq!(listed(&node, "-a"), before, "{by_hand}");
        }
        assert!(
            !node.nft("list tables").contains("others"),
            "it was flushed"
        );
        assert_core(&node, "after attempts at the rules").await;
        let metrics = agent.metrics().await;
        assert!(
            metrics.contains("\npodiam_interception_repairs_total 0\n"),
            "{metrics}"
        );
    }
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "figures are to be read")]
async fn a_killed_agent_leaves_pods_refused_and_the_next_adopts_its_rules_as_they_are() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let agent = node.start_agent();
        agent.ready().await;
        let before = listed(&node, "-a");
        agent.process().end(Signal::SIGKILL);

        assert_eq!(listed(&node, "-a"), before);
        let refused = "connection refused";
        let mut rows = Vec::new();
        for imds in node.imds() {
            for pod in [&node.app, &node.victim, &node.unknown] {
                rows.push(Attack::new(pod.namespace(), imds).row("a pod", refused));
            }
        }
        for agent in node.agents() {
            let past = Attack::new(node.app.namespace(), agent);
            rows.push(past.row("past the DNAT", NOTHING));
        }
        node.assert("nobody there", &rows).await;

        let started = Instant::now();
        let next = node.start_agent();
        for imds in node.imds() {
            until(&Attack::new(node.app.namespace(), imds), "200 app").await;
        }
        let answered = started.elapsed();
        next.process().logs("outcome=Adopted").await;
        println!(
            "{topology}: after kill -9: pods answered {answered:?} after the next one's start"
        );
        next.ready().await;
        // No rule twice, none missing.
        assert_eq!(listed(&node, "-a"), before);
        assert_core(&node, "adopted").await;
    }
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "figures are to be read")]
async fn what_was_done_while_no_agent_ran_is_put_right_by_the_next() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let agent = node.start_agent();
        agent.ready().await;
        let before = listed(&node, "");
        agent.process().end(Signal::SIGKILL);
        for by_hand in by_hand(&node) {
            node.nft(&by_hand);
            if by_hand == "flush chain inet podiam input" {
                break;
            }
        }
        let started = Instant::now();
        let next = node.start_agent();
        intact(&node);
        println!(
            "{topology}: from process start to repaired rules: {:?}",
            started.elapsed()
        );
        next.ready().await;
        assert_eq!(listed(&node, ""), before);
        assert_core(&node, "repaired at the start").await;
    }
}
