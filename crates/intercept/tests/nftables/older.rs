//! Connections that a pod opened before the rules were replaced.

use std::{
    io::{Read, Write},
    time::Duration,
};

use podiam_intercept::{Nftables, Outcome};

use super::support::{
    accept, refuse_what_conntrack_does_not_know,
    topology::{IMDS, IMDS_V6, Node},
};

#[test]
fn connections_to_the_agent_and_to_other_services_go_on() {
    let node = Node::new();
    let dns = node.world.listen("169.254.169.253:53");
    let agent = node.node.listen("[::]:8181");
    let pod = node.routed_pod("eni1", 2);
    // Otherwise conntrack picks up a flow that it has forgotten, and nothing is to be seen.
    node.node
        .sysctl("net.netfilter.nf_conntrack_tcp_loose", "0");
    refuse_what_conntrack_does_not_know(&node.node);
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
