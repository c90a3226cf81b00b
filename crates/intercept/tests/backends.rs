//! What pods reach and what they do not, the same for every back end that writes rules: nftables, and both variants of
//! iptables (where the kernel has none of legacy's, its error is tested instead). What only one of them has is tested in its own file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail where the test would"
)]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpStream, UdpSocket},
    time::Duration,
};

use podiam_intercept::{
    METADATA_V4, Outcome, ReversePath, Rules, connection::original_destination,
};
use support::{
    Namespace, accept,
    backends::{Kind, every},
    local, nobody_at, refuse_what_conntrack_does_not_know,
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

/// Packets that a rule of `chain` (in any spelling) dropped whose text contains `part`.
fn dropped(kind: Kind, node: &Namespace, chain: &str, part: &str) -> u64 {
    let status = kind.status(node).expect("rules");
    // nftables' rules name a set of addresses.
    let set = match part {
        "169.254.169.254" => "@metadata4",
        "fd00:ec2::254" => "@metadata6",
        other => other,
    };
    let rules = status.rules.iter().filter(|found| {
        let text = found.rule.as_deref().unwrap_or_default().to_lowercase();
        let is_there = found.chain.to_lowercase().ends_with(chain);
        is_there && (text.contains(part) || text.contains(set)) && text.ends_with("drop")
    });
    rules.map(|rule| rule.packets).sum()
}

#[test]
fn a_request_of_a_pod_reaches_the_agent_with_the_pods_address_and_the_original_destination() {
    for kind in every() {
        let node = Node::new();
        let imds = node.world.listen(IMDS);
        let agent = node.node.listen(TARGET);
        let pod = node.routed_pod("eni1", 2);
        kind.install(&node.node, &rules(""));
        let _client = pod.pod.reach(IMDS);
        let (connection, peer) = accept(&agent);
        assert_eq!(peer.ip().to_string(), pod.ip, "{kind}");
        let destination = original_destination(&connection, local(&connection)).unwrap();
        assert_eq!(destination, IMDS.parse().unwrap(), "{kind}");
        nobody_at(&imds);
    }
}

#[test]
fn pods_on_a_bridge_reach_the_agent_too() {
    for kind in every() {
        let node = Node::new();
        let agent = node.node.listen(TARGET);
        let (first, second) = node.bridged_pods();
        kind.install(&node.node, &rules("cni0"));
        for pod in [first, second] {
            pod.pod.reach(IMDS);
            let (_, peer) = accept(&agent);
            assert_eq!(peer.ip().to_string(), pod.ip, "{kind}");
        }
    }
}

#[test]
fn over_ipv6_a_request_reaches_the_target_or_is_dropped_where_there_is_none() {
    for kind in every() {
        let node = Node::new();
        let imds = node.world.listen(IMDS_V6);
        let agent = node.node.listen(TARGET_V6);
        let pod = node.routed_pod("eni1", 2);
        kind.install(&node.node, &dual_stack());
        let _client = pod.pod.reach(IMDS_V6);
        let (connection, peer) = accept(&agent);
        assert_eq!(peer.ip().to_string(), pod.v6(), "{kind}");
        let destination = original_destination(&connection, local(&connection)).unwrap();
        assert_eq!(destination, IMDS_V6.parse().unwrap(), "{kind}");

        kind.install(&node.node, &rules(""));
        pod.pod.reach_nothing(IMDS_V6);
        assert!(
            dropped(kind, &node.node, "forward", "fd00:ec2::254") > 0,
            "{kind}"
        );
        nobody_at(&agent);
        nobody_at(&imds);
    }
}

#[test]
fn with_a_target_of_ipv6_alone_requests_over_ipv4_are_dropped() {
    for kind in every() {
        let node = Node::new();
        let imds = node.world.listen(IMDS);
        let agent = node.node.listen("[::]:8181");
        let pod = node.routed_pod("eni1", 2);
        let left_out = node.routed_pod("cali1", 3);
        let v6 = Rules::new(
            METADATA_V4,
            TARGET_V6.parse().unwrap(),
            "eni+".parse().unwrap(),
        );
        kind.install(&node.node, &v6);
        let status = kind.status(&node.node).unwrap();
        assert!(status.is_intact(), "{kind}: {status}");
        assert_eq!(status.intercepts, Some(v6), "{kind}");
        assert!(
            status.to_string().contains("169.254.169.254 refused"),
            "{kind}: {status}"
        );

        pod.pod.reach_nothing(IMDS);
        assert!(
            dropped(kind, &node.node, "forward", "169.254.169.254") > 0,
            "{kind}"
        );
        pod.pod.reach(IMDS_V6);
        accept(&agent);
        left_out.pod.reach_nothing(IMDS_V6);
        for target in [TARGET, TARGET_V6] {
            pod.pod.reach_nothing(target);
        }
        nobody_at(&agent);
        nobody_at(&imds);
    }
}

#[test]
fn interfaces_that_are_left_out_are_refused_and_not_let_through() {
    for kind in every() {
        let node = Node::new();
        let imds = node.world.listen(IMDS);
        let agent = node.node.listen(TARGET);
        let inside = node.routed_pod("eni1", 2);
        let outside = node.routed_pod("veth1", 3);
        for interfaces in ["eni+", "eni1", "!veth1", "eni+,veth+,!veth1"] {
            kind.install(&node.node, &rules(interfaces));
            inside.pod.reach(IMDS);
            let (_, peer) = accept(&agent);
            assert_eq!(peer.ip().to_string(), inside.ip, "{kind} {interfaces}");
            let before = dropped(kind, &node.node, "forward", "169.254.169.254");
            outside.pod.reach_nothing(IMDS);
            let after = dropped(kind, &node.node, "forward", "169.254.169.254");
            assert!(after > before, "{kind} {interfaces}");
            nobody_at(&agent);
            nobody_at(&imds);
        }
    }
}

#[test]
fn other_ports_and_protocols_of_the_metadata_service_are_dropped_and_other_services_are_not() {
    for kind in every() {
        let node = Node::new();
        let other_port = node.world.listen("169.254.169.254:8080");
        let dns = node.world.listen("169.254.169.253:53");
        let pod = node.routed_pod("eni1", 2);
        kind.install(&node.node, &rules(""));
        pod.pod.reach_nothing("169.254.169.254:8080");
        let connects = dropped(kind, &node.node, "forward", "169.254.169.254");
        assert!(connects > 0, "{kind}");
        nobody_at(&other_port);

        let client = pod.pod.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        client.send_to(b"GET", IMDS).unwrap();
        // The datagram is through before this connection, which takes the same way.
        pod.pod.reach("169.254.169.253:53");
        accept(&dns);
        assert!(
            dropped(kind, &node.node, "forward", "169.254.169.254") > connects,
            "{kind}"
        );
    }
}

#[test]
fn the_agents_port_is_closed_to_all_but_the_node_and_intercepted_requests() {
    for kind in every() {
        let node = Node::new();
        let agent = node.node.listen("[::]:8181");
        let pod = node.routed_pod("eni1", 2);
        kind.install(&node.node, &dual_stack());
        let mut before = 0;
        for from in [&pod.pod, &node.world] {
            for target in [TARGET, TARGET_V6] {
                from.reach_nothing(target);
                let now = dropped(kind, &node.node, "input", "8181");
                assert!(now > before, "{kind} {target}");
                before = now;
                nobody_at(&agent);
            }
        }
        for target in [TARGET, TARGET_V6, "127.0.0.1:8181"] {
            node.node.reach(target);
            accept(&agent);
        }
    }
}

#[test]
fn a_connection_translated_from_another_address_does_not_pass_the_gate() {
    // A Service whose endpoint is the agent: kube-proxy translates to it, and that must not count as intercepted.
    for kind in every() {
        let node = Node::new();
        let agent = node.node.listen(TARGET);
        let pod = node.routed_pod("eni1", 2);
        kind.translate(&node.node, "10.96.0.10", "10.0.0.1:8181");
        let _without_podiam = (pod.pod.reach("10.96.0.10:80"), accept(&agent));

        kind.install(&node.node, &rules(""));
        pod.pod.reach_nothing("10.96.0.10:80");
        nobody_at(&agent);
        assert!(dropped(kind, &node.node, "input", "8181") > 0, "{kind}");
    }
}

#[test]
fn a_competing_translation_that_was_there_first_does_not_win() {
    for kind in every() {
        let node = Node::new();
        let agent = node.node.listen(TARGET);
        let kube2iam = node.node.listen("10.0.0.1:9999");
        let pod = node.routed_pod("eni1", 2);
        kind.translate(&node.node, "169.254.169.254", "10.0.0.1:9999");
        let _without_podiam = (pod.pod.reach(IMDS), accept(&kube2iam));

        kind.install(&node.node, &rules(""));
        pod.pod.reach(IMDS);
        accept(&agent);
        nobody_at(&kube2iam);
    }
}

#[test]
fn a_pod_that_borrows_another_pods_address_is_refused() {
    for kind in every() {
        let node = Node::new();
        let agent = node.node.listen("[::]:8181");
        let (attacker, victim) = (node.routed_pod("eni1", 2), node.routed_pod("eni2", 3));
        for address in [format!("{}/32", victim.ip), format!("{}/128", victim.v6())] {
            attacker.pod.ip(&format!("address add {address} dev lo"));
        }
        let unchecked = Rules {
            reverse_path: ReversePath::Off,
            ..dual_stack()
        };
        for (rules, is_checked) in [(unchecked, false), (dual_stack(), true)] {
            kind.install(&node.node, &rules);
            for (source, metadata, address) in [
                (victim.ip.clone(), IMDS, "169.254.169.254"),
                (victim.v6(), IMDS_V6, "fd00:ec2::254"),
            ] {
                attacker.pod.reach_nothing_from(&source, metadata);
                let refused = dropped(kind, &node.node, "rpfilter", address);
                assert_eq!(refused > 0, is_checked, "{kind} {metadata}");
            }
        }
        nobody_at(&agent);
        // Each by its own interface goes on.
        for pod in [attacker, victim] {
            pod.pod.reach(IMDS);
            accept(&agent);
        }
    }
}

#[test]
fn without_an_agent_pods_are_refused_and_the_node_itself_reaches_the_real_service() {
    for kind in every() {
        let node = Node::new();
        let imds = node.world.listen(IMDS);
        let pod = node.routed_pod("eni1", 2);
        kind.install(&node.node, &rules(""));
        pod.pod.reach_refusal(IMDS);
        nobody_at(&imds);
        node.node.reach(IMDS);
        accept(&imds);
    }
}

#[test]
fn the_guard_only_refuses_and_leaves_an_agents_rules_as_they_are() {
    for kind in every() {
        let node = Node::new();
        let imds = (node.world.listen(IMDS), node.world.listen(IMDS_V6));
        let agent = node.node.listen(TARGET);
        let pod = node.routed_pod("eni1", 2);
        assert_eq!(kind.guard(&node.node), Outcome::Created, "{kind}");
        assert_eq!(kind.guard(&node.node), Outcome::Unchanged, "{kind}");
        for address in [IMDS, IMDS_V6] {
            pod.pod.reach_nothing(address);
        }
        for address in ["169.254.169.254", "fd00:ec2::254"] {
            assert!(dropped(kind, &node.node, "forward", address) > 0, "{kind}");
        }
        nobody_at(&imds.0);
        nobody_at(&imds.1);
        pod.pod.reach(TARGET);
        accept(&agent);
        assert_eq!(kind.status(&node.node).unwrap().intercepts, None, "{kind}");

        assert_eq!(
            kind.install(&node.node, &rules("")),
            Outcome::Replaced,
            "{kind}"
        );
        pod.pod.reach(IMDS);
        accept(&agent);
        assert_eq!(kind.guard(&node.node), Outcome::Unchanged, "{kind}");
        pod.pod.reach(IMDS);
        accept(&agent);
    }
}

/// Sends on a connection until the other side's kernel has refused it.
fn must_be_dead(mut connection: &TcpStream) {
    connection
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let ended = connection
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .and_then(|()| connection.read(&mut [0; 64]));
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

fn nothing_came(mut connection: &TcpStream) {
    connection.set_nonblocking(true).unwrap();
    let received = connection.read(&mut [0; 64]);
    assert_eq!(received.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_connection_to_the_real_metadata_service_does_not_go_on() {
    for kind in every() {
        let node = Node::new();
        let imds = node.world.listen(IMDS);
        let agent = node.node.listen(TARGET);
        let pod = node.routed_pod("eni1", 2);
        refuse_what_conntrack_does_not_know(&node.node);
        let client = pod.pod.reach(IMDS);
        let (server, _) = accept(&imds);
        assert_eq!(
            kind.install(&node.node, &rules("")),
            Outcome::Created,
            "{kind}"
        );
        must_be_dead(&client);
        nothing_came(&server);
        nobody_at(&agent);
    }
}

#[test]
fn a_connection_that_others_translated_does_not_go_on() {
    for kind in every() {
        let node = Node::new();
        let _agent = node.node.listen(TARGET);
        let kube2iam = node.node.listen("10.0.0.1:9999");
        let pod = node.routed_pod("eni1", 2);
        kind.translate(&node.node, "169.254.169.254", "10.0.0.1:9999");
        let client = pod.pod.reach(IMDS);
        let (server, _) = accept(&kube2iam);
        kind.install(&node.node, &rules(""));
        must_be_dead(&client);
        nothing_came(&server);
    }
}

#[test]
fn installing_twice_changes_nothing_and_keeps_the_counters() {
    for kind in every() {
        let node = Node::new();
        let agent = node.node.listen(TARGET);
        let pod = node.routed_pod("eni1", 2);
        // Held open, so that nothing is counted while two readings are compared.
        let mut open = Vec::new();
        for rules in [rules(""), rules("eni+,!eni7"), dual_stack(), rules("")] {
            assert!(
                kind.install(&node.node, &rules).has_changed_rules(),
                "{kind}"
            );
            open.push((pod.pod.reach(IMDS), accept(&agent)));
            let before = kind.status(&node.node).unwrap();
            assert!(before.is_intact(), "{kind}: {before}");
            assert_eq!(before.intercepts.as_ref(), Some(&rules), "{kind}");
            assert!(
                before.rules.iter().any(|rule| rule.packets > 0),
                "{kind}: {before}"
            );
            let again = kind.install(&node.node, &rules);
            assert!(!again.has_changed_rules(), "{kind}: {again:?}");
            assert_eq!(
                kind.status(&node.node).unwrap().rules,
                before.rules,
                "{kind}"
            );
        }
    }
}

#[test]
fn remove_opens_the_node_leaves_nothing_and_says_whether_there_was_something() {
    for kind in every() {
        let node = Node::new();
        let imds = node.world.listen(IMDS);
        let pod = node.routed_pod("eni1", 2);
        kind.translate(&node.node, "10.96.0.10", "10.0.0.1:8181");
        let before = kind.everything(&node.node);
        kind.install(&node.node, &dual_stack());
        assert_ne!(kind.everything(&node.node), before, "{kind}");
        assert!(kind.remove(&node.node), "{kind}");
        assert_eq!(kind.everything(&node.node), before, "{kind}");
        assert!(!kind.remove(&node.node), "{kind}");
        assert_eq!(kind.status(&node.node), None, "{kind}");
        pod.pod.reach(IMDS);
        accept(&imds);
    }
}

#[test]
fn a_target_that_no_pod_could_be_brought_to_is_refused_by_its_address() {
    for kind in every() {
        let node = Namespace::new();
        for (target, named) in [("127.0.0.1:8181", "127.0.0.1"), ("10.0.0.1:0", "10.0.0.1")] {
            let rules = Rules {
                target: Some(target.parse().unwrap()),
                ..rules("")
            };
            let error = kind.try_install(&node, &rules).unwrap_err();
            let told = format!(
                "pods' connections cannot be brought to {named}: --host-ip must be an address of the node"
            );
            assert_eq!(error.to_string(), told, "{kind}");
        }
        assert_eq!(kind.status(&node), None, "{kind}");
    }
}
