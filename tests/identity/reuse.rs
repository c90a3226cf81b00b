//! An address that has another pod before the watch tells so.

use podiam_lab::netns::Wiring;

use crate::scene::Privilege::Full;
use crate::scene::{LEARNED, Scene, ask, imds, ip, until};
use crate::support::manifest::{Manifest, pod};

const SHARED_ADDRESS: u8 = 14;
const OTHER_LINK: &str =
    "503 the connection did not come in on the link of the pod that has this address; ask again";
const OTHER_NAMESPACE: &str =
    "503 the pod that has this address did not open this connection; ask again";

fn old() -> Manifest {
    pod("old", &ip(SHARED_ADDRESS)).uid("first").role("old")
}

fn new() -> Manifest {
    pod("new", &ip(SHARED_ADDRESS)).uid("second").role("new")
}

/// How pods are wired, what the agent is started with, and what the new pod is told while only the old one is known.
const ROWS: [(Wiring, &str, &str); 5] = [
    (Wiring::Routed, "--identity=ip", "200 old"),
    (Wiring::Bridge, "--identity=ip", "200 old"),
    (Wiring::Routed, "--identity=auto", OTHER_LINK),
    (Wiring::Routed, "--identity=netns", OTHER_NAMESPACE),
    (Wiring::Bridge, "--identity=auto", OTHER_NAMESPACE),
];

#[tokio::test]
async fn a_new_pod_on_a_used_address_is_refused_until_the_watch_has_caught_up() {
    for has_spoken in [true, false] {
        for (wiring, flag, early) in ROWS {
            let scene = Scene::new(wiring, &[old()]);
            let first = scene.add_pod(SHARED_ADDRESS);
            let agent = scene.start_agent(Full, &[flag]);
            agent.ready().await;
            if flag != "--identity=ip" {
                agent.process().logs(LEARNED).await;
            }
            if has_spoken {
                until(first.namespace(), "200 old").await;
            }
            drop(first);
            let second = scene.add_pod(SHARED_ADDRESS);
            for _ in 0..3 {
                let said = ask(second.namespace(), imds().into()).await;
                assert_eq!(said, early, "{wiring:?} {flag}, spoken: {has_spoken}");
            }
            println!("| {wiring:?} | {flag} | {early} |");
            scene.manifests.replace(&[new()]);
            until(second.namespace(), "200 new").await;
        }
    }
}
