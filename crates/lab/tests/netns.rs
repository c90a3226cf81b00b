//! Pods of the lab are where a pod on AWS is. Needs root (`CAP_SYS_ADMIN`, `CAP_NET_ADMIN`) and iproute2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};

use podiam_lab::aws::Config;
use podiam_lab::netns::{IMDS, IMDS6, NODE, NODE6, Namespace, PODS6, STS, Vpc, Wiring};
use podiam_lab::wire;
use tokio::io::AsyncReadExt;

const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 100, 7);

#[tokio::test]
async fn a_pod_reaches_imds_and_is_seen_under_its_own_address() {
    let vpc = Vpc::new().unwrap();
    let aws = vpc.start_aws(Config::default()).unwrap();
    let pod = vpc.add_pod(POD).unwrap();
    let stream = pod.namespace().connect((IMDS, 80).into()).await.unwrap();
    let request = wire::request(
        "GET",
        "/latest/meta-data/local-ipv4",
        "169.254.169.254",
        &[],
    );
    let answer = wire::once(stream, &request).await.unwrap();
    assert_eq!(answer.text(), NODE.to_string());
    assert_eq!([aws.imds_requests()[0].peer.ip()], pod.addresses());
    assert!(pod.namespace().connect((STS, 80).into()).await.is_ok());
}

#[tokio::test]
async fn the_nodes_end_of_a_pods_link_has_no_address() {
    let vpc = Vpc::new().unwrap();
    let pod = vpc.add_pod(POD).unwrap();
    let mut ip = Command::new("ip");
    ip.args([
        "-4",
        "-brief",
        "address",
        "show",
        "dev",
        pod.host_interface(),
    ])
    .stdout(Stdio::piped());
    let output = vpc
        .node()
        .namespace()
        .spawn(&mut ip)
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "");
}

#[tokio::test]
async fn an_address_can_be_used_again_as_soon_as_its_pod_is_dropped() {
    // Sockets keep their namespace alive, as a pod's last process does.
    let mut survivors = Vec::new();
    let vpc = Vpc::new().unwrap();
    let listener = vpc
        .node()
        .namespace()
        .listen(SocketAddr::from((NODE, 8181)))
        .unwrap();
    for round in 0..3 {
        let pod = vpc.add_pod(POD).unwrap();
        let connected = pod.namespace().connect((NODE, 8181).into());
        let (client, accepted) = tokio::join!(connected, listener.accept());
        let (mut stream, peer) = accepted.unwrap();
        assert_eq!([peer.ip()], pod.addresses(), "round {round}");
        survivors.push(pod.namespace().listen(SocketAddr::from((POD, 0))).unwrap());
        drop(client);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    }
}

#[test]
fn nothing_is_made_in_the_namespace_that_the_caller_is_in() {
    let home = Namespace::new().unwrap();
    let links = || {
        let output = Command::new("ip")
            .args(["-brief", "link"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    home.enter(|| {
        let before = links();
        let vpc = Vpc::new().unwrap();
        let pod = vpc.add_pod(POD).unwrap();
        assert_eq!(links(), before);
        drop((vpc, pod));
        assert_eq!(links(), before);
    })
    .unwrap();
}

#[test]
fn a_refusal_of_ip_says_what_was_asked_and_why_not() {
    let error = Namespace::new()
        .unwrap()
        .ip("link set nothing up")
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("Cannot find device") && text.contains("link set nothing up"),
        "{text}"
    );
}

#[tokio::test]
async fn pods_reach_imds_over_both_families_however_they_are_wired() {
    for wiring in [Wiring::Routed, Wiring::Bridge] {
        let vpc = Vpc::dual_stack(wiring).unwrap();
        let aws = vpc.start_aws(Config::default()).unwrap();
        let v6 = |number| IpAddr::from(Ipv6Addr::from_bits(PODS6.to_bits() + number));
        let pods = [
            vpc.add_pod_at(&[POD.into(), v6(7)]).unwrap(),
            vpc.add_pod_at(&[v6(8)]).unwrap(),
        ];
        let mut asked = Vec::new();
        for pod in &pods {
            for address in pod.addresses() {
                let imds: IpAddr = match address {
                    IpAddr::V4(_) => IMDS.into(),
                    IpAddr::V6(_) => IMDS6.into(),
                };
                let stream = pod.namespace().connect((imds, 80).into()).await.unwrap();
                let request = wire::request("GET", "/latest/meta-data/local-ipv4", "imds", &[]);
                assert_eq!(wire::once(stream, &request).await.unwrap().status, 200);
                asked.push(*address);
            }
        }
        let requests = aws.imds_requests();
        let seen: Vec<_> = requests.iter().map(|request| request.peer.ip()).collect();
        assert_eq!(seen, asked, "{wiring:?}");
    }
}

#[tokio::test]
async fn another_host_of_the_vpc_reaches_node_and_pods_and_has_the_node_for_imds() {
    let vpc = Vpc::dual_stack(Wiring::Bridge).unwrap();
    let pod = vpc.add_pod(POD).unwrap();
    let host = vpc.add_host(20).unwrap();
    for (namespace, address) in [
        (vpc.node().namespace(), SocketAddr::from((NODE, 8181))),
        (pod.namespace(), (POD, 8181).into()),
        (vpc.node().namespace(), (NODE6, 8181).into()),
    ] {
        let listener = namespace.listen(address).unwrap();
        let (client, accepted) = tokio::join!(host.connect(address), listener.accept());
        client.unwrap();
        let peer = accepted.unwrap().1.ip().to_string();
        assert!(
            ["10.0.0.20", "fd00:10::14"].contains(&peer.as_str()),
            "{peer}"
        );
    }
    let _imds = vpc.start_aws(Config::default()).unwrap();
    host.connect((IMDS, 80).into()).await.unwrap();
}
