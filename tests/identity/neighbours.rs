//! Pods on a shared bridge, one of which takes the other's address by ARP, with nothing but `NET_RAW`.

use podiam_lab::netns::{IMDS6, NODE6, Wiring};

use crate::scene::Privilege::{Blind, Full, NoSysAdmin};
use crate::scene::{
    LEARNED, Privilege, Scene, address6, ask, imds, impersonate, impersonate6, ip, until, until_at,
};
use crate::support::manifest::{Manifest, pod};

const VICTIM: u8 = 12;
const ATTACKER: u8 = 13;
const STOLEN: &str = "200 victim";
const NOT_ITS_CONNECTION: &str =
    "503 the pod that has this address did not open this connection; ask again";
const SHARED: &str = "503 pods that share a link cannot be told apart on this node; the agent's log says what to grant";

fn manifests() -> Vec<Manifest> {
    vec![
        pod("victim", &ip(VICTIM)).role("victim"),
        pod("attacker", &ip(ATTACKER)).role("attacker"),
    ]
}

/// What the agent is started with, what the victim is told, and what the impostor is told.
const ROWS: [(Privilege, &[&str], &str, &str); 7] = [
    (Full, &["--identity=ip"], STOLEN, STOLEN),
    (
        Full,
        &["--identity=interface", "--allow-shared-bridge"],
        STOLEN,
        STOLEN,
    ),
    (
        NoSysAdmin,
        &["--identity=auto", "--allow-shared-bridge"],
        STOLEN,
        STOLEN,
    ),
    (NoSysAdmin, &["--identity=auto"], SHARED, SHARED),
    (Blind, &["--identity=auto"], SHARED, SHARED),
    (Full, &["--identity=auto"], STOLEN, NOT_ITS_CONNECTION),
    (Full, &["--identity=netns"], STOLEN, NOT_ITS_CONNECTION),
];

#[tokio::test]
async fn a_neighbour_that_takes_an_address_by_arp_gets_its_role_only_without_a_defence() {
    for (privilege, flags, victims, impostors) in ROWS {
        let scene = Scene::new(Wiring::Bridge, &manifests());
        let (victim, attacker) = (scene.add_pod(VICTIM), scene.add_pod(ATTACKER));
        let agent = scene.start_agent(privilege, flags);
        let context = format!("{privilege:?} {flags:?}");
        if victims == SHARED {
            agent
                .not_ready(&["identity", "CAP_SYS_ADMIN", "--allow-shared-bridge"])
                .await;
        } else {
            agent.ready().await;
        }
        until(victim.namespace(), victims).await;
        let stolen = impersonate(attacker.namespace(), VICTIM).await;
        println!("| {context} | {victims} | {stolen} |");
        assert_eq!(stolen, impostors, "{context}");

        // The attacker is still a pod of its own, and so is the victim once its neighbour lets go.
        scene.ip(&format!("neigh flush to {}", ip(VICTIM)));
        assert_eq!(
            ask(victim.namespace(), imds().into()).await,
            victims,
            "{context}"
        );
    }
}

#[tokio::test]
async fn a_neighbour_that_takes_an_ipv6_address_by_ndp_gets_its_role_only_without_a_defence() {
    let imds6 = (IMDS6, 80).into();
    let dual = |name, number| {
        pod(name, &ip(number))
            .also_at(&address6(number).to_string())
            .role(name)
    };
    let manifests = [dual("victim", VICTIM), dual("attacker", ATTACKER)];
    for (privilege, flags, victims, impostors) in ROWS {
        let scene = Scene::new(Wiring::Bridge, &manifests);
        let (victim, attacker) = (scene.add_pod6(VICTIM), scene.add_pod6(ATTACKER));
        let host_ip6 = format!("--host-ip6={NODE6}");
        let agent = scene.start_agent(privilege, &[&[host_ip6.as_str()], flags].concat());
        let context = format!("{privilege:?} {flags:?}, IPv6");
        if victims == SHARED {
            agent
                .not_ready(&["identity", "--allow-shared-bridge"])
                .await;
        } else {
            agent.ready().await;
        }
        until_at(victim.namespace(), imds6, victims).await;
        let stolen = impersonate6(attacker.namespace(), VICTIM).await;
        println!("| {context} | {victims} | {stolen} |");
        assert_eq!(stolen, impostors, "{context}");

        scene.ip(&format!("neigh flush to {}", address6(VICTIM)));
        until_at(victim.namespace(), imds6, victims).await;
    }
}

#[tokio::test]
async fn a_namespace_that_a_pod_makes_for_itself_is_not_taken_for_its_neighbours() {
    let scene = Scene::new(Wiring::Bridge, &manifests());
    let (victim, attacker) = (scene.add_pod(VICTIM), scene.add_pod(ATTACKER));
    // In it, anybody may have any address, and connections to anywhere.
    let lair = podiam_lab::netns::Namespace::new().unwrap();
    lair.ip(&format!("addr add {}/32 dev lo", ip(VICTIM)))
        .unwrap();
    let mut holder = std::process::Command::new("cat");
    let mut holder = lair
        .spawn(holder.stdin(std::process::Stdio::piped()))
        .unwrap();
    let agent = scene.start_agent(Full, &["--identity=auto"]);
    agent.ready().await;
    agent.process().logs(LEARNED).await;
    until(victim.namespace(), STOLEN).await;
    let stolen = impersonate(attacker.namespace(), VICTIM).await;
    assert_eq!(stolen, NOT_ITS_CONNECTION);
    drop(holder.stdin.take());
    holder.wait().unwrap();
}
