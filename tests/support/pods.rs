//! The Kubernetes objects of a test, with what the kubelet and the controllers would add.

use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Map, Value, json};

/// A pod to be made: where it runs, what it is called and what its author wrote.
#[derive(Clone, Copy)]
pub struct Spec<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub node: &'a str,
    pub ip: &'a str,
    pub annotations: &'a [(&'a str, &'a str)],
}

/// The annotation that names the role.
pub const ROLE: &str = "iam.amazonaws.com/role";
/// The annotation of the external ID.
pub const EXTERNAL_ID: &str = "iam.amazonaws.com/external-id";
/// The namespace's annotation that lists what is allowed.
pub const ALLOWED_ROLES: &str = "iam.amazonaws.com/allowed-roles";

/// Makes a namespace with the ServiceAccount that its pods run as.
pub async fn namespace(client: &Client, name: &str, annotations: &[(&str, &str)]) {
    let namespace = object(
        json!({"name": name, "annotations": map(annotations)}),
        json!({}),
    );
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(&PostParams::default(), &from(namespace))
        .await
        .unwrap();
    ensure_account(client, name, "default").await;
}

/// Makes a ServiceAccount, unless it is there.
pub async fn ensure_account(client: &Client, namespace: &str, name: &str) {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let account = from(object(json!({"name": name}), json!({})));
    match accounts.create(&PostParams::default(), &account).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        made => drop(made.unwrap()),
    }
}

/// Makes a pod and lets it run at its address.
pub async fn run(client: &Client, spec: Spec<'_>) -> Pod {
    create(client, spec).await;
    assign(client, spec.namespace, spec.name, spec.ip).await
}

/// Makes a pod that has no address yet.
pub async fn create(client: &Client, spec: Spec<'_>) -> Pod {
    let pod = json!({
        "nodeName": spec.node,
        "containers": [{"name": "main", "image": "app", "env": [{"name": "PASSWORD", "value": "not for podiam"}]}],
    });
    let metadata = json!({"name": spec.name, "annotations": map(spec.annotations)});
    pods(client, spec.namespace)
        .create(
            &PostParams::default(),
            &from(object(metadata, json!({"spec": pod}))),
        )
        .await
        .unwrap()
}

/// What the kubelet does when the pod's network is up.
pub async fn assign(client: &Client, namespace: &str, name: &str, ip: &str) -> Pod {
    let status = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]});
    patch_status(client, namespace, name, status).await
}

/// What the kubelet does when all containers have ended: the address stays in the status.
pub async fn succeed(client: &Client, namespace: &str, name: &str) -> Pod {
    patch_status(client, namespace, name, json!({"phase": "Succeeded"})).await
}

async fn patch_status(client: &Client, namespace: &str, name: &str, status: Value) -> Pod {
    let patch = Patch::Merge(json!({"status": status}));
    pods(client, namespace)
        .patch_status(name, &PatchParams::default(), &patch)
        .await
        .unwrap()
}

/// Changes annotations of a pod; `None` removes one.
pub async fn annotate(
    client: &Client,
    namespace: &str,
    name: &str,
    annotations: &[(&str, Option<&str>)],
) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": map(annotations)}}));
    pods(client, namespace)
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Changes annotations of a namespace; `None` removes one.
pub async fn annotate_namespace(client: &Client, name: &str, annotations: &[(&str, Option<&str>)]) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let patch = Patch::Merge(json!({"metadata": {"annotations": map(annotations)}}));
    namespaces
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Deletes a pod at once: without a kubelet an ordinary delete waits for ever.
pub async fn delete(client: &Client, namespace: &str, name: &str) {
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    pods(client, namespace).delete(name, &now).await.unwrap();
}

fn pods(client: &Client, namespace: &str) -> Api<Pod> {
    Api::namespaced(client.clone(), namespace)
}

fn map<V: serde::Serialize + Copy>(pairs: &[(&str, V)]) -> Map<String, Value> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect()
}

fn object(metadata: Value, rest: Value) -> Value {
    let mut object = rest;
    object["metadata"] = metadata;
    object
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}
