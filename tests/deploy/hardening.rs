//! What the agent may do to the node, and that it is no more than what was asked for.

use serde_json::{Value, json};

use crate::chart::render;

/// The capabilities that a container adds after it has dropped all.
fn capabilities(container: &Value) -> Vec<&str> {
    let context = &container["securityContext"];
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["privileged"], Value::Null);
    let added = context["capabilities"]["add"].as_array();
    added.map_or_else(Vec::new, |all| {
        all.iter().filter_map(Value::as_str).collect()
    })
}

#[test]
fn each_capability_and_each_folder_of_the_node_is_there_only_for_what_needs_it() {
    for (values, adds, folders) in [
        (json!({}), &["NET_ADMIN"][..], &["/var/lib/podiam"][..]),
        (json!({"stateDir": ""}), &["NET_ADMIN"], &[]),
        (
            json!({"intercept": {"mode": "none"}}),
            &[],
            &["/var/lib/podiam"],
        ),
        (
            json!({"intercept": {"mode": "cilium"}}),
            &[],
            &["/var/lib/podiam"],
        ),
        (
            json!({"intercept": {"mode": "iptables"}}),
            &["NET_ADMIN", "NET_RAW"],
            &["/var/lib/podiam", "/run/xtables.lock"],
        ),
        (
            json!({"criSocket": "/run/containerd/containerd.sock"}),
            &["NET_ADMIN"],
            &["/run/containerd", "/var/lib/podiam"],
        ),
        (
            json!({"selfTest": {"enabled": true}}),
            &["NET_ADMIN", "SYS_ADMIN"],
            &["/run/netns", "/var/lib/podiam"],
        ),
        (
            json!({"selfTest": {"enabled": true, "hostPID": true}}),
            &["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"],
            &["/run/netns", "/var/lib/podiam"],
        ),
    ] {
        let rendered = render(&values);
        let pod = rendered.pod();
        assert_eq!(capabilities(rendered.agent()), adds, "{values}");
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        let volumes = pod["volumes"].as_array().cloned().unwrap_or_default();
        let paths: Vec<&str> = volumes
            .iter()
            .filter_map(|volume| volume["hostPath"]["path"].as_str())
            .collect();
        assert_eq!(paths, folders, "{values}");
        assert_eq!(paths.len(), volumes.len(), "{values}");
        let mounts = rendered.agent()["volumeMounts"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        assert_eq!(mounts.len(), volumes.len(), "{values}");
        let asked = values["selfTest"]["hostPID"] == true;
        assert_eq!(pod["hostPID"] == true, asked, "{values}");
        assert_eq!(pod["hostIPC"], Value::Null);
    }
}

#[test]
fn the_guard_may_write_rules_and_nothing_else() {
    let rendered = render(&json!({"selfTest": {"enabled": true, "hostPID": true}}));
    let guard = &rendered.pod()["initContainers"][0];
    assert_eq!(capabilities(guard), ["NET_ADMIN"]);
    assert_eq!(guard["volumeMounts"], Value::Null);
    assert_eq!(
        guard["args"],
        json!(["intercept", "guard", "--intercept=nftables"])
    );
}

#[test]
fn nothing_that_is_installed_opens_the_node() {
    for mode in ["nftables", "iptables", "cilium", "none"] {
        let rendered = render(&json!({"intercept": {"mode": mode}}));
        let text = Value::from(rendered.0.clone()).to_string();
        assert!(
            !text.contains("remove") && !text.contains("preStop"),
            "{mode}: {text}"
        );
        assert!(!text.contains("helm.sh/hook"), "{mode}: {text}");
    }
}
