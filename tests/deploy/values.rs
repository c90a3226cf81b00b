//! podiam's own values: what is refused, and what each changes.

use serde_json::{Value, json};

use crate::chart::{lint, notes, refuse, render};
use crate::support::apiserver::Cluster;

#[test]
fn the_defaults_intercept_every_interface_and_hand_over_without_a_gap() {
    let values = json!({});
    lint(&values);
    let rendered = render(&values);
    assert_eq!(
        rendered.kinds(),
        [
            "ServiceAccount",
            "ClusterRole",
            "ClusterRoleBinding",
            "DaemonSet"
        ]
    );
    let args = rendered.args();
    assert!(args.contains(&"--intercept=nftables"), "{args:?}");
    assert!(
        !args.iter().any(|arg| arg.starts_with("--host-interface")),
        "{args:?}"
    );
    assert_eq!(
        rendered.pod()["tolerations"],
        json!([{"operator": "Exists"}])
    );
    assert_eq!(rendered.pod()["priorityClassName"], "system-node-critical");
    let rolling = &rendered.only("DaemonSet")["spec"]["updateStrategy"]["rollingUpdate"];
    assert_eq!(rolling, &json!({"maxSurge": 1, "maxUnavailable": 0}));
    // A host port is one that the scheduler gives to one pod of a node.
    for container in ["initContainers", "containers"] {
        assert_eq!(rendered.pod()[container][0]["ports"], Value::Null);
    }
    assert!(
        rendered.pod()["terminationGracePeriodSeconds"]
            .as_u64()
            .unwrap()
            > 30
    );
    assert_eq!(
        rendered.agent()["livenessProbe"]["httpGet"]["path"],
        "/healthz"
    );
    assert_eq!(
        rendered.agent()["readinessProbe"]["httpGet"]["path"],
        "/readyz"
    );
}

#[test]
fn a_value_that_nobody_reads_is_refused_by_its_name() {
    for (values, name) in [
        (json!({"extraArg": {}}), "extraArg"),
        (json!({"host": {"iptable": true}}), "iptable"),
        (
            json!({"prometheus": {"serviceMonitor": {"enable": true}}}),
            "enable",
        ),
        (json!({"intercept": {"mod": "none"}}), "mod"),
        (
            json!({"livenessProbe": {"periodSecond": 1}}),
            "periodSecond",
        ),
        (
            json!({"updateStrategy": {"type": "OnDelete", "rolling": {}}}),
            "updateStrategy",
        ),
        (json!({"extraArgs": {"--debug": ""}}), "--debug"),
    ] {
        let why = refuse(&values);
        assert!(why.contains(name), "{values}: {why}");
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_refused() {
    for values in [
        json!({"host": {"port": "8181"}}),
        json!({"host": {"port": 0}}),
        json!({"host": {"iptables": "yes"}}),
        json!({"intercept": {"mode": "ebpf"}}),
        json!({"stateDir": "relative"}),
        json!({"updateStrategy": "Recreate"}),
        json!({"tolerations": [{"operator": "Exist"}]}),
        json!({"prometheus": {"serviceMonitor": {"interval": "10"}}}),
    ] {
        refuse(&values);
    }
}

#[test]
fn flags_of_every_kind_are_written_as_the_agent_reads_them() {
    let rendered = render(&json!({"extraArgs": {
        "metadata-allow": ["meta-data/placement/host-id", "meta-data/mac"],
        "data-workers": 4,
        "some-number": 900_000_000,
        "iam-role-error-ttl": 0,
        "debug": true,
        "imdsv2": "required",
    }}));
    let args = rendered.args();
    for flag in [
        "--metadata-allow=meta-data/placement/host-id,meta-data/mac",
        "--data-workers=4",
        "--some-number=900000000",
        "--iam-role-error-ttl=0",
        "--debug=true",
        "--imdsv2=required",
    ] {
        assert!(args.contains(&flag), "{flag} in {args:?}");
    }
}

#[test]
fn the_guard_comes_with_the_rules_and_only_with_them() {
    let guarded = |values: Value| {
        let rendered = render(&values);
        let guard = rendered.pod()["initContainers"][0]["args"].clone();
        guard.as_array().map(|args| args.last().cloned().unwrap())
    };
    let nftables = Some(json!("--intercept=nftables"));
    assert_eq!(guarded(json!({})), nftables);
    assert_eq!(guarded(json!({"host": {"iptables": true}})), nftables);
    assert_eq!(
        guarded(json!({"intercept": {"mode": "iptables"}})),
        Some(json!("--intercept=iptables"))
    );
    for without in [
        json!({"intercept": {"guard": false}}),
        json!({"intercept": {"mode": "none"}}),
        json!({"intercept": {"mode": "cilium"}}),
        json!({"host": {"iptables": false}}),
        json!({"extraArgs": {"intercept": "none"}}),
        json!({"extraArgs": {"iptables": "false"}}),
    ] {
        assert_eq!(guarded(without.clone()), None, "{without}");
    }
}

#[test]
fn without_surge_the_old_agent_leaves_first() {
    let strategy =
        |values: Value| render(&values).only("DaemonSet")["spec"]["updateStrategy"].clone();
    for values in [
        json!({"maxUnavailable": 1}),
        // Cilium's policy needs a port in the pod's spec, and two pods cannot have one host port.
        json!({"intercept": {"mode": "cilium"}}),
    ] {
        assert_eq!(
            strategy(values)["rollingUpdate"],
            json!({"maxSurge": 0, "maxUnavailable": 1})
        );
    }
    let own =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "10%", "maxUnavailable": 0}});
    assert_eq!(strategy(json!({"updateStrategy": own})), own);
}

