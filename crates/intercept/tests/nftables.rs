//! The rule set in real network namespaces: what pods reach, what they do not, and what the kernel holds.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests fail where the test would"
)]

mod support;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use podiam_intercept::{
    METADATA_V4, Outcome, Rules, Status, connection::original_destination, nftables,
};
use support::{
    Namespace, accept, nobody_at,
    topology::{IMDS, IMDS_V6, Node, TARGET, TARGET_V6},
};

fn rules(interfaces: &str) -> Rules {
    let interfaces = interfaces.parse().unwrap();
    Rules::new(METADATA_V4, TARGET.parse().unwrap(), interfaces)
}

fn dual_stack() -> Rules {
    Rules {
        target_v6: Some(TARGET_V6.parse().unwrap()),
        ..rules("")
    }
}

fn install(namespace: &Namespace, rules: &Rules) -> Outcome {
    namespace.run(|| nftables::install(rules)).unwrap()
}

fn status(namespace: &Namespace) -> Option<Status> {
    namespace.run(nftables::status).unwrap()
}

/// Packets that the rules of `chain` counted whose text contains `part`.
fn packets(namespace: &Namespace, chain: &str, part: &str) -> u64 {
    let rules = status(namespace).unwrap().rules;
    let matching = rules.iter().filter(|found| {
        found.chain == chain && found.rule.as_ref().is_some_and(|rule| rule.contains(part))
    });
    matching.map(|rule| rule.packets).sum()
}

#[test]
fn without_rules_a_pod_reaches_the_real_metadata_service() {
    // What every other test is about: this must hold for their refusals to mean anything.
    let node = Node::new();
    let imds = node.world.listen("169.254.169.254:80");
    let imds_v6 = node.world.listen("[fd00:ec2::254]:80");
    let pod = node.routed_pod("eni1", 2);
    pod.pod.reach(IMDS);
    accept(&imds);
    pod.pod.reach(IMDS_V6);
    accept(&imds_v6);
}

#[test]
fn a_pod_on_a_routed_veth_without_a_host_address_lands_at_the_agent() {
    let node = Node::new();
    let imds = node.world.listen("169.254.169.254:80");
    let agent = node.node.listen(TARGET);
    let pod = node.routed_pod("eni1", 2);
    assert_eq!(install(&node.node, &rules("")), Outcome::Created);

    let client = pod.pod.reach(IMDS);
    let (connection, peer) = accept(&agent);
    assert_eq!(peer, client.local_addr().unwrap());
    assert_eq!(peer.ip().to_string(), pod.ip);
    assert_eq!(
        connection.local_addr().unwrap(),
        TARGET.parse::<SocketAddr>().unwrap()
    );
    assert_eq!(
        original_destination(&connection).unwrap(),
        IMDS.parse::<SocketAddr>().unwrap()
    );
    nobody_at(&imds);
}

#[test]
fn pods_on_a_shared_bridge_land_at_the_agent() {
    let node = Node::new();
    let agent = node.node.listen(TARGET);
    let (one, two) = node.bridged_pods();
    install(&node.node, &rules("cni0"));
    for pod in [one, two] {
        pod.pod.reach(IMDS);
        let (connection, peer) = accept(&agent);
        assert_eq!(peer.ip().to_string(), pod.ip);
        assert_eq!(
            original_destination(&connection).unwrap(),
            IMDS.parse::<SocketAddr>().unwrap()
        );
    }
}

#[test]
fn a_dual_stack_listener_sees_the_original_destination_of_both_families() {
    let node = Node::new();
    let imds_v6 = node.world.listen("[fd00:ec2::254]:80");
    let agent = node.node.listen("[::]:8181");
    let pod = node.routed_pod("eni1", 2);
    install(&node.node, &dual_stack());
    for metadata in [IMDS, IMDS_V6] {
        pod.pod.reach(metadata);
        let (connection, _) = accept(&agent);
        let original = original_destination(&connection).unwrap();
        assert_eq!(original, metadata.parse::<SocketAddr>().unwrap());
    }
    nobody_at(&imds_v6);
}

#[test]
fn a_connection_that_was_not_translated_has_its_own_address_as_original_destination() {
    let node = Node::new();
    let agent = node.node.listen(TARGET);
    install(&node.node, &rules(""));
    node.node.reach(TARGET);
    let (connection, _) = accept(&agent);
    let original = original_destination(&connection).unwrap();
    assert_eq!(original, TARGET.parse::<SocketAddr>().unwrap());
}

