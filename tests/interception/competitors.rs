//! Rule sets of others beside ours, in either order: kube-proxy, Docker, Calico and node-local-dns in the shapes that
//! they give their rules (hooks, priorities, marks, verdicts), written anew in nft's syntax.

use podiam_lab::netns::Wiring;

use crate::attacks::assert_core;
use crate::node::{Attack, NOTHING, Node, Topology};

const RULESETS: [(&str, &str); 6] = [
    ("kube-proxy", include_str!("rulesets/kube-proxy.nft")),
    (
        "kube-proxy in nftables mode",
        include_str!("rulesets/kube-proxy-nftables.nft"),
    ),
    ("Docker", include_str!("rulesets/docker.nft")),
    ("Calico", include_str!("rulesets/calico.nft")),
    (
        "Calico in nftables mode",
        include_str!("rulesets/calico-nftables.nft"),
    ),
    (
        "node-local-dns",
        include_str!("rulesets/node-local-dns.nft"),
    ),
];

/// Both wirings, with both families.
const TOPOLOGIES: [Topology; 2] = [
    Topology::new(Wiring::Routed, true),
    Topology::new(Wiring::Bridge, true),
];

#[tokio::test]
async fn rules_that_were_there_first_take_nothing_from_ours() {
    for topology in TOPOLOGIES {
        for (name, ruleset) in RULESETS {
            let node = Node::new(topology);
            node.nft(ruleset);
            let agent = node.start_agent();
            agent.ready().await;
            assert_core(&node, &format!("{name} first")).await;
        }
    }
}

#[tokio::test]
async fn rules_that_come_later_take_nothing_from_ours() {
    for topology in TOPOLOGIES {
        for (name, ruleset) in RULESETS {
            let node = Node::new(topology);
            let agent = node.start_agent();
            agent.ready().await;
            node.nft(ruleset);
            assert_core(&node, &format!("{name} later")).await;
        }
    }
}

#[tokio::test]
async fn a_service_that_claims_the_metadata_services_address_is_served_to_nobody() {
    // kube-proxy lets whoever may write a Service's externalIPs claim any address (CVE-2020-8554).
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        node.nft(include_str!("rulesets/kube-proxy.nft"));
        let thief = node.victim.namespace();
        let (v4, v6) = (node.victim.addresses()[0], node.victim.addresses()[1]);
        let thieves = [v4, v6].map(|address| thief.listen((address, 8080).into()).unwrap());
        for (listener, imds) in thieves.iter().zip(node.imds()) {
            let (asked, accepted) =
                tokio::join!(node.app.namespace().connect(imds), listener.accept());
            asked.unwrap();
            accepted.unwrap();
        }
        let agent = node.start_agent();
        agent.ready().await;
        assert_core(&node, "a Service at IMDS").await;
    }
}

#[tokio::test]
async fn a_port_that_others_translate_to_the_agents_leads_nowhere() {
    // A NodePort or hostPort: translated, but not from the metadata service's address.
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        node.nft(
            "table inet ports {
                chain prerouting {
                    type nat hook prerouting priority dstnat
                    ip daddr 10.0.0.10 tcp dport 30080 dnat ip to 10.0.0.10:8181
                    ip6 daddr fd00:10::10 tcp dport 30080 dnat ip6 to [fd00:10::10]:8181
                }
            }",
        );
        let agent = node.start_agent();
        agent.ready().await;
        let mut rows = Vec::new();
        for from in [node.app.namespace(), &node.host] {
            for agent in node.agents() {
                let port = (agent.ip(), 30080).into();
                rows.push(Attack::new(from, port).row("a NodePort", NOTHING));
            }
        }
        node.assert("a NodePort", &rows).await;
        assert_core(&node, "a NodePort").await;
    }
}

#[tokio::test]
async fn untracked_requests_are_dropped() {
    // Without conntrack there is no DNAT: what is left must not get through.
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let agent = node.start_agent();
        agent.ready().await;
        node.nft(
            "table inet untracked {
                chain prerouting {
                    type filter hook prerouting priority raw
                    ip daddr 169.254.169.254 notrack
                    ip6 daddr fd00:ec2::254 notrack
                }
            }",
        );
        let imds = node.imds();
        let rows: Vec<_> = imds
            .iter()
            .map(|imds| Attack::new(node.app.namespace(), *imds).row("untracked", NOTHING))
            .collect();
        node.assert("NOTRACK", &rows).await;
    }
}
