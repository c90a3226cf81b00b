//! What the kernel holds: written, shown, repaired and removed.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use podiam_intercept::{Nftables, Outcome};

use super::{
    dual_stack, install, install_plain, remove, rules, status,
    support::{
        Namespace, accept, nobody_at,
        topology::{IMDS, Node, TARGET, TARGET_V6},
    },
};

#[test]
fn installing_twice_changes_nothing_and_keeps_the_counters() {
    let node = Node::new();
    let agent = node.node.listen(TARGET);
    let pod = node.routed_pod("eni1", 2);
    // Held open, so that nothing is counted while two listings are compared.
    let mut open = Vec::new();
    let mut nftables = Nftables::default();
    for rules in [rules(""), rules("eni+,!eni7"), dual_stack()] {
        node.node.run(|| nftables.install(&rules)).unwrap();
        open.push((pod.pod.reach(IMDS), accept(&agent)));
        let before = node.node.nft("list table inet podiam");
        assert!(before.contains("packets 1 "), "{before}");
        let again = node.node.run(|| nftables.install(&rules)).unwrap();
        assert_eq!(again, Outcome::Unchanged);
        assert_eq!(node.node.nft("list table inet podiam"), before);
    }
}

#[test]
fn other_rules_replace_the_old_without_duplicates() {
    let node = Node::new();
    assert_eq!(install(&node.node, &rules("eni+")), Outcome::Created);
    let mut moved = rules("cali+");
    moved.target = Some("10.0.0.1:8282".parse().unwrap());
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
        let installer = scope.spawn(|| {
            let mut nftables = Nftables::default();
            for interfaces in ["eni+", ""].into_iter().cycle() {
                if enough() {
                    break;
                }
                let outcome = node.node.run(|| nftables.install(&rules(interfaces)));
                assert_eq!(outcome.unwrap(), Outcome::Replaced);
                replaced.fetch_add(1, Relaxed);
            }
        });
        // Ends also where an installation fails.
        while !enough() && !installer.is_finished() {
            pod.pod.reach(IMDS);
            accept(&agent);
            connected.fetch_add(1, Relaxed);
        }
        connected.fetch_max(200, Relaxed);
    });
    let watched = node.node.nft("list table inet watch");
    assert!(watched.contains("counter packets 0 "), "{watched}");
    nobody_at(&imds);
}

