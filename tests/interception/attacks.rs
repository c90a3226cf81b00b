//! What pods and their neighbours try, on every topology.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use podiam_lab::netns::Namespace;
use podiam_lab::wire;
use tokio::net::UdpSocket;

use crate::node::{Attack, NOTHING, Node, ROLES, TOPOLOGIES};
use crate::support::PATIENCE;

pub(crate) const UNKNOWN: &str = "503 no pod is known at this address yet";
const NODE_ADDRESS: &str = "403 the request came from the node's own address; a pod cannot be told from it (hostNetwork or SNAT)";
const TOKEN: &str = "/latest/api/token";
const TTL: (&str, &str) = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
/// How long what should be dropped is waited for.
const DROPPED: Duration = Duration::from_millis(400);

/// What every installation must hold, whatever else is in the kernel.
pub(crate) async fn assert_core(node: &Node, context: &str) {
    let mut rows = Vec::new();
    for imds in node.imds() {
        let ask = |from| Attack::new(from, imds);
        rows.push(ask(node.app.namespace()).row("a pod", "200 app"));
        rows.push(ask(node.victim.namespace()).row("another pod", "200 victim"));
        rows.push(ask(node.unknown.namespace()).row("a pod that is not known", UNKNOWN));
        let other = SocketAddr::new(imds.ip(), 8080);
        rows.push(Attack::new(node.app.namespace(), other).row("another port", NOTHING));
    }
    for agent in node.agents() {
        let ask = |from| Attack::new(from, agent);
        rows.push(ask(node.app.namespace()).row("a pod, past the DNAT", NOTHING));
        rows.push(ask(&node.host).row("another host, past the DNAT", NOTHING));
        rows.push(ask(node.namespace()).row("the node itself", NODE_ADDRESS));
    }
    node.assert(context, &rows).await;
}

#[tokio::test]
async fn without_an_agent_pods_and_other_hosts_reach_the_real_metadata_service() {
    // What every other test is about: this must hold for their refusals to mean anything.
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        for imds in node.imds() {
            for from in [node.app.namespace(), &node.host] {
                let outcome = Attack::new(from, imds).outcome(false).await;
                assert_eq!(outcome, "200 lab-node-role", "{topology}");
            }
        }
        assert!(
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(
                || node.assert_unheard("control")
            ))
            .is_err(),
            "the journal hears of attacks"
        );
    }
}

#[tokio::test]
async fn a_pod_gets_its_own_role_and_nobody_reaches_the_agent_past_the_dnat() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let agent = node.start_agent();
        agent.ready().await;
        assert_core(&node, "alone").await;
    }
}

#[tokio::test]
async fn what_a_pod_says_of_itself_changes_nothing() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let agent = node.start_agent();
        agent.ready().await;
        let victims = node.victim.addresses()[0].to_string();
        let mut rows = Vec::new();
        for imds in node.imds() {
            let ask = || Attack::new(node.app.namespace(), imds);
            let foreign = "403 the Host header must be the metadata service's address";
            for host in ["metadata.example", "10.0.0.2", "169.254.169.254.example"] {
                rows.push(ask().host(host).row("a forged Host", foreign));
            }
            for header in ["x-forwarded-for", "forwarded", "x-real-ip", "via"] {
                rows.push(ask().header(header, &victims).row(header, "200 app"));
            }
            rows.push(
                ask()
                    .request("PUT", TOKEN)
                    .header(TTL.0, TTL.1)
                    .header("x-forwarded-for", &victims)
                    .row(
                        "a token for another",
                        "403 tokens are not given to requests with X-Forwarded-For",
                    ),
            );
            let victims_role = "/latest/meta-data/iam/security-credentials/victim";
            rows.push(ask().request("GET", victims_role).row(
                "another pod's role",
                "403 Invalid role \"victim\": not the role of this pod",
            ));
        }
        node.assert("forged", &rows).await;
    }
}

