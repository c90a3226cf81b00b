//! Connections that a pod opened before the rules were there.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use podiam_intercept::{Nftables, Outcome};

use super::{
    install, rules,
    support::{
        accept, nobody_at,
        topology::{IMDS, IMDS_V6, Node, TARGET},
    },
};

/// Sends on a connection until the other side's kernel has refused it.
fn must_be_dead(mut connection: &TcpStream) {
    connection
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let ended = connection
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .and_then(|()| connection.read(&mut [0; 64]));
    assert_eq!(
        ended.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
}

fn refuse_what_conntrack_does_not_know(node: &Node) {
    node.node.nft("add table inet other");
    node.node
        .nft("add chain inet other watch { type filter hook forward priority 0 ; }");
    node.node
        .nft("add rule inet other watch ct state invalid drop");
}

fn nothing_came(mut connection: &TcpStream) {
    connection.set_nonblocking(true).unwrap();
    let received = connection.read(&mut [0; 64]);
    assert_eq!(received.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_connection_to_the_real_metadata_service_does_not_go_on() {
    let node = Node::new();
    let imds = node.world.listen(IMDS);
    let agent = node.node.listen(TARGET);
    let pod = node.routed_pod("eni1", 2);
    // Conntrack looks at packets only where some rule needs it; this one is older than podiam.
    refuse_what_conntrack_does_not_know(&node);
    let client = pod.pod.reach(IMDS);
    let (server, _) = accept(&imds);

    assert_eq!(install(&node.node, &rules("")), Outcome::Created);
    must_be_dead(&client);
    nothing_came(&server);
    nobody_at(&agent);
}

#[test]
fn a_connection_that_others_translated_does_not_go_on() {
    let node = Node::new();
    let _agent = node.node.listen(TARGET);
    let kube2iam = node.node.listen("10.0.0.1:9999");
    let pod = node.routed_pod("eni1", 2);
    node.node.nft("add table ip nat");
    node.node
        .nft("add chain ip nat PREROUTING { type nat hook prerouting priority dstnat ; }");
    node.node.nft(
        "add rule ip nat PREROUTING ip daddr 169.254.169.254 tcp dport 80 dnat to 10.0.0.1:9999",
    );
    let client = pod.pod.reach(IMDS);
    let (server, _) = accept(&kube2iam);
    install(&node.node, &rules(""));
    must_be_dead(&client);
    nothing_came(&server);
}

#[test]
fn connections_to_the_agent_and_to_other_services_go_on() {
    let node = Node::new();
    let dns = node.world.listen("169.254.169.253:53");
    let agent = node.node.listen("[::]:8181");
    let pod = node.routed_pod("eni1", 2);
    // Otherwise conntrack picks up a flow that it has forgotten, and nothing is to be seen.
    node.node
        .sysctl("net.netfilter.nf_conntrack_tcp_loose", "0");
    refuse_what_conntrack_does_not_know(&node);
    let mut nftables = Nftables::default();
    let mut install = |rules| node.node.run(|| nftables.install(rules)).unwrap();
    let dual_stack = super::dual_stack();
    install(&dual_stack);
    let open: Vec<_> = [IMDS, IMDS_V6]
        .map(|metadata| (pod.pod.reach(metadata), accept(&agent).0))
        .into_iter()
        .chain([(pod.pod.reach("169.254.169.253:53"), accept(&dns).0)])
        .collect();

    let mut other = dual_stack.clone();
    other.reverse_path = podiam_intercept::ReversePath::Off;
    assert_eq!(install(&other), Outcome::Replaced);
    for (mut client, mut server) in open {
        client.write_all(b"still here").unwrap();
        let mut received = [0; 10];
        server
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        server.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"still here");
    }
}