#[test]
fn an_independent_reader_sees_what_was_meant() {
    let node = Namespace::new();
    let mut wanted = rules("eni+,cni0,!eni7");
    wanted.target_v6 = Some(TARGET_V6.parse().unwrap());
    install_plain(&node, &wanted);
    let listed = node.nft("--stateless list table inet podiam");
    let lines: Vec<&str> = listed
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("comment \"podiam, written at"))
        .collect();
    assert_eq!(
        lines,
        [
            "table inet podiam {",
            "set metadata4 {",
            "type ipv4_addr",
            "elements = { 169.254.169.254 }",
            "}",
            "set metadata6 {",
            "type ipv6_addr",
            "elements = { fd00:ec2::254 }",
            "}",
            "set interfaces {",
            "type ifname",
            "flags interval",
            "elements = { \"cni0\",",
            "\"eni*\" }",
            "}",
            "set excluded {",
            "type ifname",
            "flags interval",
            "elements = { \"eni7\" }",
            "}",
            "set asymmetric {",
            "type ifname",
            "flags interval",
            "elements = { \"lxc*\",",
            "\"vlan*\" }",
            "}",
            "chain imds {",
            "ip daddr @metadata4 tcp dport 80 counter dnat ip to 10.0.0.1:8181",
            "ip6 daddr @metadata6 tcp dport 80 counter dnat ip6 to [fd00::1]:8181",
            "}",
            "chain rpfilter {",
            "type filter hook prerouting priority raw; policy accept;",
            "ip daddr @metadata4 iifname != @asymmetric fib saddr . iif oif missing counter drop",
            "ip6 daddr @metadata6 iifname != @asymmetric fib saddr . iif oif missing counter drop",
            "}",
            "chain prerouting {",
            "type nat hook prerouting priority dstnat - 5; policy accept;",
            "iifname @excluded counter return",
            "iifname @interfaces counter jump imds",
            "}",
            "chain input {",
            "type filter hook input priority filter; policy accept;",
            "iifname \"lo\" tcp dport 8181 counter accept",
            "tcp dport 8181 ct status dnat ct original ip daddr @metadata4 counter accept",
            "tcp dport 8181 ct status dnat ct original ip6 daddr @metadata6 counter accept",
            "tcp dport 8181 counter drop",
            "}",
            "chain forward {",
            "type filter hook forward priority filter; policy accept;",
            "ip daddr @metadata4 counter drop",
            "ip6 daddr @metadata6 counter drop",
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
        Some("ip daddr @metadata4 tcp dport 80 dnat ip to 10.0.0.1:8181")
    );
    // One SYN for each connection.
    assert_eq!(dnat.packets, 2);
    assert!(dnat.bytes >= 2 * 40);
    assert!(status.age_seconds.is_some_and(|age| age < 60), "{status}");
    assert_eq!(status.owner, None);
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
            "forward: missing: ip daddr @metadata4 drop",
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
        (
            "flush chain inet podiam rpfilter",
            "rpfilter: missing: ip daddr @metadata4 iifname != @asymmetric fib saddr . iif oif missing drop",
        ),
        (
            "add set inet podiam evil { type ipv4_addr ; }",
            "the set evil does not belong here",
        ),
    ] {
        remove(&node);
        install_plain(&node, &rules(""));
        node.nft(by_hand);
        let drifted = status(&node).expect("a table");
        assert!(
            drifted.drift.iter().any(|line| line == seen),
            "{by_hand}: {:?}",
            drifted.drift
        );
        assert_eq!(
            install_plain(&node, &rules("")),
            Outcome::Replaced,
            "{by_hand}"
        );
        let repaired = status(&node).expect("a table");
        assert!(repaired.is_intact(), "{by_hand}: {repaired}");
    }
    for (by_hand, seen) in [
        (
            "delete element inet podiam metadata4 { 169.254.169.254 }",
            "metadata4: missing: 169.254.169.254",
        ),
        (
            "add element inet podiam asymmetric { eni* }",
            "asymmetric: does not belong here: eni+",
        ),
        (
            "flush set inet podiam metadata6",
            "metadata6: missing: fd00:ec2::254",
        ),
    ] {
        node.nft(by_hand);
        let drifted = status(&node).expect("a table").drift;
        assert!(
            drifted.iter().any(|line| line == seen),
            "{by_hand}: {drifted:?}"
        );
        install_plain(&node, &rules(""));
        let repaired = status(&node).expect("a table");
        assert!(repaired.is_intact(), "{by_hand}: {repaired}");
    }
    node.nft("flush ruleset");
    assert_eq!(install_plain(&node, &rules("")), Outcome::Created);
}

#[test]
fn remove_leaves_nothing_and_says_whether_there_was_something() {
    let node = Node::new();
    let imds = node.world.listen("169.254.169.254:80");
    let pod = node.routed_pod("eni1", 2);
    node.node.nft("add table inet other");
    install(&node.node, &rules(""));
    assert!(remove(&node.node));
    assert_eq!(node.node.nft("list tables"), "table inet other\n");
    assert!(!remove(&node.node));
    assert_eq!(status(&node.node), None);
    pod.pod.reach(IMDS);
    accept(&imds);
}

#[test]
fn the_guard_refuses_pods_says_so_and_gives_way_to_an_agent() {
    let node = Node::new();
    let (imds, imds_v6) = (
        node.world.listen(IMDS),
        node.world.listen("[fd00:ec2::254]:80"),
    );
    let agent = node.node.listen(TARGET);
    let pod = node.routed_pod("eni1", 2);
    let guard = || node.node.run(|| Nftables::default().guard()).unwrap();
    assert_eq!(guard(), Outcome::Created);
    assert_eq!(guard(), Outcome::Unchanged);
    for metadata in [IMDS, "[fd00:ec2::254]:80"] {
        pod.pod.reach_nothing(metadata);
    }
    nobody_at(&imds);
    nobody_at(&imds_v6);
    let guarded = status(&node.node).unwrap();
    assert!(guarded.guard && guarded.is_intact(), "{guarded}");
    assert_eq!(guarded.intercepts, None);
    assert!(
        guarded
            .to_string()
            .starts_with("table inet podiam: guard: pods are refused, nothing is intercepted\n"),
        "{guarded}"
    );

    assert_eq!(install(&node.node, &rules("")), Outcome::Replaced);
    pod.pod.reach(IMDS);
    accept(&agent);
    assert_eq!(guard(), Outcome::Unchanged);
    assert!(!status(&node.node).unwrap().guard);
}
