//! Admission policies at a real API server: applied for the namespaces of one test, and asked by pods that are never made.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::support::eventually;

/// The label by which a binding finds the namespaces of its test.
const LABEL: &str = "guarded-by";

/// A namespace with the label of `world`, its annotations and the ServiceAccount that its pods run as.
pub(crate) async fn namespace(
    client: &Client,
    world: &str,
    name: &str,
    annotations: &[(&str, &str)],
) {
    crate::support::pods::namespace(client, name, annotations).await;
    let label = Patch::Merge(json!({"metadata": {"labels": {LABEL: world}}}));
    Api::<Namespace>::all(client.clone())
        .patch(name, &PatchParams::default(), &label)
        .await
        .unwrap();
}

/// Applies what podiam printed, renamed and bound to the namespaces of `world` only.
pub(crate) async fn apply(client: &Client, world: &str, objects: &[Value]) {
    for object in objects {
        let mut object = object.clone();
        let name = format!("{world}-{}", object["metadata"]["name"].as_str().unwrap());
        object["metadata"]["name"] = name.clone().into();
        if object["kind"] == "ValidatingAdmissionPolicy" {
            let policy: ValidatingAdmissionPolicy = serde_json::from_value(object).unwrap();
            let policies = Api::all(client.clone());
            policies
                .create(&PostParams::default(), &policy)
                .await
                .unwrap();
        } else {
            object["spec"]["policyName"] = name.into();
            object["spec"]["matchResources"] =
                json!({"namespaceSelector": {"matchLabels": {LABEL: world}}});
            let binding: ValidatingAdmissionPolicyBinding = serde_json::from_value(object).unwrap();
            let bindings = Api::all(client.clone());
            bindings
                .create(&PostParams::default(), &binding)
                .await
                .unwrap();
        }
    }
}

/// Waits until the policy of a namespace is in force: a role that is none is refused.
pub(crate) async fn in_force(client: &Client, namespace: &str) {
    let nonsense = [("iam.amazonaws.com/role", "no role!")];
    eventually("an admission policy in force", || async {
        match admitted(client, namespace, &nonsense).await {
            Err(_) => Ok(()),
            Ok(()) => Err(format!("a pod of {namespace} with nonsense is let in")),
        }
    })
    .await;
}

/// Whether a pod with these annotations would be let in; the error is the policy's message.
pub(crate) async fn admitted(
    client: &Client,
    namespace: &str,
    annotations: &[(&str, &str)],
) -> Result<(), String> {
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    match pods.create(&dry_run, &pod(annotations)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.message.contains("ValidatingAdmissionPolicy") => {
            Err(status.message.clone())
        }
        Err(other) => panic!("{annotations:?}: {other}"),
    }
}

/// A pod with these annotations.
pub(crate) fn pod(annotations: &[(&str, &str)]) -> Pod {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    serde_json::from_value(json!({
        "metadata": {"generateName": "app-", "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "app"}]},
    }))
    .unwrap()
}
