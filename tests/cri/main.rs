//! Addresses from a real container runtime: containerd in namespaces of its own runs the sandboxes, a real Kubernetes API
//! has the pods, and no kubelet tells the API what the runtime knows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]

mod containerd;
mod grpc;
#[path = "../support/mod.rs"]
mod support;

use containerd::Containerd;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use support::agent::Agent;
use support::apiserver::Cluster;
use support::eventually;
use support::http::ROLES;
use support::pods::{self, ROLE, Spec};

/// Nobody listens there: no credentials are asked for.
const STS: &str = "http://127.0.0.1:9";

/// The whole value of a metric.
async fn metric(agent: &Agent, name: &str) -> String {
    let metrics = agent.metrics().await;
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    value.unwrap().to_owned()
}

#[tokio::test]
async fn a_pod_is_answered_by_the_address_of_its_sandbox_before_the_api_has_it_and_no_longer_than_that_runs()
 {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    pods::namespace(&client, "cri", &[]).await;
    let mut containerd = Containerd::start().await;
    // A sandbox of a pod that the API does not know.
    let stranger = containerd.run("stranger", "no-such-uid").await;

    let agent = Agent::start(
        STS,
        &[
            &format!("--kubeconfig={}", cluster.admin_kubeconfig().display()),
            "--node=cri",
            &format!("--cri-socket={}", containerd.socket().display()),
        ],
    );
    agent.ready().await;
    agent
        .process()
        .logs("addresses come from the container runtime too")
        .await;
    assert_eq!(agent.ask(&stranger.address, ROLES).await.status, 503);

    let annotations = [(ROLE, "app-role")];
    let spec = Spec {
        namespace: "cri",
        name: "app",
        node: "cri",
        ip: "",
        annotations: &annotations,
    };
    let uid = pods::create(&client, spec).await.metadata.uid.unwrap();
    let sandbox = containerd.run("app", &uid).await;
    agent.gives(&sandbox.address, "app-role").await;
    let shown: Api<Pod> = Api::namespaced(client.clone(), "cri");
    let status = shown.get("app").await.unwrap().status.unwrap();
    assert_eq!(status.pod_ip, None, "the API does not know it yet");

    // It stops: the address is nobody's, although the pod is there.
    containerd.stop(&sandbox).await;
    agent.refuses(&sandbox.address, 503).await;

    // The next one of the same pod, and now the API hears of it, too.
    let sandbox = containerd.run("app", &uid).await;
    agent.gives(&sandbox.address, "app-role").await;
    pods::assign(&client, "cri", "app", &sandbox.address).await;
    eventually("a lead that is counted", || async {
        match metric(&agent, "podiam_runtime_lead_seconds_count").await {
            count if count == "1" => Ok(()),
            other => Err(other),
        }
    })
    .await;
    // Another pod at the address that the API gives to the first: nobody's.
    let twin = Spec {
        name: "twin",
        ip: &sandbox.address,
        ..spec
    };
    pods::run(&client, twin).await;
    agent.refuses(&sandbox.address, 503).await;
    pods::delete(&client, "cri", "twin").await;
    agent.gives(&sandbox.address, "app-role").await;

    // Deleted at the API: the runtime alone is no reason to answer.
    pods::delete(&client, "cri", "app").await;
    agent.refuses(&sandbox.address, 503).await;
    assert_eq!(agent.ask(&stranger.address, ROLES).await.status, 503);
}
