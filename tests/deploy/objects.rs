//! Every object that the chart can make, before a real API server: a dry run of server-side apply with strict validation, in
//! which an unknown field is an error. The kinds of other projects have resource definitions here with the fields we use.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::chart::{self, NAMESPACE, helm_at, render};
use crate::support::apiserver::Cluster;
use crate::support::{eventually, pods};

/// The definitions of `ServiceMonitor`, `PrometheusRule` and `CiliumLocalRedirectPolicy`, closed to all but what we use.
const DEFINITIONS: &str = include_str!("definitions.yaml");

/// Asks the API server what it says to an object; with `really`, it is made.
async fn apply(client: &Client, object: &Value, really: bool) -> Result<(), kube::Error> {
    let gvk = GroupVersionKind::try_from(
        &serde_json::from_value::<kube::core::TypeMeta>(object.clone()).unwrap(),
    )
    .unwrap();
    let resource = match gvk.kind.as_str() {
        // A kind that is its own plural.
        "SecurityContextConstraints" => {
            ApiResource::from_gvk_with_plural(&gvk, "securitycontextconstraints")
        }
        _ => ApiResource::from_gvk(&gvk),
    };
    let cluster_wide = [
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "SecurityContextConstraints",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    let api: Api<DynamicObject> = if cluster_wide.contains(&gvk.kind.as_str()) {
        Api::all_with(client.clone(), &resource)
    } else {
        let namespace = object["metadata"]["namespace"].as_str().unwrap();
        Api::namespaced_with(client.clone(), namespace, &resource)
    };
    let mut params = PatchParams::apply("helm")
        .validation(ValidationDirective::Strict)
        .force();
    params.dry_run = !really;
    let name = object["metadata"]["name"].as_str().unwrap();
    api.patch(name, &params, &Patch::Apply(object))
        .await
        .map(drop)
}

/// A cluster that knows the kinds of the Prometheus operator and of Cilium.
async fn cluster() -> (std::sync::Arc<Cluster>, Client) {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    let definitions: Vec<Value> = serde_saphyr::from_multiple(DEFINITIONS).unwrap();
    for definition in &definitions {
        apply(&client, definition, true).await.unwrap();
    }
    (cluster, client)
}

/// What the API server says in the end: a definition is served a moment after it was made.
async fn accepted(client: &Client, object: &Value) {
    eventually(&format!("the API server takes {object}"), || async {
        apply(client, object, false)
            .await
            .map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test]
async fn every_object_of_every_kind_of_installation_is_accepted_by_the_api_server() {
    let (_cluster, client) = cluster().await;
    pods::namespace(&client, "monitoring", &[]).await;
    let documented = include_str!("values/kube2iam-documented.yaml");
    let defaults = include_str!("values/kube2iam-defaults.yaml");
    let everything = json!({
        "startupTaint": "podiam.io/agent-not-ready",
        "selfTest": {"enabled": true, "hostPID": true},
        "aws": {"access_key": "AKIAEXAMPLE", "secret_key": "secret", "region": "eu-central-1"},
        "prometheus": {"serviceMonitor": {"enabled": true, "namespace": "monitoring"}},
        "prometheusRule": {"enabled": true, "labels": {"release": "prometheus"}},
        "grafanaDashboard": {"enabled": true, "namespace": "monitoring"},
        "openshift": {"scc": true},
        "admissionPolicy": {"manifest": crate::optional::printed_policy(&["--namespace-restrictions"])},
        "uninstall": {"nodes": "open", "confirm": chart::RELEASE},
    });
    for values in [
        json!({}),
        serde_saphyr::from_str(documented).unwrap(),
        serde_saphyr::from_str(defaults).unwrap(),
        everything,
        json!({"intercept": {"mode": "cilium"}}),
        json!({"intercept": {"mode": "iptables"}, "stateDir": ""}),
        json!({"updateStrategy": "OnDelete", "host": {"ip": "10.0.0.7"}}),
    ] {
        for object in &render(&values).0 {
            accepted(&client, object).await;
        }
    }
    for file in ["podiam.yaml", "networkpolicy-example.yaml"] {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes/");
        let text = std::fs::read_to_string(format!("{folder}{file}")).unwrap();
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert!(!objects.is_empty(), "{file}");
        for mut object in objects {
            if object["metadata"]["namespace"].is_null() {
                object["metadata"]["namespace"] = json!(NAMESPACE);
            }
            accepted(&client, &object).await;
        }
    }
}

#[tokio::test]
async fn the_api_server_refuses_what_is_wrong_so_that_its_consent_proves_something() {
    let (_cluster, client) = cluster().await;
    let rendered = render(&json!({"prometheus": {"serviceMonitor": {"enabled": true}}}));
    for (kind, path) in [
        ("DaemonSet", "/spec/template/spec"),
        ("ServiceMonitor", "/spec"),
    ] {
        let mut object = rendered.only(kind).clone();
        accepted(&client, &object).await;
        object.pointer_mut(path).unwrap()["noSuchField"] = json!(true);
        let error = apply(&client, &object, false)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("noSuchField"), "{error}");
    }
}

#[tokio::test]
async fn helm_installs_it_changes_every_value_of_it_and_takes_it_away() {
    let cluster = Cluster::shared().await;
    let daemon_sets: Api<DaemonSet> = Api::namespaced(cluster.client().await, NAMESPACE);
    let release = "podiam-upgraded";
    helm_at(&cluster, &["install", release], &json!({}));
    let made = daemon_sets.get(release).await.unwrap();
    let strategy = made.spec.update_strategy.unwrap();
    assert_eq!(strategy.type_.as_deref(), Some("RollingUpdate"));

    let mut values: Value =
        serde_saphyr::from_str(include_str!("values/kube2iam-defaults.yaml")).unwrap();
    values["podLabels"] = json!({"changed": "yes"});
    helm_at(&cluster, &["upgrade", release], &values);
    let changed = daemon_sets.get(release).await.unwrap();
    let template = changed.spec.template;
    assert_eq!(template.metadata.unwrap().labels.unwrap()["changed"], "yes");

    chart::uninstall(release, &cluster.admin_kubeconfig());
    assert!(daemon_sets.get_opt(release).await.unwrap().is_none());
}

#[test]
fn ciliums_policy_is_the_one_that_the_agent_prints() {
    let rendered = render(&json!({"intercept": {"mode": "cilium"}, "host": {"port": 8282}}));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_podiam"))
        .args([
            "intercept",
            "print",
            "--intercept=cilium",
            "--app-port=8282",
        ])
        .arg(format!("--namespace={NAMESPACE}"))
        .args([
            "--label=app.kubernetes.io/name=podiam",
            "--label=app.kubernetes.io/instance=podiam",
        ])
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed: Value = serde_saphyr::from_slice(&output.stdout).unwrap();
    let policy = rendered.only("CiliumLocalRedirectPolicy");
    for field in ["apiVersion", "kind", "spec"] {
        assert_eq!(policy[field], printed[field], "{field}");
    }
    assert_eq!(
        policy["metadata"]["namespace"],
        printed["metadata"]["namespace"]
    );
    // Cilium finds the agent by this port.
    let ports = &rendered.agent()["ports"];
    assert_eq!(ports, &json!([{"containerPort": 8282, "protocol": "TCP"}]));
}
