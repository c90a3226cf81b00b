//! The startup taint at a real Kubernetes API: it goes when the agent is ready, alone, once, and nothing puts it back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]

mod support;

use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use nix::sys::signal::Signal;
use serde_json::json;
use support::agent::Agent;
use support::apiserver::Cluster;
use support::eventually;

const KEY: &str = "podiam.io/agent-not-ready";
const OTHER: &str = "example.com/maintenance";
/// Nobody listens there. The agent is ready all the same: STS is asked when a pod has a role.
const STS: &str = "http://127.0.0.1:9";

struct Scene {
    cluster: Arc<Cluster>,
    client: Client,
    node: &'static str,
}

impl Scene {
    /// A node with the taint, twice with different effects, and another's.
    async fn new(node: &'static str) -> Self {
        let cluster = Cluster::shared().await;
        let client = cluster.client().await;
        let object: Node = serde_json::from_value(json!({"metadata": {"name": node}})).unwrap();
        let scene = Self {
            cluster,
            client,
            node,
        };
        scene
            .nodes()
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        scene.put_taints().await;
        scene
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    async fn put_taints(&self) {
        let taints = json!({"spec": {"taints": [
            {"key": KEY, "effect": "NoSchedule"},
            {"key": OTHER, "value": "x", "effect": "NoSchedule"},
            {"key": KEY, "value": "true", "effect": "NoExecute"},
        ]}});
        self.nodes()
            .patch(self.node, &PatchParams::default(), &Patch::Merge(taints))
            .await
            .unwrap();
    }

    /// The keys of the node's taints. The API server adds one of its own to a node that is not ready.
    async fn taints(&self) -> Vec<String> {
        let node = self.nodes().get(self.node).await.unwrap();
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        taints
            .into_iter()
            .map(|taint| taint.key)
            .filter(|key| key == KEY || key == OTHER)
            .collect()
    }

    /// All that an agent with a startup taint asks for.
    async fn allow_everything(&self, account: &str) {
        let resources = ["pods", "namespaces", "nodes"];
        let verbs = ["get", "list", "watch", "patch"];
        self.cluster
            .allow_verbs(&self.client, account, &resources, &verbs)
            .await;
    }

    async fn is_untainted(&self) {
        eventually("a node without the startup taint", || async {
            let taints = self.taints().await;
            if taints == [OTHER] {
                Ok(())
            } else {
                Err(format!("{taints:?}"))
            }
        })
        .await;
    }

    fn start(&self, kubeconfig: &Path, flags: &[&str]) -> Agent {
        let own = [
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--node={}", self.node),
            format!("--startup-taint={KEY}"),
        ];
        let all: Vec<&str> = own
            .iter()
            .map(String::as_str)
            .chain(flags.iter().copied())
            .collect();
        Agent::start(STS, &all)
    }
}

#[tokio::test]
async fn the_taint_stays_until_the_agent_is_ready_and_then_goes_alone_and_once() {
    let scene = Scene::new("tainted").await;
    let token = scene.cluster.service_account(&scene.client, "early").await;
    scene
        .cluster
        .allow_verbs(&scene.client, "early", &["nodes"], &["get", "patch"])
        .await;
    let kubeconfig = scene.cluster.token_kubeconfig("early", &token);
    let agent = scene.start(&kubeconfig, &[]);
    agent.not_ready(&["pods"]).await;
    // It may remove the taint and cannot read pods: time enough for one that does not wait.
    eventually("several attempts to read pods", || async {
        let metrics = agent.metrics().await;
        let errors = metrics
            .lines()
            .find_map(|line| line.strip_prefix("podiam_source_errors_total{resource=\"pods\"} "));
        let many = errors
            .and_then(|errors| errors.parse::<u64>().ok())
            .is_some_and(|errors| errors >= 6);
        if many { Ok(()) } else { Err(metrics) }
    })
    .await;
    assert_eq!(scene.taints().await, [KEY, OTHER, KEY]);
    scene.allow_everything("early").await;
    agent.ready().await;
    scene.is_untainted().await;
    agent.process().logs("startup taint removed").await;

    // Put there by hand: this agent is done with it, and the next one removes it again.
    scene.put_taints().await;
    agent.process().end(Signal::SIGTERM);
    assert_eq!(scene.taints().await, [KEY, OTHER, KEY]);
    let next = scene.start(&kubeconfig, &[]);
    scene.is_untainted().await;
    next.process().end(Signal::SIGKILL);
    assert_eq!(
        scene.taints().await,
        [OTHER],
        "a dead agent puts nothing back"
    );
}

#[tokio::test]
async fn a_refused_right_is_told_and_tried_again_while_the_agent_goes_on() {
    let scene = Scene::new("tainted-rbac").await;
    let token = scene.cluster.service_account(&scene.client, "taint").await;
    scene
        .cluster
        .allow(&scene.client, "taint", &["pods", "namespaces"])
        .await;
    let kubeconfig = scene.cluster.token_kubeconfig("taint", &token);
    let agent = scene.start(&kubeconfig, &[]);
    agent.ready().await;
    let told = agent.process().logs("the startup taint stays").await;
    assert!(told.contains("refuses to let us get nodes (403)"), "{told}");
    assert_eq!(agent.readyz().await.unwrap().status, 200);

    // Reading is not enough.
    scene
        .cluster
        .allow(&scene.client, "taint", &["pods", "namespaces", "nodes"])
        .await;
    agent
        .process()
        .logs("refuses to let us patch nodes (403)")
        .await;
    assert_eq!(scene.taints().await, [KEY, OTHER, KEY]);

    scene.allow_everything("taint").await;
    scene.is_untainted().await;
    agent.process().assert_running();
}