#[test]
fn interfaces_left_out_are_refused_and_the_others_intercepted() {
    let node = Node::new();
    let imds = node.world.listen("169.254.169.254:80");
    let agent = node.node.listen(TARGET);
    let inside = node.routed_pod("eni1", 2);
    let outside = node.routed_pod("veth1", 3);
    for interfaces in [
        "eni+",
        "eni1",
        "eni+,cali+",
        "!veth1",
        "!veth+",
        "eni+,veth+,!veth1",
    ] {
        install(&node.node, &rules(interfaces));
        inside.pod.reach(IMDS);
        let (_, peer) = accept(&agent);
        assert_eq!(peer.ip().to_string(), inside.ip, "{interfaces}");
        let before = packets(&node.node, "forward", "169.254.169.254");
        outside.pod.reach_nothing(IMDS);
        assert!(
            packets(&node.node, "forward", "169.254.169.254") > before,
            "{interfaces}"
        );
        nobody_at(&agent);
        nobody_at(&imds);
    }
}

#[test]
fn an_exact_interface_name_does_not_cover_a_longer_one() {
    let node = Node::new();
    let agent = node.node.listen(TARGET);
    let longer = node.routed_pod("eni12", 2);
    install(&node.node, &rules("eni1"));
    longer.pod.reach_nothing(IMDS);
    nobody_at(&agent);
}

#[test]
fn other_ports_and_protocols_of_the_metadata_service_are_dropped() {
    let node = Node::new();
    let other_port = node.world.listen("169.254.169.254:8080");
    let udp = node
        .world
        .run(|| std::net::UdpSocket::bind("169.254.169.254:80"))
        .unwrap();
    udp.set_nonblocking(true).unwrap();
    let pod = node.routed_pod("eni1", 2);
    install(&node.node, &rules(""));

    let client = pod
        .pod
        .run(|| std::net::UdpSocket::bind("0.0.0.0:0"))
        .unwrap();
    client.send_to(b"GET", IMDS).unwrap();
    // The datagram is through before this one, which takes the same way.
    pod.pod.reach_nothing(IMDS_V6);
    let datagrams = packets(&node.node, "forward", "169.254.169.254");
    assert_eq!(datagrams, 1);
    assert!(udp.recv_from(&mut [0; 8]).is_err());

    pod.pod.reach_nothing("169.254.169.254:8080");
    assert!(packets(&node.node, "forward", "169.254.169.254") > datagrams);
    nobody_at(&other_port);
}

#[test]
fn the_other_link_local_services_stay_reachable() {
    let node = Node::new();
    let dns = node.world.listen("169.254.169.253:53");
    let pod = node.routed_pod("eni1", 2);
    install(&node.node, &rules(""));
    pod.pod.reach("169.254.169.253:53");
    accept(&dns);
}

#[test]
fn without_a_v6_target_the_v6_metadata_service_is_dropped() {
    let node = Node::new();
    let imds = node.world.listen("[fd00:ec2::254]:80");
    let pod = node.routed_pod("eni1", 2);
    install(&node.node, &rules(""));
    pod.pod.reach_nothing(IMDS_V6);
    assert!(packets(&node.node, "forward", "fd00:ec2::254") > 0);
    nobody_at(&imds);
}

#[test]
fn with_a_v6_target_other_ports_of_the_v6_metadata_service_are_dropped() {
    let node = Node::new();
    let imds = node.world.listen("[fd00:ec2::254]:8080");
    let pod = node.routed_pod("eni1", 2);
    install(&node.node, &dual_stack());
    pod.pod.reach_nothing("[fd00:ec2::254]:8080");
    assert!(packets(&node.node, "forward", "fd00:ec2::254") > 0);
    nobody_at(&imds);
}

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
fn a_competing_rule_at_dstnat_does_not_win() {
    let node = Node::new();
    let agent = node.node.listen(TARGET);
    let kube2iam = node.node.listen("10.0.0.1:9999");
    let pod = node.routed_pod("eni1", 2);
    node.node.nft("add table ip nat");
    node.node
        .nft("add chain ip nat PREROUTING { type nat hook prerouting priority dstnat ; }");
    node.node.nft(
        "add rule ip nat PREROUTING ip daddr 169.254.169.254 tcp dport 80 dnat to 10.0.0.1:9999",
    );
    install(&node.node, &rules(""));
    pod.pod.reach(IMDS);
    accept(&agent);
    nobody_at(&kube2iam);
}

#[test]
fn the_node_itself_still_reaches_the_real_metadata_service() {
    let node = Node::new();
    let imds = node.world.listen("169.254.169.254:80");
    install(&node.node, &rules(""));
    node.node.reach(IMDS);
    accept(&imds);
}

