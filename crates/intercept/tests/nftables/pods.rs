//! What pods reach and what they do not.

use std::net::SocketAddr;

use podiam_intercept::{Outcome, connection::original_destination};

use super::{
    dual_stack, install, packets, rules,
    support::{
        accept, local, nobody_at,
        topology::{IMDS, IMDS_V6, Node, TARGET},
    },
};

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
        original_destination(&connection, local(&connection)).unwrap(),
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
            original_destination(&connection, local(&connection)).unwrap(),
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
        let original = original_destination(&connection, local(&connection)).unwrap();
        assert_eq!(original, metadata.parse::<SocketAddr>().unwrap());
    }
    nobody_at(&imds_v6);
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
    let datagrams = packets(&node.node, "forward", "@metadata4");
    assert_eq!(datagrams, 1);
    assert!(udp.recv_from(&mut [0; 8]).is_err());

    pod.pod.reach_nothing("169.254.169.254:8080");
    assert!(packets(&node.node, "forward", "@metadata4") > datagrams);
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
    assert!(packets(&node.node, "forward", "@metadata6") > 0);
    nobody_at(&imds);
}

#[test]
fn with_a_v6_target_other_ports_of_the_v6_metadata_service_are_dropped() {
    let node = Node::new();
    let imds = node.world.listen("[fd00:ec2::254]:8080");
    let pod = node.routed_pod("eni1", 2);
    install(&node.node, &dual_stack());
    pod.pod.reach_nothing("[fd00:ec2::254]:8080");
    assert!(packets(&node.node, "forward", "@metadata6") > 0);
    nobody_at(&imds);
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
