//! Which interfaces are intercepted, and that a change of them leaves the rules alone.

use podiam_intercept::{Nftables, Outcome};

use super::{
    install, packets, rules,
    support::{
        accept, nobody_at,
        topology::{IMDS, Node, TARGET},
    },
};

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
        let before = packets(&node.node, "forward", "@metadata4");
        outside.pod.reach_nothing(IMDS);
        assert!(
            packets(&node.node, "forward", "@metadata4") > before,
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
fn a_change_of_interfaces_changes_elements_and_keeps_rules_and_counters() {
    let node = Node::new();
    let agent = node.node.listen(TARGET);
    let (one, two) = (node.routed_pod("eni1", 2), node.routed_pod("cali1", 3));
    let mut nftables = Nftables::default();
    let mut install = |interfaces| {
        let rules = rules(interfaces);
        node.node.run(|| nftables.install(&rules)).unwrap()
    };
    let handles = || {
        let listed = node.node.nft("--handle --stateless list table inet podiam");
        let rules = listed.lines().filter(|line| line.contains("counter"));
        rules.map(str::to_owned).collect::<Vec<_>>()
    };
    install("eni+");
    let before = handles();
    one.pod.reach(IMDS);
    accept(&agent);
    // Neighbours, patterns that take in what was there, and a pattern that gives way to one of its names.
    for (interfaces, is_two_covered) in [
        ("eni1,cali+", true),
        ("eni+,enj+", false),
        ("e+,!cali1", false),
        ("eni1,en+,cali1,!x+,!x1", true),
    ] {
        assert_eq!(install(interfaces), Outcome::Adjusted, "{interfaces}");
        assert_eq!(install(interfaces), Outcome::Unchanged, "{interfaces}");
        let dnats = packets(&node.node, "imds", "dnat");
        one.pod.reach(IMDS);
        accept(&agent);
        if is_two_covered {
            two.pod.reach(IMDS);
            accept(&agent);
        } else {
            two.pod.reach_nothing(IMDS);
        }
        let reached = 1 + u64::from(is_two_covered);
        assert_eq!(
            packets(&node.node, "imds", "dnat"),
            dnats + reached,
            "{interfaces}"
        );
    }
    assert_eq!(handles(), before);
    nobody_at(&agent);
}