#[test]
fn nobody_at_the_agents_port_means_refused_not_the_real_metadata_service() {
    let node = Node::new();
    let imds = node.world.listen("169.254.169.254:80");
    let pod = node.routed_pod("eni1", 2);
    install(&node.node, &rules(""));
    pod.pod.reach_refusal(IMDS);
    nobody_at(&imds);
}

#[test]
fn installing_twice_changes_nothing_and_keeps_the_counters() {
    let node = Node::new();
    let agent = node.node.listen(TARGET);
    let pod = node.routed_pod("eni1", 2);
    // Held open, so that nothing is counted while two listings are compared.
    let mut open = Vec::new();
    for rules in [rules(""), rules("eni+,!eni7"), dual_stack()] {
        install(&node.node, &rules);
        open.push((pod.pod.reach(IMDS), accept(&agent)));
        let before = node.node.nft("list table inet podiam");
        assert!(before.contains("packets 1 "), "{before}");
        assert_eq!(install(&node.node, &rules), Outcome::Unchanged);
        assert_eq!(node.node.nft("list table inet podiam"), before);
    }
}

#[test]
fn other_rules_replace_the_old_without_duplicates() {
    let node = Node::new();
    assert_eq!(install(&node.node, &rules("eni+")), Outcome::Created);
    let mut moved = rules("cali+");
    moved.target = "10.0.0.1:8282".parse().unwrap();
    assert_eq!(install(&node.node, &moved), Outcome::Replaced);
    let table = node.node.nft("list table inet podiam");
    assert_eq!(table.matches("dnat ip to").count(), 1, "{table}");
    assert!(table.contains("dnat ip to 10.0.0.1:8282"), "{table}");
    assert!(!table.contains("8181") && !table.contains("eni"), "{table}");
}

#[test]
fn rules_are_replaced_without_a_moment_in_between() {
    let node = Node::new();
    let imds = node.world.listen("169.254.169.254:80");
    let agent = node.node.listen(TARGET);
    let pod = node.routed_pod("eni1", 2);
    // Counts every packet that was not translated, ahead of podiam's own drop.
    node.node.nft("add table inet watch");
    node.node
        .nft("add chain inet watch forward { type filter hook forward priority -300 ; }");
    node.node
        .nft("add rule inet watch forward ip daddr 169.254.169.254 counter");
    install(&node.node, &rules(""));

    // A pod connects all the time, while every installation replaces the table.
    let connected = AtomicUsize::new(0);
    let replaced = AtomicUsize::new(0);
    let enough = || connected.load(Relaxed) >= 200 && replaced.load(Relaxed) >= 20;
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !enough() {
                pod.pod.reach(IMDS);
                accept(&agent);
                connected.fetch_add(1, Relaxed);
            }
        });
        for interfaces in ["eni+", ""].into_iter().cycle() {
            if enough() || client.is_finished() {
                break;
            }
            assert_eq!(install(&node.node, &rules(interfaces)), Outcome::Replaced);
            replaced.fetch_add(1, Relaxed);
        }
    });
    let watched = node.node.nft("list table inet watch");
    assert!(watched.contains("counter packets 0 "), "{watched}");
    nobody_at(&imds);
}

#[test]
fn an_independent_reader_sees_what_was_meant() {
    let node = Namespace::new();
    let mut wanted = rules("eni+,!eni7");
    wanted.target_v6 = Some(TARGET_V6.parse().unwrap());
    install(&node, &wanted);
    let listed = node.nft("--stateless list table inet podiam");
    let lines: Vec<&str> = listed
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(
        lines,
        [
            "table inet podiam {",
            "chain imds {",
            "ip daddr 169.254.169.254 tcp dport 80 counter dnat ip to 10.0.0.1:8181",
            "ip6 daddr fd00:ec2::254 tcp dport 80 counter dnat ip6 to [fd00::1]:8181",
            "}",
            "chain prerouting {",
            "type nat hook prerouting priority dstnat - 5; policy accept;",
            "iifname \"eni7\" counter return",
            "iifname \"eni*\" counter jump imds",
            "}",
            "chain input {",
            "type filter hook input priority filter; policy accept;",
            "iifname \"lo\" tcp dport 8181 counter accept",
            "tcp dport 8181 ct status dnat ct original ip daddr 169.254.169.254 counter accept",
            "tcp dport 8181 ct status dnat ct original ip6 daddr fd00:ec2::254 counter accept",
            "tcp dport 8181 counter drop",
            "}",
            "chain forward {",
            "type filter hook forward priority filter; policy accept;",
            "ip daddr 169.254.169.254 counter drop",
            "ip6 daddr fd00:ec2::254 counter drop",
            "}",
            "}",
        ],
        "{listed}"
    );
}

