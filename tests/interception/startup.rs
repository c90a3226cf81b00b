//! How long pods are without podiam when it starts.

use std::time::Instant;

use crate::node::{Attack, Node, TOPOLOGIES, until};

#[tokio::test]
#[allow(clippy::print_stdout, reason = "figures are to be read")]
async fn a_pod_gets_its_role_within_seconds_of_the_agents_start() {
    for topology in TOPOLOGIES {
        let node = Node::new(topology);
        let started = Instant::now();
        let agent = node.start_agent();
        for imds in node.imds() {
            until(&Attack::new(node.app.namespace(), imds), "200 app").await;
            println!(
                "{topology}: from process start to intercepted at {}: {} ms",
                imds.ip(),
                started.elapsed().as_millis()
            );
        }
        agent.ready().await;
        println!("{topology}: ready: {} ms", started.elapsed().as_millis());
    }
}
