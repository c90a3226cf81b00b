//! What is made only where it is asked for: the admission policy, the opening of nodes when the release goes, `OpenShift`'s
//! constraints.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use serde_json::{Value, json};

use crate::chart::{self, NAMESPACE, RELEASE, helm_at, lint, notes, refuse, render};
use crate::support::apiserver::Cluster;

const BASE: &str = "arn:aws:iam::123456789012:role/k8s/";

/// What `podiam admission-policy` prints for the base ARN and these flags.
pub(crate) fn printed_policy(flags: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_podiam"))
        .arg("admission-policy")
        .arg(format!("--base-role-arn={BASE}"))
        .args(flags)
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_admission_policy_is_the_one_that_the_agent_prints_and_carries_the_releases_labels() {
    // A guard in audit mode makes a policy of its own.
    let printed = printed_policy(&["--namespace-restrictions=audit"]);
    let values = json!({
        "extraArgs": {"base-role-arn": BASE, "namespace-restrictions": "audit"},
        "admissionPolicy": {"manifest": printed},
    });
    lint(&values);
    let rendered = render(&values);
    let expected: Vec<Value> = serde_saphyr::from_multiple(&printed).unwrap();
    let made: Vec<&Value> = rendered
        .0
        .iter()
        .filter(|object| object["apiVersion"] == "admissionregistration.k8s.io/v1")
        .collect();
    assert_eq!((made.len(), expected.len()), (4, 4));
    for wanted in &expected {
        let same = |it: &&&Value| {
            it["kind"] == wanted["kind"] && it["metadata"]["name"] == wanted["metadata"]["name"]
        };
        let object = made.iter().find(same).unwrap();
        assert_eq!(object["spec"], wanted["spec"]);
        assert_eq!(
            object["metadata"]["labels"]["app.kubernetes.io/instance"],
            RELEASE
        );
    }
}

#[test]
fn nothing_but_an_admission_policy_for_the_same_base_gets_in_by_that_value() {
    let manifest = |text: &str| json!({"admissionPolicy": {"manifest": text}});
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n";
    for (values, words) in [
        (manifest(secret), "a Secret where only"),
        (manifest("---\n"), "it is empty"),
        (manifest("just: text"), "a text without a kind"),
        (
            json!({
                "extraArgs": {"base-role-arn": "arn:aws:iam::123456789012:role/other/"},
                "admissionPolicy": {"manifest": printed_policy(&[])},
            }),
            "another base ARN",
        ),
    ] {
        let why = refuse(&values);
        assert!(why.contains(words), "{words}: {why}");
    }
}

#[test]
fn nodes_are_opened_at_the_end_only_where_the_release_is_named() {
    let open = |confirm: &str| json!({"uninstall": {"nodes": "open", "confirm": confirm}});
    for confirm in ["", "yes", "another"] {
        let why = refuse(&open(confirm));
        assert!(
            why.contains(&format!("uninstall.confirm={RELEASE}")),
            "{why}"
        );
    }
    let mut without = open(RELEASE);
    without["intercept"] = json!({"mode": "none"});
    let why = refuse(&without);
    assert!(why.contains("nothing to open"), "{why}");

    for mode in ["nftables", "iptables"] {
        let mut values = open(RELEASE);
        values["intercept"] = json!({"mode": mode});
        lint(&values);
        let rendered = render(&values);
        let hook = rendered
            .0
            .iter()
            .find(|object| object["metadata"]["name"] == "podiam-open")
            .unwrap();
        assert_eq!(
            hook["metadata"]["annotations"]["helm.sh/hook"],
            "post-delete"
        );
        let pod = &hook["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        let container = &pod["containers"][0];
        assert_eq!(
            container["args"],
            json!(["intercept", "remove", format!("--intercept={mode}")])
        );
        let added = &container["securityContext"]["capabilities"]["add"];
        let expected = if mode == "iptables" {
            json!(["NET_ADMIN", "NET_RAW"])
        } else {
            json!(["NET_ADMIN"])
        };
        assert_eq!(added, &expected);
        // The agent's own pods are not what it selects.
        let agents = rendered
            .0
            .iter()
            .find(|it| it["kind"] == "DaemonSet" && it["metadata"]["name"] == RELEASE)
            .unwrap();
        assert_ne!(
            agents["spec"]["selector"]["matchLabels"],
            hook["spec"]["selector"]["matchLabels"]
        );
    }
}

#[tokio::test]
async fn helm_makes_what_opens_nodes_after_the_agents_are_gone_and_not_before() {
    let cluster = Cluster::shared().await;
    let daemon_sets: Api<DaemonSet> = Api::namespaced(cluster.client().await, NAMESPACE);
    let release = "podiam-opened";
    let opener = "podiam-opened-open";
    let values = json!({"uninstall": {"nodes": "open", "confirm": release}});
    helm_at(&cluster, &["install", release], &values);
    assert!(daemon_sets.get_opt(opener).await.unwrap().is_none());
    let told = notes(
        &cluster,
        &json!({"uninstall": {"nodes": "open", "confirm": RELEASE}}),
    );
    assert!(told.contains("OPENS every node"), "{told}");

    chart::uninstall(release, &cluster.admin_kubeconfig());
    assert!(daemon_sets.get_opt(release).await.unwrap().is_none());
    assert!(daemon_sets.get_opt(opener).await.unwrap().is_some());
}

#[test]
fn openshifts_constraints_allow_what_the_pods_have_and_nothing_beside() {
    for values in [
        json!({}),
        json!({"selfTest": {"enabled": true, "hostPID": true}}),
        json!({"intercept": {"mode": "cilium"}}),
    ] {
        let mut values = values;
        assert!(
            !render(&values)
                .kinds()
                .contains(&"SecurityContextConstraints")
        );
        values["openshift"] = json!({"scc": true});
        let rendered = render(&values);
        let constraints = rendered.only("SecurityContextConstraints");
        let pod = rendered.pod();
        let added = &rendered.agent()["securityContext"]["capabilities"]["add"];
        let added = if added.is_null() { &json!([]) } else { added };
        assert_eq!(&constraints["allowedCapabilities"], added);
        assert_eq!(constraints["requiredDropCapabilities"], json!(["ALL"]));
        for (allowed, has) in [
            ("allowHostPID", pod["hostPID"] == true),
            ("allowHostPorts", !rendered.agent()["ports"].is_null()),
            ("allowHostNetwork", true),
            ("allowHostIPC", false),
            ("allowPrivilegedContainer", false),
            ("allowPrivilegeEscalation", false),
        ] {
            assert_eq!(constraints[allowed], has, "{allowed}: {values}");
        }
        let account = pod["serviceAccountName"].as_str().unwrap();
        assert_eq!(
            constraints["users"],
            json!([format!("system:serviceaccount:{NAMESPACE}:{account}")])
        );
        assert_eq!(pod["securityContext"]["seLinuxOptions"]["type"], "spc_t");
    }
}