#[test]
fn status_says_what_is_intercepted_and_counts_it() {
    let node = Node::new();
    let _agent = node.node.listen(TARGET);
    let pod = node.routed_pod("eni1", 2);
    assert_eq!(status(&node.node), None);
    install(&node.node, &rules("eni+,!eni7"));
    pod.pod.reach(IMDS);
    pod.pod.reach(IMDS);

    let status = status(&node.node).expect("a table");
    assert!(status.is_intact(), "{status}");
    assert_eq!(status.intercepts, Some(rules("eni+,!eni7")));
    let dnat = status
        .rules
        .iter()
        .find(|rule| rule.chain == "imds")
        .unwrap();
    assert_eq!(
        dnat.rule.as_deref(),
        Some("ip daddr 169.254.169.254 tcp dport 80 dnat ip to 10.0.0.1:8181")
    );
    // One SYN for each connection.
    assert_eq!(dnat.packets, 2);
    assert!(dnat.bytes >= 2 * 40);
}

#[test]
fn whatever_is_done_to_the_table_by_hand_is_seen_and_repaired() {
    let node = Namespace::new();
    for (by_hand, seen) in [
        (
            "flush chain inet podiam imds",
            "the rule that brings requests to the agent is missing",
        ),
        (
            "flush chain inet podiam forward",
            "forward: missing: ip daddr 169.254.169.254 drop",
        ),
        (
            "add rule inet podiam input tcp dport 8181 counter accept",
            "input: does not belong here: tcp dport 8181 accept",
        ),
        (
            "insert rule inet podiam prerouting ip saddr 10.244.0.9 accept",
            "prerouting: rules that are not podiam's: 1",
        ),
        (
            "add rule inet podiam input tcp dport 8181 counter drop",
            "input: rules doubled or in another order",
        ),
        (
            "add chain inet podiam evil { type filter hook forward priority -10 ; }",
            "the chain evil does not belong here",
        ),
        (
            "add table inet podiam { flags dormant ; }",
            "the table is dormant: none of its rules work",
        ),
        (
            "chain inet podiam forward { policy drop ; }",
            "the chain forward has another hook, priority or policy",
        ),
    ] {
        node.run(nftables::remove).unwrap();
        install(&node, &rules(""));
        node.nft(by_hand);
        let drifted = status(&node).expect("a table");
        assert!(
            drifted.drift.iter().any(|line| line == seen),
            "{by_hand}: {:?}",
            drifted.drift
        );
        assert_eq!(install(&node, &rules("")), Outcome::Replaced, "{by_hand}");
        let repaired = status(&node).expect("a table");
        assert!(repaired.is_intact(), "{by_hand}: {repaired}");
    }
    node.nft("flush ruleset");
    assert_eq!(install(&node, &rules("")), Outcome::Created);
}

#[test]
fn remove_leaves_nothing_and_says_whether_there_was_something() {
    let node = Node::new();
    let imds = node.world.listen("169.254.169.254:80");
    let pod = node.routed_pod("eni1", 2);
    node.node.nft("add table inet other");
    install(&node.node, &rules(""));
    assert!(node.node.run(nftables::remove).unwrap());
    assert_eq!(node.node.nft("list tables"), "table inet other\n");
    assert!(!node.node.run(nftables::remove).unwrap());
    assert_eq!(status(&node.node), None);
    pod.pod.reach(IMDS);
    accept(&imds);
}

#[test]
fn a_target_that_no_pod_could_be_brought_to_is_refused() {
    let node = Namespace::new();
    for (target, named) in [
        ("127.0.0.1:8181", "127.0.0.1"),
        ("0.0.0.0:8181", "0.0.0.0"),
        ("10.0.0.1:0", "10.0.0.1"),
    ] {
        let rules = Rules {
            target: target.parse().unwrap(),
            ..rules("")
        };
        let error = node.run(|| nftables::install(&rules)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "pods' connections cannot be brought to {named}: --host-ip must be an address of the node"
            )
        );
    }
    assert_eq!(status(&node), None);
}

#[test]
fn a_table_that_another_process_owns_is_named_as_the_cause() {
    let node = Namespace::new();
    let owner = support::owner_of_a_table(&node);
    let error = node.run(|| nftables::install(&rules(""))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table inet podiam is owned by another process that is still running"
    );
    drop(owner);
}

#[test]
fn without_cap_net_admin_the_error_names_the_capability() {
    let node = Namespace::new();
    let error = node.run(|| {
        support::drop_capabilities_of_this_thread();
        nftables::install(&rules(""))
    });
    assert_eq!(
        error.unwrap_err().to_string(),
        "nftables needs the capability CAP_NET_ADMIN"
    );
}
