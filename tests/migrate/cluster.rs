//! A real API server: what it lists, by a ServiceAccount that may list and nothing else.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::podiam;
use crate::support::apiserver::Cluster;
use crate::support::pods::{self, ALLOWED_ROLES, ROLE, Spec};

/// kube2iam of the manifest beside this file, a namespace with a restriction and two pods.
async fn install(cluster: &Cluster) {
    let client = cluster.client().await;
    let manifest = std::fs::read_to_string("tests/migrate/kube2iam-daemonset.yaml").unwrap();
    let manifest = manifest.replace(
        "--node=",
        "--namespace-restrictions\"\n            - \"--node=",
    );
    // This cluster's policy has no place for it.
    let manifest = manifest.replace("privileged: true", "privileged: false");
    let agent: DaemonSet = serde_saphyr::from_str(&manifest).unwrap();
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), "kube-system");
    sets.create(&PostParams::default(), &agent).await.unwrap();
    pods::namespace(&client, "web", &[(ALLOWED_ROLES, r#"["app"]"#)]).await;
    for (name, ip, role) in [("app", "10.0.0.1", "app"), ("admin", "10.0.0.2", "admin")] {
        let annotations = [(ROLE, role)];
        let spec = Spec {
            namespace: "web",
            name,
            node: "node",
            ip,
            annotations: &annotations,
        };
        pods::run(&client, spec).await;
    }
}

/// Grants `list` on these resources to a ServiceAccount.
async fn may_list(cluster: &Cluster, name: &str, rules: Value) {
    let client = cluster.client().await;
    let role: ClusterRole =
        serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules})).unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
    }))
    .unwrap();
    let granted: Api<ClusterRole> = Api::all(client.clone());
    granted.create(&PostParams::default(), &role).await.unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(client);
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_read_by_lists_alone_and_says_what_its_files_would() {
    let cluster = Cluster::start().await;
    install(&cluster).await;
    let token = cluster
        .service_account(&cluster.client().await, "migrate")
        .await;
    let kubeconfig = cluster.token_kubeconfig("migrate", &token);
    let words = [
        "--json",
        "--cluster",
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
    ];

    let (code, _, complaint) = podiam(&words, "");
    assert_eq!(code, 1, "{complaint}");
    assert!(
        complaint.contains("GET /apis/apps/v1/daemonsets failed; migrate needs list on pods"),
        "{complaint}"
    );
    assert!(complaint.contains("forbidden"), "{complaint}");

    may_list(&cluster, "migrate", json!([
        {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["list"]},
        {"apiGroups": ["apps"], "resources": ["deployments", "daemonsets", "statefulsets", "replicasets"], "verbs": ["list"]},
        {"apiGroups": ["batch"], "resources": ["jobs", "cronjobs"], "verbs": ["list"]},
    ]))
    .await;
    let (code, printed, complaint) = podiam(&words, "");
    assert_eq!(code, 3, "{complaint}");
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        report["found"][0],
        "/apis/apps/v1/daemonsets: DaemonSet kube-system/kube2iam runs kube2iam"
    );
    assert_eq!(report["workloads"][0]["workload"], "Pod web/admin");
    assert!(
        report["workloads"][0]["refused"]
            .as_str()
            .unwrap()
            .contains("not allowed in the namespace")
    );
    assert_eq!(
        report["workloads"][1]["role"],
        "arn:aws:iam::123456789012:role/app"
    );
    assert_eq!(report["values"]["extraArgs"]["namespace-restrictions"], "");
    assert!(
        !printed.contains("not for podiam"),
        "a container's environment is told"
    );
}
