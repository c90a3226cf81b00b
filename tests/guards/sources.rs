//! The sources of a role at a real API server, and what audit tells.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::agent::Agent;
use crate::support::apiserver::Cluster;
use crate::support::http::ROLES;
use crate::support::pods::{self, ALLOWED_ROLES, ROLE, Spec};

const STS: &str = "http://127.0.0.1:9";

async fn annotate_account(client: &kube::Client, namespace: &str, annotations: serde_json::Value) {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    accounts
        .patch("default", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[tokio::test]
async fn service_accounts_and_namespaces_name_roles_where_they_may_and_changes_are_followed() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    let name = "sources";
    pods::namespace(&client, name, &[("podiam.io/default-role", "namespaces")]).await;
    let spec = Spec {
        namespace: name,
        name: "app",
        node: name,
        ip: "127.0.2.130",
        annotations: &[],
    };
    pods::run(&client, spec).await;
    let kubeconfig = format!("--kubeconfig={}", cluster.admin_kubeconfig().display());
    let node = format!("--node={name}");
    let sources = "--role-sources=pod,service-account,eks,namespace,default";
    let agent = Agent::start(
        STS,
        &[&kubeconfig, &node, sources, "--default-role=default"],
    );
    agent.ready().await;
    agent.gives(spec.ip, "namespaces").await;

    let irsa = "arn:aws:iam::123456789012:role/irsa";
    annotate_account(&client, name, json!({"eks.amazonaws.com/role-arn": irsa})).await;
    agent.gives(spec.ip, "irsa").await;
    annotate_account(&client, name, json!({"podiam.io/role": "accounts"})).await;
    agent.gives(spec.ip, "accounts").await;
    pods::annotate(&client, name, "app", &[(ROLE, Some("pods"))]).await;
    agent.gives(spec.ip, "pods").await;
    pods::annotate(&client, name, "app", &[(ROLE, None)]).await;
    annotate_account(&client, name, json!({"podiam.io/role": ""})).await;
    let refusal = agent.refuses(spec.ip, 404).await;
    assert!(
        refusal
            .body
            .contains("the service account's annotation \"podiam.io/role\" is empty"),
        "{}",
        refusal.body
    );
}

#[tokio::test]
async fn service_accounts_are_asked_for_only_where_a_source_reads_them() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    let name = "accounts-rbac";
    pods::namespace(&client, name, &[]).await;
    annotate_account(&client, name, json!({"podiam.io/role": "accounts"})).await;
    let spec = Spec {
        namespace: name,
        name: "app",
        node: name,
        ip: "127.0.2.131",
        annotations: &[],
    };
    pods::run(&client, spec).await;
    let token = cluster.service_account(&client, name).await;
    cluster.allow(&client, name, &["pods", "namespaces"]).await;
    let kubeconfig = format!(
        "--kubeconfig={}",
        cluster.token_kubeconfig(name, &token).display()
    );
    let node = format!("--node={name}");

    // The rights of kube2iam are enough for kube2iam's sources.
    let without = Agent::start(STS, &[&kubeconfig, &node]);
    without.ready().await;
    assert_eq!(without.ask(spec.ip, ROLES).await.status, 404);
    assert!(!without.process().log().contains("serviceaccounts"));

    let with = Agent::start(
        STS,
        &[&kubeconfig, &node, "--role-sources=pod,service-account"],
    );
    with.not_ready(&[
        "serviceaccounts",
        "grant the verbs list and watch on serviceaccounts",
    ])
    .await;
    let early = with.ask(spec.ip, ROLES).await;
    assert_eq!(early.status, 503, "{}", early.body);
    assert!(
        early.body.contains("service account \"default\""),
        "{}",
        early.body
    );
    cluster
        .allow(&client, name, &["pods", "namespaces", "serviceaccounts"])
        .await;
    with.ready().await;
    with.gives(spec.ip, "accounts").await;
}

#[tokio::test]
async fn audit_answers_as_off_and_tells_the_denial_in_log_metric_and_store() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    let name = "audit";
    pods::namespace(&client, name, &[(ALLOWED_ROLES, r#"["app"]"#)]).await;
    let good = Spec {
        namespace: name,
        name: "good",
        node: name,
        ip: "127.0.2.132",
        annotations: &[(ROLE, "app")],
    };
    let bad = Spec {
        name: "bad",
        ip: "127.0.2.133",
        annotations: &[(ROLE, "web")],
        ..good
    };
    pods::run(&client, good).await;
    pods::run(&client, bad).await;
    let kubeconfig = format!("--kubeconfig={}", cluster.admin_kubeconfig().display());
    let node = format!("--node={name}");
    let agent = Agent::start(
        STS,
        &[
            &kubeconfig,
            &node,
            "--namespace-restrictions=audit",
            "--debug",
        ],
    );
    agent.ready().await;
    agent.gives(good.ip, "app").await;
    agent.gives(bad.ip, "web").await;

    let logged = agent.process().logs("audit: would be refused").await;
    for words in [
        "namespace-forbids",
        "bad",
        "role/web is not allowed in the namespace",
    ] {
        assert!(logged.contains(words), "{logged}");
    }
    assert!(!agent.process().log().contains("role/app is not allowed"));
    let metrics = agent.metrics().await;
    assert!(
        metrics.contains("podiam_audited_total{reason=\"namespace-forbids\"} "),
        "{metrics}"
    );
    let readyz = agent.readyz().await.unwrap();
    assert_eq!(readyz.status, 200);
    assert!(readyz.body.starts_with("ok\n"), "{}", readyz.body);
    for code in ["namespace-restrictions-audit", "ceiling-off"] {
        assert!(
            readyz.body.contains(&format!("finding {code}: ")),
            "{}",
            readyz.body
        );
        assert!(
            agent.process().log().contains(code),
            "the log does not tell {code}"
        );
    }
    let store: serde_json::Value = serde_json::from_str(&agent.store().await).unwrap();
    assert_eq!(store["roleSourcesByIP"][bad.ip], "pod");
    assert!(
        store["auditedByIP"][bad.ip][0]
            .as_str()
            .unwrap()
            .contains("role/web")
    );
    assert_eq!(store["auditedByIP"].get(good.ip), None);
}
