//! What the API server says, a real one.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::support::apiserver::Cluster;
use crate::support::pods;
use crate::{BASE, doctor, podiam};

const ACCOUNTS: &str = "default";

/// An agent's pod of the label `app=NAME`, which is as ready as it is told.
async fn agent(client: &Client, name: &str, image: &str, args: &[&str], is_ready: bool) {
    let api: Api<Pod> = Api::namespaced(client.clone(), ACCOUNTS);
    let app = name.rsplit_once('-').map_or(name, |(app, _)| app);
    pods::ensure_account(client, ACCOUNTS, app).await;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {
            "serviceAccountName": app, "nodeName": format!("node-of-{name}"),
            "containers": [{"name": "podiam", "image": image, "args": args, "env": [
                {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}]}],
        },
    }))
    .unwrap();
    api.create(&PostParams::default(), &pod).await.unwrap();
    let ready = if is_ready { "True" } else { "False" };
    let status = json!({"status": {"phase": "Running", "hostIP": "10.0.0.7",
        "conditions": [{"type": "Ready", "status": ready}]}});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
}

/// The words for the agents of the label `app=NAME`.
fn words(cluster: &Cluster, app: &str, checks: &str) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", cluster.admin_kubeconfig().display()),
        format!("--namespace={ACCOUNTS}"),
        format!("--selector=app={app}"),
        format!("--only={checks}"),
    ]
}

async fn run(words: &[String]) -> crate::Run {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    doctor(podiam(), &words).await
}

#[tokio::test]
async fn agents_their_flags_guards_and_versions_are_read_from_their_pods() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    let image = format!("registry.example/podiam:{}", env!("CARGO_PKG_VERSION"));
    let base = format!("--base-role-arn={BASE}");
    let good = [
        "agent",
        "--host-ip=$(HOST_IP)",
        &base,
        "--namespace-restrictions",
    ];
    let checks = "agents,namespace-guards,version-skew";
    agent(&client, "good-1", &image, &good, true).await;
    agent(&client, "good-2", &image, &good, true).await;
    let seen = run(&words(&cluster, "good", checks)).await;
    seen.assert("agents", "ok", "2 agents, all ready");
    seen.assert(
        "namespace-guards",
        "ok",
        "--namespace-restrictions is in force",
    );
    seen.assert("version-skew", "ok", env!("CARGO_PKG_VERSION"));
    assert_eq!(seen.code, 0, "{}", seen.raw);

    agent(
        &client,
        "bad-1",
        &image,
        &["agent", "--host-ip=$(HOST_IP)"],
        true,
    )
    .await;
    agent(&client, "bad-2", "podiam:0.0.9", &["agent"], false).await;
    let seen = run(&words(&cluster, "bad", checks)).await;
    seen.assert("agents", "wrong", "bad-2 on node-of-bad-2");
    seen.assert("namespace-guards", "warning", "no guard is on");
    seen.assert("version-skew", "warning", "podiam:0.0.9");
    assert_eq!(seen.code, 4);

    agent(
        &client,
        "flags-1",
        &image,
        &["agent", "--iam-session-duration=1s"],
        true,
    )
    .await;
    run(&words(&cluster, "flags", "agents")).await.assert(
        "agents",
        "wrong",
        "--iam-session-duration",
    );
    run(&words(&cluster, "nobody", "agents")).await.assert(
        "agents",
        "wrong",
        "no pod of namespace default",
    );
}

#[tokio::test]
async fn the_rights_of_the_agents_account_are_compared_with_what_it_needs() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    agent(&client, "rights-1", "podiam:1", &["agent"], true).await;
    let words = words(&cluster, "rights", "rbac");
    let seen = run(&words).await;
    seen.assert("rbac", "wrong", "missing: get pods, list pods");

    // The same role cannot be for pods and namespaces where verbs differ: get namespaces is too much.
    cluster
        .allow(&client, "rights", &["pods", "namespaces"])
        .await;
    let seen = run(&words).await;
    seen.assert(
        "rbac",
        "warning",
        "more than the agent needs: get namespaces",
    );

    let role = json!({"rules": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]},
    ]});
    let roles: Api<k8s_openapi::api::rbac::v1::ClusterRole> = Api::all(client.clone());
    roles
        .patch("rights", &PatchParams::default(), &Patch::Merge(role))
        .await
        .unwrap();
    let seen = crate::support::eventually("the authorizer's view", || async {
        let seen = run(&words).await;
        if seen.of("rbac").0 == "ok" {
            Ok(seen)
        } else {
            Err(seen.raw)
        }
    })
    .await;
    seen.assert("rbac", "ok", "exactly what the agent needs");

    // Whoever may neither impersonate nor is the agent cannot tell.
    let token = cluster.service_account(&client, "onlooker").await;
    cluster
        .allow(&client, "onlooker", &["pods", "namespaces"])
        .await;
    let kubeconfig = cluster.token_kubeconfig("onlooker", &token);
    let mut words = words;
    words[0] = format!("--kubeconfig={}", kubeconfig.display());
    let seen = run(&words).await;
    seen.assert("rbac", "cannot tell", "impersonate");
    assert!(!seen.raw.contains(&token), "the token is shown");
}

#[tokio::test]
async fn without_a_cluster_nothing_is_called_right() {
    let seen = run(&["--only=cluster".to_owned()]).await;
    for check in ["agents", "namespace-guards", "rbac", "version-skew"] {
        assert_eq!(seen.of(check).0, "cannot tell", "{check}");
    }
    assert_eq!(seen.code, 5);
}
