//! The chart's `ClusterRole` beside what the real agent asks of a real API server, by the server's own audit log: every
//! verb that is granted is used, and every one that is used is granted.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::chart::{Rendered, render_as};
use crate::support::agent::Agent;
use crate::support::apiserver::Cluster;
use crate::support::eventually;
use crate::support::pods::{self, ALLOWED_ROLES, ROLE, Spec};

/// Where the test cluster makes tokens of `ServiceAccounts`.
const NAMESPACE: &str = "default";
/// Nobody listens there: these tests are about the API server.
const STS: &str = "http://127.0.0.1:9";

/// A startup taint.
const TAINT: &str = "podiam.io/agent-not-ready";

/// Verb and resource.
type Rights = BTreeSet<(String, String)>;

/// What a `ClusterRole` grants.
fn granted(role: &Value) -> Rights {
    let list = |rule: &Value, field: &str| -> Vec<String> {
        serde_json::from_value(rule[field].clone()).unwrap()
    };
    let mut rights = Rights::new();
    for rule in role["rules"].as_array().unwrap() {
        let groups = list(rule, "apiGroups");
        assert_eq!(groups.len(), 1, "{rule}");
        for resource in list(rule, "resources") {
            for verb in list(rule, "verbs") {
                rights.insert((verb, qualified(&resource, &groups[0])));
            }
        }
    }
    rights
}

/// A resource with its API group, as kubectl writes it.
fn qualified(resource: &str, group: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}

/// What a ServiceAccount has asked for so far. Something else than a resource is told by its URL.
fn asked(cluster: &Cluster, account: &str) -> Rights {
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let mut rights = Rights::new();
    for line in cluster.audit_log().lines() {
        // The server may be in the middle of the last line.
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if event["user"]["username"] != user.as_str() {
            continue;
        }
        let group = event["objectRef"]["apiGroup"].as_str().unwrap_or_default();
        let what = match event["objectRef"]["resource"].as_str() {
            Some(resource) => qualified(resource, group),
            None => event["requestURI"].as_str().unwrap().to_owned(),
        };
        let verb = event["verb"].as_str().unwrap().to_owned();
        rights.insert((verb, what));
    }
    rights
}

async fn create<K>(api: Api<K>, object: &Value)
where
    K: kube::Resource + Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
{
    let object = serde_json::from_value(object.clone()).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// Installs what the agent needs at the API server.
async fn install(client: &Client, rendered: &Rendered) {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    create(accounts, rendered.only("ServiceAccount")).await;
    create(
        Api::<ClusterRole>::all(client.clone()),
        rendered.only("ClusterRole"),
    )
    .await;
    create(
        Api::<ClusterRoleBinding>::all(client.clone()),
        rendered.only("ClusterRoleBinding"),
    )
    .await;
}

/// Runs an agent with the flags about Kubernetes that the chart gives, lets it see pods come and go, and waits until it
/// has asked for `expected` of what it is granted.
async fn run(
    cluster: &Cluster,
    release: &'static str,
    values: Value,
    expected: impl Fn(&Rights) -> Rights,
) {
    let client = cluster.client().await;
    let rendered = render_as(release, NAMESPACE, &values);
    let account = rendered.pod()["serviceAccountName"].as_str().unwrap();
    install(&client, &rendered).await;
    let nodes: Api<Node> = Api::all(client.clone());
    let taints = json!([{"key": TAINT, "effect": "NoSchedule"}]);
    create(
        nodes,
        &json!({"metadata": {"name": release}, "spec": {"taints": taints}}),
    )
    .await;
    pods::namespace(&client, release, &[(ALLOWED_ROLES, r#"["app-role"]"#)]).await;

    let token = cluster.service_account(&client, account).await;
    let kubeconfig = cluster.token_kubeconfig(account, &token);
    let mut flags = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--node={release}"),
        // What the agent does every half hour is seen as well.
        "--cache-resync-period=1s".to_owned(),
    ];
    let about_kubernetes = [
        "--startup-taint=",
        "--namespace-restrictions",
        "--role-sources=",
    ];
    let args = rendered.args().into_iter();
    flags.extend(
        args.filter(|arg| about_kubernetes.iter().any(|flag| arg.starts_with(flag)))
            .map(str::to_owned),
    );
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let agent = Agent::start(STS, &flags);
    agent.ready().await;

    let address = "127.0.7.1";
    let annotations = [(ROLE, "app-role")];
    let spec = Spec {
        namespace: release,
        name: "app",
        node: release,
        ip: address,
        annotations: &annotations,
    };
    pods::run(&client, spec).await;
    agent.gives(address, "app-role").await;
    // Two that claim one address are asked about.
    pods::run(
        &client,
        Spec {
            name: "twin",
            ..spec
        },
    )
    .await;
    agent.refuses(address, 503).await;
    pods::delete(&client, release, "app").await;
    agent.gives(address, "app-role").await;
    pods::delete(&client, release, "twin").await;
    agent.refuses(address, 503).await;
    // A pod that is refused has an Event when it comes, and is counted in it when it asks.
    let annotations = [(ROLE, "not a role")];
    let bad = Spec {
        name: "bad",
        ip: "127.0.7.2",
        annotations: &annotations,
        ..spec
    };
    pods::run(&client, bad).await;
    agent.refuses(bad.ip, 403).await;

    let granted = granted(rendered.only("ClusterRole"));
    let expected = expected(&granted);
    eventually("an agent that has used its rights", || async {
        let asked = asked(cluster, account);
        if asked.is_superset(&expected) {
            Ok(())
        } else {
            Err(format!("{asked:?} of {expected:?}"))
        }
    })
    .await;
    assert_eq!(
        asked(cluster, account),
        expected,
        "the agent asks for more than it is expected to"
    );
    assert!(
        !agent.process().log().contains("(403)"),
        "{}",
        agent.process().log()
    );
}

#[tokio::test]
async fn the_agent_uses_every_right_that_the_chart_grants_and_needs_no_other() {
    let cluster = Cluster::without_streaming_lists().await;
    let restricted = json!({"extraArgs": {"namespace-restrictions": ""}});
    run(&cluster, "podiam", restricted, Clone::clone).await;
    // Those on service accounts are for roles that they name.
    let sources = json!({"extraArgs": {"role-sources": ["pod", "service-account"]}});
    run(&cluster, "podiam-accounts", sources, Clone::clone).await;
    // Rights on nodes are for the startup taint alone.
    run(
        &cluster,
        "podiam-tainted",
        json!({"startupTaint": TAINT}),
        Clone::clone,
    )
    .await;
}

#[tokio::test]
async fn where_the_server_has_streaming_lists_the_agent_does_not_list() {
    let cluster = Cluster::shared().await;
    let watches = |granted: &Rights| {
        granted
            .iter()
            .filter(|(verb, _)| verb != "list")
            .cloned()
            .collect()
    };
    run(
        &cluster,
        "podiam-streaming",
        json!({"startupTaint": TAINT}),
        watches,
    )
    .await;
}
