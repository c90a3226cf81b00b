//! `podiam explain` without an agent: it says of a pod of the real API what its agent would, from the flags of the agent's own
//! pod or from its command line, and what it cannot know.

use std::process::Command;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::scene::Scene;
use crate::support::pods::{self, ALLOWED_ROLES, ROLE, Spec};

/// Exit code, and what was printed where.
fn explain(kubeconfig: &str, words: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_podiam"))
        .args(["explain", &format!("--kubeconfig={kubeconfig}")])
        .args(words)
        // Of no concern to anybody but an agent.
        .env("PODIAM_BASE_ROLE_ARN", "nonsense")
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// The agent's own pod on the scene's node, as the chart makes it, and its ceiling.
async fn agents_pod(scene: &Scene, flags: &[&str]) {
    let mut args = vec!["agent", "--node=$(NODE_NAME)", "--host-ip=$(HOST_IP)"];
    args.extend(flags);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "podiam-x", "namespace": scene.name, "labels": {"app.kubernetes.io/name": "podiam"}},
        "spec": {
            "nodeName": scene.name,
            "containers": [{
                "name": "podiam", "image": "podiam", "args": args,
                "env": [
                    {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
                    {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    {"name": "PODIAM_NAMESPACE_RESTRICTIONS", "value": "true"},
                    {"name": "PODIAM_SESSION", "value": "workload"},
                ],
                "volumeMounts": [{"name": "guards", "mountPath": "/etc/podiam"}],
            }],
            "volumes": [{"name": "guards", "configMap": {"name": "guards"}}],
        },
    }))
    .unwrap();
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), scene.name);
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let status = kube::api::Patch::Merge(json!({"status": {"hostIP": "10.0.0.10"}}));
    pods.patch_status("podiam-x", &kube::api::PatchParams::default(), &status)
        .await
        .unwrap();
    let map: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "guards"}, "data": {"ceiling.yaml": "deny: ['arn:*:iam::*:role/*admin*']"},
    }))
    .unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(scene.client.clone(), scene.name);
    maps.create(&PostParams::default(), &map).await.unwrap();
}

#[tokio::test]
async fn a_pod_is_explained_from_the_api_with_the_flags_of_the_agents_own_pod() {
    let scene = Scene::new("explained").await;
    let list = [(ALLOWED_ROLES, Some(r#"["app", "my-admin"]"#))];
    pods::annotate_namespace(&scene.client, scene.name, &list).await;
    scene.run("app", "127.0.1.60", &[(ROLE, "app")]).await;
    scene.run("web", "127.0.1.61", &[(ROLE, "web")]).await;
    scene
        .run("admin", "127.0.1.62", &[(ROLE, "my-admin")])
        .await;
    scene.run("twin-a", "127.0.1.63", &[(ROLE, "app")]).await;
    scene.run("twin-b", "127.0.1.63", &[(ROLE, "app")]).await;
    let kubeconfig = scene.cluster.admin_kubeconfig().display().to_string();

    let (code, _, stderr) = explain(&kubeconfig, &["explained/app"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("no agent's pod") && stderr.contains("after --"),
        "{stderr}"
    );

    let flags = [
        "--base-role-arn=arn:aws:iam::123456789012:role/",
        "--ceiling=/etc/podiam/ceiling.yaml",
    ];
    agents_pod(&scene, &flags).await;
    let (code, stdout, stderr) = explain(&kubeconfig, &["app", "-n", "explained", "--json"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let app: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(app["toldBy"], "kubernetes");
    assert_eq!(app["pod"]["node"], "explained");
    assert_eq!(
        app["session"]["roleArn"],
        "arn:aws:iam::123456789012:role/app"
    );
    assert_eq!(app["credentials"], Value::Null);
    assert_eq!(app["guards"][0]["verdict"], "allows");
    assert_eq!(app["guards"][1]["mode"], "enforce");
    assert!(
        stdout.contains("only the agent on the pod's node knows"),
        "{stdout}"
    );
    assert!(stdout.contains("explained/podiam-x"), "{stdout}");

    for (pod, reason) in [
        ("web", "namespace-forbids"),
        ("admin", "ceiling-denies"),
        ("twin-a", "ambiguous-address"),
    ] {
        let (code, stdout, stderr) = explain(&kubeconfig, &[pod, "-n", "explained"]);
        assert_eq!(code, 3, "{pod}: {stdout}{stderr}");
        assert!(stdout.contains(reason), "{pod}: {stdout}");
    }

    // The command line's flags in place of the agent's: no restrictions, no ceiling.
    let own = ["--", "--base-role-arn=arn:aws:iam::210987654321:role/"];
    let (code, stdout, stderr) = explain(&kubeconfig, &[&["explained/admin"][..], &own].concat());
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(
        stdout.contains("explained/admin may have arn:aws:iam::210987654321:role/my-admin."),
        "{stdout}"
    );
    let (code, _, stderr) = explain(
        &kubeconfig,
        &["explained/admin", "--", "--auto-discover-base-arn"],
    );
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("--base-role-arn"), "{stderr}");
    let (code, _, stderr) = explain(&kubeconfig, &["explained/admin", "--", "--app-port=http"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("--app-port=\"http\""), "{stderr}");
}

#[tokio::test]
async fn an_unknown_pod_an_ambiguous_one_and_a_missing_right_are_told_apart() {
    let scene = Scene::new("asked").await;
    pods::namespace(&scene.client, "asked-too", &[]).await;
    scene.run("solo-pod", "127.0.1.64", &[(ROLE, "app")]).await;
    scene.run("double", "127.0.1.65", &[(ROLE, "app")]).await;
    let elsewhere = Spec {
        namespace: "asked-too",
        ..scene.pod("double", "127.0.1.66", &[])
    };
    pods::run(&scene.client, elsewhere).await;
    let kubeconfig = scene.cluster.admin_kubeconfig().display().to_string();
    for (words, code, tells) in [
        (
            &["nobody-of-that-name"][..],
            4,
            "no pod named \"nobody-of-that-name\" is known",
        ),
        (
            &["solo-pod", "-n", "asked-too"],
            4,
            "there is one in \"asked\"",
        ),
        (&["double"], 2, "namespaces asked, asked-too"),
    ] {
        let (found, stdout, stderr) = explain(&kubeconfig, words);
        assert_eq!((found, stdout.as_str()), (code, ""), "{words:?}: {stderr}");
        assert!(stderr.contains(tells), "{words:?}: {stderr}");
    }
    let (code, stdout, stderr) = explain(
        &kubeconfig,
        &[
            "solo-pod",
            "--",
            "--base-role-arn=arn:aws:iam::123456789012:role/",
        ],
    );
    assert_eq!(code, 0, "{stdout}{stderr}");

    let token = scene.cluster.service_account(&scene.client, "asked").await;
    let powerless = scene
        .cluster
        .token_kubeconfig("asked", &token)
        .display()
        .to_string();
    let (code, stdout, stderr) = explain(&powerless, &["asked/solo-pod"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(
        stderr.contains("does not tell about the pod asked/solo-pod")
            && stderr.contains("forbidden"),
        "{stderr}"
    );
}
