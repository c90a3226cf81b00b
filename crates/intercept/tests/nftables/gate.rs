//! Who reaches the agent's port, and what the agent learns about a connection that was not translated.

use std::net::SocketAddr;

use podiam_intercept::connection::original_destination;

use super::{
    dual_stack, install, packets, rules,
    support::{
        accept, local, nobody_at,
        topology::{Node, TARGET, TARGET_V6},
    },
};

#[test]
fn the_agents_port_is_closed_to_direct_connections_of_pods_and_other_hosts() {
    let node = Node::new();
    let agent = node.node.listen("[::]:8181");
    let pod = node.routed_pod("eni1", 2);
    install(&node.node, &dual_stack());
    let mut dropped = 0;
    for from in [&pod.pod, &node.world] {
        for target in [TARGET, TARGET_V6] {
            from.reach_nothing(target);
            let now = packets(&node.node, "input", "drop");
            assert!(now > dropped, "{target}");
            dropped = now;
            nobody_at(&agent);
        }
    }
}

#[test]
fn the_agents_port_is_open_to_the_node_itself() {
    let node = Node::new();
    let agent = node.node.listen("[::]:8181");
    install(&node.node, &dual_stack());
    for target in [TARGET, TARGET_V6, "127.0.0.1:8181"] {
        node.node.reach(target);
        accept(&agent);
    }
}

#[test]
fn a_connection_translated_from_another_address_does_not_pass_the_gate() {
    // A Service whose endpoint is the agent: kube-proxy translates to it, and that must not count as intercepted.
    let node = Node::new();
    let agent = node.node.listen(TARGET);
    let pod = node.routed_pod("eni1", 2);
    node.node.nft("add table ip kube-proxy");
    node.node
        .nft("add chain ip kube-proxy services { type nat hook prerouting priority dstnat ; }");
    node.node.nft(
        "add rule ip kube-proxy services ip daddr 10.96.0.10 tcp dport 80 dnat to 10.0.0.1:8181",
    );
    let _without_podiam = (pod.pod.reach("10.96.0.10:80"), accept(&agent));

    install(&node.node, &rules(""));
    pod.pod.reach_nothing("10.96.0.10:80");
    nobody_at(&agent);
    assert!(packets(&node.node, "input", "drop") > 0);
}

#[test]
fn a_connection_that_was_not_translated_has_its_own_address_as_original_destination() {
    let node = Node::new();
    let agent = node.node.listen(TARGET);
    install(&node.node, &rules(""));
    node.node.reach(TARGET);
    let (connection, _) = accept(&agent);
    let original = original_destination(&connection, local(&connection)).unwrap();
    assert_eq!(original, TARGET.parse::<SocketAddr>().unwrap());
}
