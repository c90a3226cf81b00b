//! Who may read the status, and where it can be asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use podiam_lab::netns::{self, Namespace};

use crate::scene::{Scene, address, manifests};
use crate::support::http::{self, Reply};

const ADMIN: u16 = 9181;

async fn ask(from: &Namespace, to: Ipv4Addr, path: &str) -> Reply {
    let stream = from.connect(SocketAddr::from((to, ADMIN))).await;
    http::get(stream, path).await.unwrap()
}

#[tokio::test]
async fn the_status_is_told_to_the_node_itself_and_neither_to_pods_nor_to_other_hosts() {
    let scene = Scene::new(&manifests()).await;
    let node = scene.vpc.node().namespace();
    let (pod, host) = (scene.enter(14), scene.vpc.add_host(77).unwrap());
    for path in [
        "/status",
        "/status.json",
        "/status.json?x",
        "/status?refused",
    ] {
        for own in [netns::NODE, Ipv4Addr::LOCALHOST] {
            assert_eq!(ask(node, own, path).await.status, 200, "{own} {path}");
        }
        for foreign in [pod.namespace(), &host] {
            let reply = ask(foreign, netns::NODE, path).await;
            assert_eq!(reply.status, 403, "{path}: {}", reply.body);
            assert!(reply.body.contains("the node itself"), "{}", reply.body);
            let told = [&address(14).to_string(), "payments"];
            assert!(!told.iter().any(|word| reply.body.contains(*word)));
        }
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        for anybody in [node, pod.namespace(), &host] {
            assert_eq!(ask(anybody, netns::NODE, path).await.status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn loopback_answers_too_and_the_newer_of_two_agents_does_so_on_both_addresses() {
    let mut scene = Scene::new(&manifests()).await;
    let old = scene.agent.take().unwrap();
    scene.start_agent();
    scene
        .agent()
        .process()
        .logs("the pods' socket listens")
        .await;
    scene.agent().ready().await;
    // Whatever still came to the older one would hang.
    old.process().signal(nix::sys::signal::Signal::SIGSTOP);
    let node = scene.vpc.node().namespace();
    for _ in 0..32 {
        for own in [netns::NODE, Ipv4Addr::LOCALHOST] {
            assert_eq!(ask(node, own, "/status.json").await.status, 200, "{own}");
        }
    }
    old.process().signal(nix::sys::signal::Signal::SIGCONT);
    drop(old);
    for own in [netns::NODE, Ipv4Addr::LOCALHOST] {
        assert_eq!(ask(node, own, "/readyz").await.status, 200, "{own}");
    }
}

#[tokio::test]
async fn another_program_on_that_port_of_loopback_is_a_finding_and_not_the_end() {
    let mut scene = Scene::new(&manifests()).await;
    scene.end_agent();
    let vpc = Arc::clone(&scene.vpc);
    let stranger = vpc.node().namespace();
    let _stranger = stranger
        .listen((Ipv4Addr::LOCALHOST, ADMIN).into())
        .unwrap();
    scene.start_agent();
    scene.agent().ready().await;
    let told = scene.agent().readyz().await.unwrap().body;
    assert!(
        told.contains("finding admin-loopback-taken: 127.0.0.1:9181"),
        "{told}"
    );
    assert!(told.contains("--agent=http://10.0.0.10:9181"), "{told}");
}
