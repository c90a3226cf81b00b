//! The same with `--intercept=iptables`, in both variants of it (legacy only where the kernel has it). Needs the
//! programs of the package iptables.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use podiam_intercept::{Backend, iptables::Iptables};
use podiam_lab::netns::{NODE6, Wiring};

use crate::attacks::assert_core;
use crate::node::{Attack, Node, Topology};
use crate::support::agent::Agent;
use crate::support::eventually;

/// Longer than that, pods must not be without the rules.
const LIMIT: Duration = Duration::from_secs(1);

/// Both wirings, with both families.
const TOPOLOGIES: [Topology; 2] = [
    Topology::new(Wiring::Routed, true),
    Topology::new(Wiring::Bridge, true),
];

/// A node whose kubelet uses this variant; `None` where the kernel has no such tables.
fn node(variant: &str, topology: Topology) -> Option<Node> {
    let node = Node::new(topology);
    for program in ["iptables", "ip6tables"] {
        match iptables(&node, variant, program, "-t mangle -N KUBE-IPTABLES-HINT") {
            Ok(_) => {}
            Err(refused) => {
                assert!(
                    variant == "legacy" && refused.contains("insmod"),
                    "{refused}"
                );
                return None;
            }
        }
    }
    Some(node)
}

fn iptables(node: &Node, variant: &str, family: &str, arguments: &str) -> Result<String, String> {
    let program = format!("{family}-{variant}");
    let arguments: Vec<&str> = ["-w", "10"]
        .into_iter()
        .chain(arguments.split_whitespace())
        .collect();
    node.run(&program, &arguments, "")
}

/// Every rule of both families, without what is only there because somebody looked.
fn everything(node: &Node, variant: &str) -> String {
    ["iptables", "ip6tables"]
        .map(|family| {
            ["nat", "mangle"].map(|table| {
                let list = format!("-t {table} -S");
                iptables(node, variant, family, &list).unwrap()
            })
        })
        .concat()
        .concat()
}

fn start(node: &Node) -> Agent {
    let host_ip6 = format!("--host-ip6={NODE6}");
    node.start_agent_with(&["--intercept=iptables", &host_ip6])
}

async fn repairs(agent: &Agent, wanted: usize) {
    eventually(&format!("repair {wanted}"), || async {
        let metrics = agent.metrics().await;
        let counted = format!("\npodiam_interception_repairs_total {wanted}\n");
        if metrics.contains(&counted) {
            Ok(())
        } else {
            Err("not counted".to_owned())
        }
    })
    .await;
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "figures are to be read")]
async fn rules_of_iptables_hold_what_those_of_nftables_do_and_are_repaired_within_a_second() {
    for variant in ["nft", "legacy"] {
        for topology in TOPOLOGIES {
            let Some(node) = node(variant, topology) else {
                continue;
            };
            let started = Instant::now();
            let agent = start(&node);
            agent.ready().await;
            println!("{variant}, {topology}: ready: {:?}", started.elapsed());
            let status = || Iptables::new().status().unwrap().unwrap();
            let status = || node.namespace().enter(status).unwrap();
            let place = status().place;
            assert!(place.contains(&format!("variant {variant} ")), "{place}");
            assert_core(&node, &format!("iptables, {variant}")).await;

            for (done, (family, by_hand)) in [
                ("iptables", "-t nat -F PODIAM-PREROUTING"),
                ("iptables", "-t mangle -D FORWARD -j PODIAM-FORWARD"),
                ("iptables", "-t mangle -F"),
                ("ip6tables", "-t nat -F"),
            ]
            .into_iter()
            .enumerate()
            {
                iptables(&node, variant, family, by_hand).unwrap();
                let since = Instant::now();
                repairs(&agent, done + 1).await;
                let took = since.elapsed();
                println!("{variant}, {topology}: repaired after `{family} {by_hand}`: {took:?}");
                assert!(took < LIMIT, "{variant} {by_hand}: {took:?}");
                assert!(status().is_intact(), "{}", status());
                assert_core(&node, &format!("{variant}, after `{family} {by_hand}`")).await;
            }
        }
    }
}

#[tokio::test]
async fn rules_of_iptables_outlive_a_killed_agent_and_are_found_by_the_next() {
    for variant in ["nft", "legacy"] {
        let Some(node) = node(variant, TOPOLOGIES[0]) else {
            continue;
        };
        let agent = start(&node);
        agent.ready().await;
        let before = everything(&node, variant);
        agent.process().end(Signal::SIGKILL);
        assert_eq!(everything(&node, variant), before);
        let imds = node.imds();
        let rows: Vec<_> = imds
            .iter()
            .map(|imds| Attack::new(node.app.namespace(), *imds).row("a pod", "connection refused"))
            .collect();
        node.assert("nobody there", &rows).await;

        let next = start(&node);
        next.ready().await;
        assert_eq!(
            everything(&node, variant),
            before,
            "none twice, none missing"
        );
        assert_core(&node, &format!("{variant}, found")).await;
    }
}