#[tokio::test]
async fn another_pods_source_address_gets_the_forger_nothing() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let agent = node.start_agent();
        agent.ready().await;
        // On a shared bridge a neighbour can take the address as such, by ARP: a limit that the README names.
        let app = topology.is_routed().then_some(node.app.namespace());
        for from in app.into_iter().chain([&node.host]) {
            for imds in node.imds() {
                let mut victims = node.victim.addresses().iter();
                let victim = *victims
                    .find(|address| address.is_ipv4() == imds.is_ipv4())
                    .unwrap();
                take_address(from, victim);
                let attack = Attack::new(from, imds).source(victim);
                node.assert("spoofed", &[attack.row("another pod's address", NOTHING)])
                    .await;
            }
        }
    }
}

/// Gives a namespace an address that it sends from but does not claim from its neighbours: answers go to the owner.
fn take_address(namespace: &Namespace, address: IpAddr) {
    if address.is_ipv4() {
        namespace
            .sysctl("net/ipv4/conf/all/arp_ignore", "1")
            .unwrap();
        namespace
            .ip(&format!("addr add {address}/32 dev lo"))
            .unwrap();
    } else {
        namespace
            .ip(&format!("addr add {address}/128 dev lo nodad"))
            .unwrap();
    }
}

#[tokio::test]
async fn who_has_the_nodes_address_is_refused_by_the_agent() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let agent = node.start_agent();
        agent.ready().await;

        // A pod of hostNetwork is not intercepted: the README says so. The agent's own socket tells it nothing.
        let from = node.namespace();
        for imds in node.imds() {
            let outcome = Attack::new(from, imds).outcome(false).await;
            assert_eq!(outcome, "200 lab-node-role", "{topology}: hostNetwork");
        }
        let heard = node.aws.imds_requests();
        let marked = heard.iter().filter(|request| {
            let mut headers = request.headers.iter();
            headers.any(|(name, _)| name == "x-attack")
        });
        assert!(
            marked.clone().count() == node.imds().len()
                && marked
                    .clone()
                    .all(|request| !node.app.addresses().contains(&request.peer.ip())),
            "{topology}"
        );

        let hidden = "table inet hiding {
            chain input {
                type nat hook input priority 100
                ip saddr 10.0.100.0/24 tcp dport 8181 snat ip to 10.0.0.10
                ip6 saddr fd00:100::/64 tcp dport 8181 snat ip6 to fd00:10::10
            }
        }";
        node.nft(hidden);
        for imds in node.imds() {
            for method in [
                ("GET", ROLES),
                ("GET", "/latest/meta-data/iam/security-credentials/app"),
            ] {
                let attack = Attack::new(node.app.namespace(), imds).request(method.0, method.1);
                assert_eq!(
                    attack.outcome(false).await,
                    NODE_ADDRESS,
                    "{topology}: SNAT"
                );
            }
        }
    }
}

#[tokio::test]
async fn no_other_port_and_no_other_protocol_leads_to_the_metadata_service() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let aws = node.vpc.aws();
        let pod = node.app.namespace();
        // The neighbours of IMDS, which stay as they are: DNS and NTP of Amazon.
        aws.ip("addr add 169.254.169.253/32 dev vpc0\naddr add fd00:ec2::253/128 dev vpc0 nodad")
            .unwrap();
        node.namespace()
            .ip("route add 169.254.169.253 dev eth0\nroute add fd00:ec2::253 dev eth0")
            .unwrap();
        let mut sinks = Vec::new();
        let mut ports = Vec::new();
        for imds in node.imds() {
            for port in [53, 80] {
                sinks.push(udp(aws, (imds.ip(), port).into()));
            }
            for port in [22, 443, 8080] {
                let address = SocketAddr::new(imds.ip(), port);
                ports.push((address, aws.listen(address).unwrap()));
            }
        }
        let dns = node.imds().into_iter().map(|imds| match imds.ip() {
            IpAddr::V4(_) => SocketAddr::from(([169, 254, 169, 253], 53)),
            IpAddr::V6(_) => "[fd00:ec2::253]:53".parse().unwrap(),
        });
        let dns: Vec<UdpSocket> = dns.map(|address| udp(aws, address)).collect();

        for sink in sinks.iter().chain(&dns) {
            assert!(
                hears(sink, pod, PATIENCE).await,
                "{topology}: {sink:?} without an agent"
            );
        }
        for (address, _) in &ports {
            assert!(
                connects(pod, *address, PATIENCE).await,
                "{topology}: {address} without an agent"
            );
        }
        let agent = node.start_agent();
        agent.ready().await;
        for sink in &sinks {
            assert!(!hears(sink, pod, DROPPED).await, "{topology}: {sink:?}");
        }
        for sink in &dns {
            assert!(
                hears(sink, pod, PATIENCE).await,
                "{topology}: {sink:?} is no metadata service"
            );
        }
        for (address, _) in &ports {
            assert!(
                !connects(pod, *address, DROPPED).await,
                "{topology}: {address}"
            );
        }
    }
}

