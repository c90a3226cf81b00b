//! The agent while the Kubernetes API is away, and how soon it is back after it: apart from the other tests, because what
//! is timed here must not be timed beside a dozen API servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]

#[allow(dead_code, reason = "the other tests use the rest of it")]
#[path = "../kubernetes/scene.rs"]
mod scene;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use scene::{Scene, is_positive};
use support::agent::Agent;
use support::apiserver::Cluster;
use support::http::ROLES;
use support::moto::Moto;
use support::pods::ROLE;

/// Attempts of the agent, for pods and for namespaces, after which its pauses are as long as they get.
const LONG_OUTAGE: usize = 16;

#[tokio::test]
async fn an_api_that_is_down_at_the_start_is_waited_for_and_the_agent_is_ready_within_a_second_of_its_coming()
 {
    let cluster = Arc::new(Cluster::prepare());
    let agent = Agent::start(
        &Moto::shared().await.url(),
        &[
            &format!("--kubeconfig={}", cluster.admin_kubeconfig().display()),
            "--node=down",
        ],
    );
    agent.not_ready(&["pods"]).await;
    cluster.turn_away(LONG_OUTAGE).await;
    cluster.start_apiserver().await;
    let back = Instant::now();
    agent.ready().await;
    assert!(
        back.elapsed() < Duration::from_secs(1),
        "ready {:?} after the API server",
        back.elapsed()
    );
}

#[tokio::test]
async fn known_pods_go_on_while_the_api_is_away_and_new_ones_are_known_within_a_second_of_its_return()
 {
    let scene = Scene::of(Arc::new(Cluster::start().await), "away", &[]).await;
    scene
        .run("known", "127.0.1.13", &[(ROLE, "known-role")])
        .await;
    let agent = scene.ready(&[]).await;
    agent.gives("127.0.1.13", "known-role").await;

    scene.cluster.stop_apiserver().await;
    agent.process().logs("not in sync").await;
    assert_eq!(agent.ask("127.0.1.13", ROLES).await.body, "known-role");
    assert_eq!(agent.ask("127.0.1.14", ROLES).await.status, 503);

    scene.cluster.turn_away(LONG_OUTAGE).await;
    let readyz = agent.readyz().await.unwrap();
    assert_eq!(readyz.status, 200, "{}", readyz.body);
    let metrics = agent.metrics().await;
    assert!(
        is_positive(&metrics, "podiam_source_age_seconds"),
        "{metrics}"
    );
    scene.cluster.start_apiserver().await;
    let back = Instant::now();
    scene.run("new", "127.0.1.14", &[(ROLE, "new-role")]).await;
    agent.gives("127.0.1.14", "new-role").await;
    agent.ready().await;
    assert!(
        back.elapsed() < Duration::from_secs(1),
        "the new pod was known {:?} after the return",
        back.elapsed()
    );
}
