//! The plan of `podiam migrate`, done with real rules: kube2iam (a stand-in for its listener; its rule and its chart's hook
//! are the real ones) beside podiam on one node, step by step and back. Needs the programs of the package iptables.

use std::sync::{Arc, Mutex};

use podiam_lab::netns::{NODE, NODE6, Wiring};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::node::{Attack, NOTHING, Node, Topology};

/// kube2iam's port.
const OLD_PORT: u16 = 8181;
/// `host.port` of the values that migrate makes.
const NEW_PORT: u16 = 8182;
const OLD: &str = "200 kube2iam";
const NEW: &str = "200 app";

const PODIAM: &str = env!("CARGO_BIN_EXE_podiam");

/// Answers everything with its name, as kube2iam answers the role list with a role.
async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let reply = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nkube2iam";
            let _ = stream.write_all(reply.as_bytes()).await;
        });
    }
}

/// kube2iam's own command line for its rule, in this variant of iptables; `None` where the kernel has no such tables.
fn rule(node: &Node, variant: &str, action: &str) -> Option<()> {
    let to = format!("{NODE}:{OLD_PORT}");
    let arguments = format!(
        "-w 10 -t nat {action} PREROUTING -p tcp -d 169.254.169.254 --dport 80 -j DNAT --to-destination {to} -i +"
    );
    let words: Vec<&str> = arguments.split_whitespace().collect();
    match node.run(&format!("iptables-{variant}"), &words, "") {
        Ok(_) => Some(()),
        Err(refused) => {
            assert!(
                variant == "legacy" && refused.contains("insmod"),
                "{refused}"
            );
            None
        }
    }
}

/// The preStop hook of kube2iam's chart.
fn hook(node: &Node, variant: &str) {
    let script = format!(
        "eval `iptables-{variant}-save | grep 169.254.169.254 | sed s/-A/'iptables-{variant} -t nat -D'/g`"
    );
    node.run("sh", &["-c", &script], "").unwrap();
}

fn podiam(node: &Node, words: &[&str]) {
    node.run(PODIAM, words, "").unwrap();
}

/// Both wirings; kube2iam has IPv4 only.
const TOPOLOGIES: [Topology; 2] = [
    Topology::new(Wiring::Routed, true),
    Topology::new(Wiring::Bridge, true),
];

#[tokio::test]
async fn podiam_takes_over_from_kube2iam_and_gives_back_and_no_step_opens_the_node() {
    for topology in TOPOLOGIES {
        for variant in ["nft", "legacy"] {
            let node = Node::new(topology);
            let listener = node.namespace().listen((NODE, OLD_PORT).into()).unwrap();
            let old = tokio::spawn(serve(listener));
            if rule(&node, variant, "-A").is_none() {
                continue;
            }
            steps(&node, variant).await;
            node.assert_unheard(variant);
            old.abort();
        }
    }
}

async fn steps(node: &Node, variant: &str) {
    let imds = node.imds()[0];
    let attack = || Attack::new(node.app.namespace(), imds);
    let is = |step: &'static str, outcome: &'static str| async move {
        node.assert(
            &format!("{variant}: {step}"),
            &[attack().row(step, outcome)],
        )
        .await;
    };
    is("kube2iam alone", OLD).await;

    podiam(node, &["intercept", "guard"]);
    is("the guard beside kube2iam", OLD).await;
    hook(node, variant);
    is(
        "kube2iam is updated, and its hook has taken its rule out",
        NOTHING,
    )
    .await;
    rule(node, variant, "-A").unwrap();
    is("kube2iam is back", OLD).await;

    // Pods ask all the while.
    let answers = Arc::new(Mutex::new(Vec::new()));
    let agent = node.start_agent_with(&[
        &format!("--app-port={NEW_PORT}"),
        &format!("--host-ip6={NODE6}"),
    ]);
    let asking = async {
        loop {
            let answer = attack().outcome(false).await;
            answers.lock().unwrap().push(answer);
        }
    };
    tokio::select! {
        () = asking => {}
        () = agent.ready() => {}
    }
    for answer in answers.lock().unwrap().iter() {
        assert!([OLD, NEW].contains(&answer.as_str()), "{variant}: {answer}");
    }
    is("podiam is ready, and kube2iam's rule still there", NEW).await;
    hook(node, variant);
    is("kube2iam is removed, and its hook has run", NEW).await;
    let left = node.run(
        &format!("iptables-{variant}"),
        &["-t", "nat", "-S", "PREROUTING"],
        "",
    );
    assert!(!left.unwrap().contains("169.254.169.254"), "{variant}");
    rule(node, variant, "-A").unwrap();
    is("kube2iam is installed again, behind podiam", NEW).await;

    drop(agent);
    is("podiam is uninstalled", "connection refused").await;
    podiam(node, &["intercept", "remove"]);
    is(
        "podiam's rules are removed, and kube2iam's counts again",
        OLD,
    )
    .await;
}