#[test]
fn a_startup_taint_is_tolerated_told_to_the_agent_and_the_only_right_on_nodes() {
    let rendered = render(&json!({"startupTaint": "podiam.io/agent-not-ready", "tolerations": []}));
    assert!(
        rendered
            .args()
            .contains(&"--startup-taint=podiam.io/agent-not-ready")
    );
    assert_eq!(
        rendered.pod()["tolerations"],
        json!([{"key": "podiam.io/agent-not-ready", "operator": "Exists"}])
    );
    let about_nodes = |rendered: &crate::chart::Rendered| {
        rendered.only("ClusterRole")["rules"]
            .to_string()
            .contains("nodes")
    };
    assert!(about_nodes(&rendered));
    assert!(!about_nodes(&render(&json!({}))));
}

#[test]
fn the_runtimes_socket_is_told_to_the_agent_and_the_right_to_events_goes_with_them() {
    let socket = "/run/crio/crio.sock";
    let rendered = render(&json!({"criSocket": socket}));
    assert!(
        rendered
            .args()
            .contains(&"--cri-socket=/run/crio/crio.sock")
    );
    let may_write = |values: serde_json::Value| {
        let rules = render(&values).only("ClusterRole")["rules"].to_string();
        rules.contains("events.k8s.io")
    };
    assert!(may_write(json!({})));
    assert!(may_write(json!({"extraArgs": {"events": "true"}})));
    assert!(!may_write(json!({"extraArgs": {"events": "false"}})));
    assert!(!may_write(json!({"extraEnv": {"PODIAM_EVENTS": "0"}})));
}

#[test]
fn an_address_of_the_users_own_is_where_the_probes_ask() {
    let rendered = render(&json!({"host": {"ip": "10.0.0.7"}}));
    assert!(rendered.args().contains(&"--host-ip=10.0.0.7"));
    assert_eq!(
        rendered.agent()["readinessProbe"]["httpGet"]["host"],
        "10.0.0.7"
    );
}

#[tokio::test]
async fn the_notes_tell_what_to_check_and_how_a_closed_node_is_opened() {
    let cluster = Cluster::shared().await;
    let told = notes(&cluster, &json!({}));
    assert!(told.contains("Without extraArgs.base-role-arn"), "{told}");
    for words in [
        "rollout status daemonset/podiam",
        "/podiam intercept status",
        "leaves the nodes closed",
        "/podiam intercept remove",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let told = notes(
        &cluster,
        &json!({"extraArgs": {"base-role-arn": "arn:aws:iam::123456789012:role/"}}),
    );
    assert!(!told.contains('!'), "{told}");
    let told = notes(&cluster, &json!({"intercept": {"mode": "none"}}));
    assert!(told.contains("podiam writes no rules"), "{told}");
    assert!(!told.contains("intercept remove"), "{told}");
}
