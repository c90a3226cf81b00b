//! What /status.json says, pod by pod.

use podiam_lab::aws::{Aws, Config, Fault, Injection, Service, Trust};
use serde_json::{Value, json};

use crate::support::agent::BASE;
use crate::support::eventually;
use crate::support::manifest::{self, pod};
use crate::support::node::Node;

async fn status(node: &Node) -> Value {
    let reply = node.agent.ask_admin("/status.json").await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.headers["content-type"], "application/json");
    serde_json::from_str(&reply.body).unwrap()
}

fn of<'a>(status: &'a Value, name: &str) -> &'a Value {
    let pods = status["pods"].as_array().unwrap();
    let found = pods.iter().find(|pod| pod["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {status:#}"))
}

/// Waits until a pod's entry is as `right` says.
async fn pod_until(node: &Node, name: &str, right: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("another status of {name}"), || async {
        let status = status(node).await;
        let pod = of(&status, name);
        if right(pod) {
            Ok(pod.clone())
        } else {
            Err(pod.to_string())
        }
    })
    .await
}

#[tokio::test]
async fn the_document_tells_each_pods_role_reason_source_and_credentials() {
    let mut config = Config::default();
    config.trusts.insert(format!("{BASE}barred"), Trust::Nobody);
    let aws = Aws::start(config).await.unwrap();
    aws.inject(
        Service::Sts,
        Injection::fault(Fault::Hang).only("role/slow"),
    );
    let pods = [
        pod("served", "127.0.4.1").role("app").uid("uid-served"),
        pod("barred", "127.0.4.2").role("barred"),
        pod("slow", "127.0.4.3").role("slow"),
        pod("silent", "127.0.4.4"),
        pod("opted-out", "127.0.4.5").role(""),
        pod("wrong", "127.0.4.6").role("not a role"),
        pod("twin-a", "127.0.4.7").role("app").uid("a"),
        pod("twin-b", "127.0.4.7").role("app").uid("b"),
        pod("host", "127.0.0.1")
            .role("app")
            .host_network("127.0.0.1"),
        pod("daemon", "127.0.0.1").host_network("127.0.0.1"),
        pod("done", "127.0.4.8").role("app").phase("Succeeded"),
    ];
    let node = Node::start_with(aws, &pods, &["--node=lab-node"]).await;
    let served = pod_until(&node, "served", |pod| pod["state"] == "served").await;
    assert_eq!(
        (&served["role"], &served["role_name"], &served["source"]),
        (&json!(format!("{BASE}app")), &json!("app"), &json!("pod"))
    );
    assert_eq!(served["uid"], "uid-served");
    assert_eq!(served["addresses"], json!(["127.0.4.1"]));
    assert_eq!(served["reason"], Value::Null);
    let held = &served["credentials"];
    assert_eq!(held["state"], "fresh");
    let key = held["access_key_id"].as_str().unwrap();
    assert!(key.starts_with("ASIA"), "{held}");
    let left = held["left_seconds"].as_u64().unwrap();
    assert!((3000..=3600).contains(&left), "{held}");

    let barred = pod_until(&node, "barred", |pod| pod["state"] == "refused").await;
    assert_eq!(barred["reason"]["code"], "sts-refused");
    assert_eq!(barred["credentials"]["state"], "failed");
    eventually("a call that is under way", || async {
        let status = status(&node).await;
        let slow = of(&status, "slow");
        let is_told = slow["credentials"]["state"] == "fetching"
            && slow["state"] == "waiting"
            && slow["reason"]["code"] == "credentials-pending"
            && status["agent"]["sts"]["running"] == 1;
        is_told.then_some(()).ok_or(status.to_string())
    })
    .await;
    let status = status(&node).await;
    for (name, state, code) in [
        ("silent", "no-role", "no-role"),
        ("opted-out", "no-role", "opted-out"),
        ("wrong", "refused", "malformed-role"),
        ("twin-a", "refused", "ambiguous-address"),
        ("twin-b", "refused", "ambiguous-address"),
        ("host", "refused", "node-address"),
        ("daemon", "no-role", "node-address"),
    ] {
        let pod = of(&status, name);
        assert_eq!(pod["state"], state, "{pod:#}");
        assert_eq!(pod["reason"]["code"], code, "{pod:#}");
    }
    assert!(!status.to_string().contains("\"done\""), "it has ended");
    let names = status["pods"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|pod| pod["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted(), "{names:?}");

    let agent = &status["agent"];
    assert_eq!(
        (&agent["node"], &agent["identity"], &agent["ready"]),
        (&json!("lab-node"), &json!("ip"), &json!(true))
    );
    assert_eq!(agent["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(agent["interception"]["mode"], "none");
    assert_eq!(agent["sts"]["concurrency"], 8);
    let view = &agent["sources"][0];
    assert_eq!(
        (&view["resource"], &view["synced"], &view["age_seconds"]),
        (&json!("pods"), &json!(true), &json!(0))
    );
    let findings = agent["findings"].as_array().unwrap();
    assert!(
        findings.iter().any(|it| it["code"] == "ceiling-off"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn requests_and_denials_are_each_pods_own_and_outlive_a_change_of_the_pod() {
    let first = |role| pod("first", "127.0.4.21").role(role).uid("first");
    let second = pod("second", "127.0.4.22").role("app").uid("second");
    let node = Node::start(&[first("app"), second.clone()], &[]).await;
    node.agent.gives("127.0.4.22", "app").await;
    let before = of(&status(&node).await, "second").clone();
    for _ in 0..3 {
        assert_eq!(node.credentials("127.0.4.21", "app").await.status, 200);
    }
    assert_eq!(node.credentials("127.0.4.21", "other").await.status, 403);
    // What is no request of IMDS is refused before it is known whose it is.
    assert_eq!(node.get("127.0.4.21", "/latest/../x").await.status, 400);
    let counts = |pod: &Value| {
        (
            pod["requests"].as_u64().unwrap(),
            pod["denials"].as_u64().unwrap(),
        )
    };
    let now = status(&node).await;
    assert_eq!(counts(of(&now, "first")), (4, 1));
    assert_eq!(counts(of(&now, "second")), counts(&before));

    node.manifests.replace(&[first("renamed"), second]);
    let changed = pod_until(&node, "first", |pod| pod["role_name"] == "renamed").await;
    assert_eq!(counts(&changed), (4, 1), "the pod is the same");
}

#[tokio::test]
async fn a_session_whose_refresh_fails_is_stale_until_it_ends_and_a_guard_in_audit_mode_is_told() {
    let aws = Aws::start(Config::default()).await.unwrap();
    let pods = [
        manifest::namespace("t").annotated("iam.amazonaws.com/allowed-roles", r#"["others"]"#),
        pod("app", "127.0.4.31").role("app"),
    ];
    let flags = [
        "--namespace-restrictions=audit",
        "--iam-role-session-ttl=3s",
    ];
    let node = Node::start_with(aws, &pods, &flags).await;
    let served = pod_until(&node, "app", |pod| pod["state"] == "served").await;
    assert_eq!(
        served["audited"][0]["code"], "namespace-forbids",
        "{served:#}"
    );
    node.aws
        .inject(Service::Sts, Injection::fault(Fault::Status(500)));
    let stale = pod_until(&node, "app", |pod| pod["credentials"]["state"] == "stale").await;
    assert_eq!(
        (&stale["state"], &stale["reason"]),
        (&json!("served"), &Value::Null)
    );
}

#[tokio::test]
async fn no_secret_is_in_the_document_or_on_the_page() {
    let node = Node::start(&[pod("app", "127.0.4.41").role("app")], &[]).await;
    pod_until(&node, "app", |pod| pod["state"] == "served").await;
    let body = node.credentials("127.0.4.41", "app").await.text();
    let body: Value = serde_json::from_str(&body).unwrap();
    for path in ["/status", "/status.json", "/status?refused"] {
        let told = node.agent.ask_admin(path).await.unwrap().body;
        for secret in ["SecretAccessKey", "Token"] {
            assert!(
                !told.contains(body[secret].as_str().unwrap()),
                "{path}: {secret}"
            );
        }
    }
    let page = node.agent.ask_admin("/status").await.unwrap().body;
    assert!(page.contains(body["AccessKeyId"].as_str().unwrap()));
}