fn udp(namespace: &Namespace, address: SocketAddr) -> UdpSocket {
    let socket = namespace
        .enter(|| std::net::UdpSocket::bind(address))
        .unwrap()
        .unwrap();
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// Whether a datagram from `from` arrives at `sink` within `limit`.
async fn hears(sink: &UdpSocket, from: &Namespace, limit: Duration) -> bool {
    let to = sink.local_addr().unwrap();
    let any: IpAddr = match to.ip() {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let sender = udp(from, (any, 0).into());
    sender.send_to(b"attack", to).await.unwrap();
    let heard = tokio::time::timeout(limit, sink.recv_from(&mut [0; 16])).await;
    heard.is_ok_and(|heard| heard.is_ok())
}

async fn connects(from: &Namespace, to: SocketAddr, limit: Duration) -> bool {
    let connected = tokio::time::timeout(limit, from.connect(to)).await;
    connected.is_ok_and(|connected| connected.is_ok())
}

#[tokio::test]
async fn a_flow_opened_before_the_rules_ends_with_them() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        // Conntrack is at work before podiam comes, as on every node of a cluster, and knows the flow as it was opened.
        node.nft(
            "table inet tracked {
                chain prerouting {
                    type filter hook prerouting priority 0
                    ct state established accept
                }
            }",
        );
        let mut flows = Vec::new();
        for imds in node.imds() {
            let mut stream = node.app.namespace().connect(imds).await.unwrap();
            let before = wire::request("GET", ROLES, "169.254.169.254", &[("x-flow", "before")]);
            let answer = wire::exchange(&mut stream, &before, &mut BytesMut::new())
                .await
                .unwrap();
            assert_eq!(answer.text(), "lab-node-role", "{topology}");
            flows.push(stream);
        }
        let agent = node.start_agent();
        agent.ready().await;
        for stream in &mut flows {
            let request = wire::request("GET", ROLES, "169.254.169.254", &[("x-attack", "1")]);
            let mut buffer = BytesMut::new();
            let answer = wire::exchange(stream, &request, &mut buffer);
            match tokio::time::timeout(DROPPED, answer).await {
                Err(_) | Ok(Err(_)) => {}
                Ok(Ok(answer)) => panic!("{topology}: answered {answer:?}"),
            }
        }
        node.assert_unheard("a flow from before");
        assert_core(&node, "after a flow from before").await;
    }
}

#[tokio::test]
async fn health_is_told_to_the_node_alone() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let agent = node.start_agent();
        agent.ready().await;
        let mut rows = Vec::new();
        for imds in node.imds() {
            let attack = Attack::new(node.app.namespace(), imds).request("GET", "/healthz");
            rows.push(attack.row("a pod", "404 not found"));
        }
        node.assert("health", &rows).await;
        for address in node.agents() {
            let probe = Attack::new(node.namespace(), address).request("GET", "/healthz");
            let outcome = probe.outcome(false).await;
            assert!(
                outcome.starts_with("200 {\"hostIP\":\"10.0.0.10\""),
                "{outcome}"
            );
        }
    }
}
