//! The metadata service's second address, `fd00:ec2::254`: answered as the first is, or refused.

use std::net::SocketAddr;

use podiam_lab::netns::{IMDS, IMDS6, NODE6, Wiring};
use podiam_lab::wire;

use crate::attacks::UNKNOWN;
use crate::node::{APP_PORT, Attack, NOTHING, Node, ROLES, TOPOLOGIES, Topology};

#[tokio::test]
async fn without_an_ipv6_address_of_the_node_requests_over_ipv6_are_dropped() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let agent = node.start_agent_with(&[]);
        agent.ready().await;
        let imds = SocketAddr::from((IMDS6, 80));
        let pods = [node.app.namespace(), node.unknown.namespace()];
        let rows = pods.map(|pod| Attack::new(pod, imds).row("no target", NOTHING));
        node.assert("no --host-ip6", &rows).await;
    }
}

#[tokio::test]
async fn a_node_with_an_ipv6_address_alone_answers_over_ipv6_and_drops_what_comes_over_ipv4() {
    for topology in TOPOLOGIES {
        for mode in ["nftables", "iptables"] {
            let node = Node::new(topology);
            let host_ip = format!("--host-ip={NODE6}");
            let agent = node.start_agent_with(&[&host_ip, &format!("--intercept={mode}")]);
            agent.ready().await;
            let v6 = SocketAddr::from((IMDS6, 80));
            let mut rows = vec![
                Attack::new(node.app.namespace(), v6).row("a pod", "200 app"),
                Attack::new(node.unknown.namespace(), v6).row("a stranger", UNKNOWN),
                Attack::new(node.app.namespace(), (NODE6, APP_PORT).into())
                    .row("past the DNAT", NOTHING),
                Attack::new(&node.host, (NODE6, APP_PORT).into()).row("another host", NOTHING),
            ];
            // What pods of IPv6 alone cannot ask, other hosts can.
            let v4 = SocketAddr::from((IMDS, 80));
            rows.push(Attack::new(&node.host, v4).row("over IPv4", NOTHING));
            if node.imds().contains(&v4) {
                rows.push(Attack::new(node.app.namespace(), v4).row("over IPv4", NOTHING));
            }
            node.assert(mode, &rows).await;
            let metrics = agent.metrics().await;
            let proven = "podiam_interception{state=\"intercepted\"} 1";
            assert!(metrics.contains(proven), "{topology}, {mode}: {metrics}");
        }
    }
}

#[tokio::test]
async fn a_token_of_one_family_is_good_for_the_other_and_for_no_other_pod() {
    let node = Node::new(Topology::new(Wiring::Routed, true));
    let agent = node.start_agent_with(&["--host-ip6=fd00:10::10", "--imdsv2=required"]);
    agent.ready().await;
    let v6 = SocketAddr::from((IMDS6, 80));
    let stream = node.app.namespace().connect(v6).await.unwrap();
    let ttl = [("X-aws-ec2-metadata-token-ttl-seconds", "60")];
    let request = wire::request("PUT", "/latest/api/token", "[fd00:ec2::254]", &ttl);
    let token = wire::once(stream, &request).await.unwrap().text();
    for imds in [(IMDS, 80).into(), v6] {
        let ask = |from| Attack::new(from, imds).header("x-aws-ec2-metadata-token", &token);
        let refused = "401 a valid IMDSv2 token is required";
        let rows = [
            ask(node.app.namespace()).row("its own", "200 app"),
            ask(node.victim.namespace()).row("another pod's", refused),
            Attack::new(node.app.namespace(), imds).row("none", refused),
        ];
        node.assert("tokens", &rows).await;
    }
}

#[tokio::test]
async fn credentials_over_ipv6_are_those_of_the_pods_own_role() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let agent = node.start_agent();
        agent.ready().await;
        let stream = node
            .app
            .namespace()
            .connect((IMDS6, 80).into())
            .await
            .unwrap();
        let path = format!("{ROLES}app");
        let request = wire::request("GET", &path, "[fd00:ec2::254]", &[]);
        let answer = wire::once(stream, &request).await.unwrap();
        assert_eq!(answer.status, 200, "{topology}: {}", answer.text());
        let calls = node.aws.assume_role_calls();
        let call = calls.iter().find(|call| {
            let issued = call.issued.as_ref();
            issued.is_some_and(|issued| answer.contains(&issued.access_key_id))
        });
        let role = call.and_then(|call| call.role_arn.as_deref());
        assert_eq!(
            role,
            Some("arn:aws:iam::123456789012:role/app"),
            "{topology}"
        );
    }
}
