//! Values files of kube2iam's chart, as they are.

use serde_json::{Value, json};

use crate::chart::{self, notes, refuse, render};
use crate::support::apiserver::Cluster;

/// A file beside this one.
fn file(name: &str) -> Value {
    let path = format!("{}/tests/deploy/values/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn all_of_kube2iams_defaults_written_down_install_podiam_with_the_same_meaning() {
    let values = file("kube2iam-defaults.yaml");
    chart::lint(&values);
    let rendered = render(&values);
    assert_eq!(
        rendered.kinds(),
        ["DaemonSet"],
        "no RBAC, no Service, no Secret"
    );
    let pod = rendered.pod();
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(pod["serviceAccountName"], "default");
    assert_eq!(pod["tolerations"], Value::Null);
    assert_eq!(pod["priorityClassName"], Value::Null);
    assert_eq!(
        rendered.args(),
        [
            "agent",
            "--app-port=8181",
            "--host-interface=docker0",
            "--host-ip=$(HOST_IP)",
            "--intercept=none",
            // kube2iam's chart gives the pods' port; nothing but the pods' answers is to be had there.
            "--metrics-port=9181",
            "--node=$(NODE_NAME)",
            "--self-test-interval=0",
            "--state-dir=/var/lib/podiam",
        ]
    );
    assert_eq!(
        rendered.only("DaemonSet")["spec"]["updateStrategy"],
        json!({"type": "OnDelete"})
    );
    assert_eq!(rendered.agent()["livenessProbe"]["initialDelaySeconds"], 30);
    // Helm adds what a file leaves out, and an empty table leaves everything out.
    assert_eq!(rendered.agent()["resources"]["limits"], Value::Null);
}

#[test]
fn every_documented_example_of_kube2iams_chart_has_its_place() {
    let values = file("kube2iam-documented.yaml");
    chart::lint(&values);
    let rendered = render(&values);
    assert_eq!(
        rendered.args(),
        [
            "agent",
            "--app-port=8181",
            "--auto-discover-base-arn",
            "--auto-discover-default-role=true",
            "--base-role-arn=arn:aws:iam::0123456789:role/",
            "--default-role=kube2iam-default",
            "--host-interface=cbr0",
            "--host-ip=$(HOST_IP)",
            "--iam-role-session-ttl=900s",
            "--intercept=nftables",
            "--metrics-port=9543",
            "--namespace-restrictions",
            "--node=$(NODE_NAME)",
            "--self-test-interval=0",
            "--state-dir=/var/lib/podiam",
            "--verbose",
        ]
    );
    assert_eq!(
        rendered.env("http_proxy")["value"],
        "http://example.com:8080"
    );
    assert_eq!(rendered.env("AWS_DEFAULT_REGION")["value"], "eu-west-1");
    assert_eq!(
        rendered.env("AWS_SECRET_ACCESS_KEY")["valueFrom"]["secretKeyRef"],
        json!({"name": "podiam", "key": "aws_secret_access_key"})
    );
    assert_eq!(
        rendered.only("Secret")["data"],
        json!({"aws_access_key_id": "QUtJQUVYQU1QTEU=", "aws_secret_access_key": "c2VjcmV0"})
    );

    let (set, pod, agent) = (rendered.only("DaemonSet"), rendered.pod(), rendered.agent());
    assert_eq!(agent["image"], "example.com/podiam:1");
    assert_eq!(agent["resources"]["limits"]["memory"], "128Mi");
    assert_eq!(agent["livenessProbe"], Value::Null);
    assert_eq!(agent["readinessProbe"]["httpGet"]["port"], 9543);
    assert_eq!(agent["readinessProbe"]["periodSeconds"], 11);
    assert_eq!(
        pod["imagePullSecrets"],
        json!([{"name": "everywhere"}, {"name": "myRegistryKeySecretName"}])
    );
    assert_eq!(pod["nodeSelector"], values["nodeSelector"]);
    assert_eq!(pod["tolerations"], values["tolerations"]);
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(
        set["spec"]["updateStrategy"]["rollingUpdate"],
        json!({"maxSurge": 0, "maxUnavailable": "25%"})
    );
    let metadata = &set["spec"]["template"]["metadata"];
    assert_eq!(metadata["annotations"], values["podAnnotations"]);
    assert_eq!(metadata["labels"]["team"], "platform");

    let service = rendered.only("Service");
    assert_eq!(
        service["metadata"]["annotations"]["prometheus.io/port"],
        "9543"
    );
    assert_eq!(service["spec"]["ports"][0]["targetPort"], 9543);
    let monitor = rendered.only("ServiceMonitor");
    assert_eq!(monitor["metadata"]["namespace"], "monitoring");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["spec"]["endpoints"][0]["interval"], "30s");
}

#[test]
fn a_secret_of_the_users_own_is_used_and_none_is_made() {
    let rendered = render(&json!({
        "existingSecret": "mine", "aws": {"access_key": "AKIAEXAMPLE", "secret_key": "secret"},
    }));
    assert_eq!(
        rendered.env("AWS_ACCESS_KEY_ID")["valueFrom"]["secretKeyRef"]["name"],
        "mine"
    );
    assert!(!rendered.kinds().contains(&"Secret"));
}

#[tokio::test]
async fn kube2iams_image_and_its_hook_that_opens_the_node_are_left_out_and_told() {
    let cluster = Cluster::shared().await;
    let values = file("kube2iam-defaults.yaml");
    let rendered = render(&values);
    assert_eq!(rendered.agent()["image"], "podiam:0.1.0");
    assert_eq!(rendered.agent()["lifecycle"], Value::Null);
    let notes = notes(&cluster, &values);
    assert!(notes.contains("preStop hook is left out"), "{notes}");
    assert!(
        notes.contains("image.repository is kube2iam's own"),
        "{notes}"
    );
    assert!(
        notes.contains("pods reach the node's own credentials"),
        "{notes}"
    );

    let hook = json!({"postStart": {"exec": {"command": ["/podiam", "--version"]}}});
    let rendered = render(&json!({"lifecycle": hook}));
    assert_eq!(rendered.agent()["lifecycle"], hook);
}

#[test]
fn a_false_flag_is_refused_because_kube2iams_chart_turned_it_on() {
    let why = refuse(&json!({"extraArgs": {"namespace-restrictions": false}}));
    assert!(why.contains("extraArgs.namespace-restrictions"), "{why}");
    let rendered = render(&json!({"extraArgs": {"namespace-restrictions": "false"}}));
    assert!(rendered.args().contains(&"--namespace-restrictions=false"));
}

#[test]
fn flags_beside_the_values_win_where_they_do_in_kube2iams_chart() {
    let rendered = render(&json!({
        "host": {"interface": "docker0", "port": 8282},
        "extraArgs": {"host-interface": "eni+", "app-port": 1, "iptables": true},
    }));
    let args = rendered.args();
    assert!(args.contains(&"--host-interface=eni+"), "{args:?}");
    assert!(args.contains(&"--app-port=8282"), "{args:?}");
    assert!(args.contains(&"--intercept=nftables"), "{args:?}");
    let names = args.iter().map(|arg| arg.split('=').next());
    assert_eq!(
        names.clone().count(),
        1 + names
            .skip(1)
            .collect::<std::collections::HashSet<_>>()
            .len()
    );
}
