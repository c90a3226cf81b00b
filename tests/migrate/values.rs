//! The values that are printed, before the real Helm and the chart's schema, and before the agent that it starts.

use serde_json::Value;

use crate::chart::{self, render};
use crate::podiam;

/// The values for a file or a folder, as `--values` prints them.
fn values(path: &str) -> Value {
    let (code, printed, complaint) = podiam(&["--values", path], "");
    assert!(code == 0 || code == 3, "{path}: {complaint}");
    serde_saphyr::from_str(&printed).unwrap()
}

/// kube2iam's documented examples and defaults, its values and kiam's in the examples, and its manifests.
const INPUTS: [&str; 5] = [
    "tests/deploy/values/kube2iam-documented.yaml",
    "tests/deploy/values/kube2iam-defaults.yaml",
    "tests/migrate/kube2iam-daemonset.yaml",
    "examples/migration/kube2iam",
    "examples/migration/kiam",
];

#[test]
fn helm_takes_the_values_and_the_agent_has_its_rules_and_its_own_port() {
    for input in INPUTS {
        let values = values(input);
        chart::lint(&values);
        let rendered = render(&values);
        let args = rendered.args();
        assert!(args.contains(&"--intercept=nftables"), "{input}: {args:?}");
        assert!(!args.contains(&"--app-port=8181"), "{input}: {args:?}");
        // No interface: every one is intercepted.
        assert!(
            !args.iter().any(|arg| arg.starts_with("--host-interface")),
            "{input}: {args:?}"
        );
        let ports: Vec<&&str> = args
            .iter()
            .filter(|arg| arg.starts_with("--metrics-port="))
            .collect();
        assert_eq!(ports.len(), 1, "{input}");
        let strategy = &rendered.only("DaemonSet")["spec"]["updateStrategy"];
        assert_eq!(strategy["rollingUpdate"]["maxSurge"], 1, "{input}");
        assert_eq!(
            rendered.pod()["initContainers"][0]["args"][1],
            "guard",
            "{input}"
        );
        assert_eq!(rendered.agent()["lifecycle"], Value::Null, "{input}");
    }
}

#[test]
fn what_kube2iams_documentation_shows_keeps_its_meaning() {
    let values = values("tests/deploy/values/kube2iam-documented.yaml");
    let rendered = render(&values);
    let args = rendered.args();
    for flag in [
        "--default-role=kube2iam-default",
        "--auto-discover-base-arn",
        "--namespace-restrictions",
        "--verbose",
        "--session=role",
    ] {
        assert!(
            args.iter()
                .any(|arg| *arg == flag || arg.starts_with(&format!("{flag}="))),
            "{flag}: {args:?}"
        );
    }
    assert_eq!(
        rendered.env("http_proxy")["value"],
        "http://example.com:8080"
    );
    assert_eq!(rendered.env("AWS_DEFAULT_REGION")["value"], "eu-west-1");
    let pod = rendered.pod();
    assert_eq!(pod["nodeSelector"]["kubernetes.io/role"], "node");
    assert_eq!(rendered.agent()["resources"]["limits"]["memory"], "128Mi");
    // cbr0 is a bridge: podiam has to look into the pods' network namespaces.
    assert!(
        rendered.agent()["securityContext"]
            .to_string()
            .contains("SYS_ADMIN")
    );
    assert!(!rendered.0.iter().any(|object| object["kind"] == "Secret"));
    let service = rendered.only("Service");
    let port = service["spec"]["ports"][0]["targetPort"].clone();
    assert_eq!(
        service["metadata"]["annotations"]["prometheus.io/port"],
        port.to_string()
    );
}

#[test]
fn a_folder_stdin_and_the_file_say_the_same() {
    let file = "tests/migrate/kube2iam-daemonset.yaml";
    let (_, by_name, _) = podiam(&["--values", file], "");
    let (_, by_stdin, _) = podiam(&["--values", "-"], &std::fs::read_to_string(file).unwrap());
    assert_eq!(by_name, by_stdin);
    let (_, json, _) = podiam(&["--json", file], "");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["values"],
        serde_saphyr::from_str::<Value>(&by_name).unwrap()
    );
}
