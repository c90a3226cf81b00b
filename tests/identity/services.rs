//! Ways to the agent's port that do not lead by the metadata service's address: what a tenant can make of a Service
//! whose endpoints it writes itself, in the moment in which the gate before that port is open.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use podiam_lab::netns::{NODE, Wiring};

use crate::scene::Privilege::Full;
use crate::scene::{Scene, ask, imds, ip, until};
use crate::support::eventually;
use crate::support::manifest::pod;

const POD: u8 = 15;
const SERVICE: ([u8; 4], u16) = ([10, 96, 0, 15], 80);
/// Longer than an answer takes, where the gate is open.
const MOMENT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn what_another_rule_brings_to_the_agents_port_is_refused_also_past_an_open_gate() {
    for wiring in [Wiring::Routed, Wiring::Bridge] {
        let scene = Scene::new(wiring, &[pod("app", &ip(POD)).role("app")]);
        let app = scene.add_pod(POD);
        scene.nft(&format!(
            "table ip services {{
                chain prerouting {{
                    type nat hook prerouting priority dstnat
                    ip daddr 10.96.0.15 tcp dport 80 dnat to {NODE}:8181
                }}
            }}"
        ));
        // In iptables' tables, anybody who is root on the node can open the gate until it is repaired.
        let agent = scene.start_agent(Full, &["--identity=auto", "--intercept=iptables"]);
        agent.ready().await;
        until(app.namespace(), "200 app").await;
        eventually("an answer past the gate", || async {
            let mut iptables = Command::new("iptables");
            iptables
                .args(["--wait", "-t", "mangle", "-F", "PODIAM-INPUT"])
                .stderr(Stdio::null());
            let node = scene.vpc.node().namespace();
            node.spawn(&mut iptables).unwrap().wait().unwrap();
            let answer = ask(app.namespace(), SocketAddr::from(SERVICE));
            let answer = tokio::time::timeout(MOMENT, answer).await;
            let said = answer.map_err(|_| "the gate was closed again".to_owned())?;
            assert_eq!(
                said, "403 the agent answers only what is sent to the metadata service's address",
                "{wiring:?}"
            );
            Ok(())
        })
        .await;
        assert_eq!(ask(app.namespace(), imds().into()).await, "200 app");
    }
}
