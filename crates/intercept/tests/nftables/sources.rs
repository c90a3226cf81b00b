//! Requests with a source address that is not the sender's.

use podiam_intercept::{ReversePath, Rules};

use super::{
    dual_stack, install, packets, rules,
    support::{
        Namespace, accept, nobody_at,
        topology::{IMDS, IMDS_V6, Node, TARGET},
    },
};

/// Packets that were about to be brought to the agent.
fn translated(namespace: &Namespace) -> u64 {
    packets(namespace, "imds", "dnat")
}

#[test]
fn a_pod_that_borrows_another_pods_address_is_refused() {
    let node = Node::new();
    let agent = node.node.listen("[::]:8181");
    let (attacker, victim) = (node.routed_pod("eni1", 2), node.routed_pod("eni2", 3));
    for address in [format!("{}/32", victim.ip), format!("{}/128", victim.v6())] {
        attacker.pod.ip(&format!("address add {address} dev lo"));
    }
    let attempt = |metadata: &str| {
        let source = if metadata == IMDS {
            victim.ip.clone()
        } else {
            victim.v6()
        };
        attacker.pod.reach_nothing_from(&source, metadata);
    };

    // Without the check, the agent would answer the victim.
    let unchecked = Rules {
        reverse_path: ReversePath::Off,
        ..dual_stack()
    };
    install(&node.node, &unchecked);
    for (metadata, so_far) in [(IMDS, 1), (IMDS_V6, 2)] {
        attempt(metadata);
        assert!(translated(&node.node) >= so_far, "{metadata}");
    }

    install(&node.node, &dual_stack());
    for (metadata, set) in [(IMDS, "@metadata4"), (IMDS_V6, "@metadata6")] {
        attempt(metadata);
        assert_eq!(translated(&node.node), 0, "{metadata}");
        assert!(packets(&node.node, "rpfilter", set) > 0, "{metadata}");
        // By its own interface it goes on.
        victim.pod.reach(metadata);
        accept(&agent);
        install(&node.node, &rules(""));
        install(&node.node, &dual_stack());
    }
    nobody_at(&agent);
}

#[test]
fn a_borrowed_address_does_not_join_its_owners_connection() {
    let node = Node::new();
    let agent = node.node.listen(TARGET);
    let (attacker, victim) = (node.routed_pod("eni1", 2), node.routed_pod("eni2", 3));
    install(&node.node, &rules(""));
    let open = victim.pod.reach(IMDS);
    let _accepted = accept(&agent);
    let port = open.local_addr().unwrap().port();

    attacker
        .pod
        .ip(&format!("address add {}/32 dev lo", victim.ip));
    let before = packets(&node.node, "rpfilter", "@metadata4");
    attacker
        .pod
        .reach_nothing_from(&format!("{}:{port}", victim.ip), IMDS);
    assert!(packets(&node.node, "rpfilter", "@metadata4") > before);
}

#[test]
fn interfaces_whose_routes_stand_in_other_tables_are_not_checked() {
    let node = Node::new();
    install(&node.node, &rules(""));
    for (interface, number, is_checked) in [
        ("vlan1a2b", 2, false),
        ("lxc1a2b", 3, false),
        ("eni1", 4, true),
    ] {
        let pod = node.routed_pod(interface, number);
        let ip = &pod.ip;
        node.node.ip(&format!("route del {ip}/32 dev {interface}"));
        node.node
            .ip(&format!("route add {ip}/32 dev {interface} table 101"));
        node.node
            .ip(&format!("rule add iif {interface} lookup 101"));
        let before = translated(&node.node);
        pod.pod.reach_nothing(IMDS);
        assert_eq!(translated(&node.node) == before, is_checked, "{interface}");
    }
}
