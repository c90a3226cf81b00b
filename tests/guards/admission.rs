//! What `podiam admission-policy` prints, applied as an operator applies it.

use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::policies::{admitted, apply, in_force, namespace, pod};
use crate::support::agent::{Agent, BASE};
use crate::support::apiserver::Cluster;
use crate::support::http::ROLES;
use crate::support::pods::{self, ALLOWED_ROLES, EXTERNAL_ID, ROLE, Spec};

/// Runs `podiam admission-policy`; the exit code, the objects and what it says of errors.
fn printed(flags: &[&str]) -> (i32, Vec<Value>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_podiam"))
        .arg("admission-policy")
        .args(flags)
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let objects = serde_saphyr::from_multiple(&text).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), objects, errors)
}

/// A ceiling in a file of its own.
fn ceiling(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ceiling.yaml");
    std::fs::write(&path, text).unwrap();
    let flag = format!("--ceiling={}", path.display());
    (folder, flag)
}

const CEILING: &str = "
deny: ['arn:*:iam::*:role/*admin*']
namespaces: [{name: admission-*, deny: [/other-team/]}]
externalIds: [{roles: [/plain/], forbid: true}]
";

#[tokio::test]
async fn a_forbidden_role_is_refused_at_kubectl_apply_in_the_agents_words() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    let name = "admission-words";
    namespace(
        &client,
        name,
        name,
        &[(ALLOWED_ROLES, r#"["app", "plain/*", "other-team/*"]"#)],
    )
    .await;
    let base = format!("--base-role-arn={BASE}");
    let (_folder, ceiling) = ceiling(CEILING);
    let guards = ["--namespace-restrictions", ceiling.as_str()];
    let (code, objects, errors) = printed(&[&guards[..], &[&base]].concat());
    assert_eq!((code, errors.as_str()), (0, ""));
    apply(&client, name, &objects).await;
    in_force(&client, name).await;

    // Each pod is on two nodes: at the API server, and in the files of an agent with the same guards.
    let long = "x".repeat(65);
    let table: [(&[(&str, &str)], &str); 9] = [
        (&[(ROLE, "app")], ""),
        (&[(ROLE, "")], ""),
        (&[], ""),
        (&[(ROLE, "app-admin")], "ceiling-denies"),
        (&[(ROLE, "other-team/app")], "ceiling-forbids-in-namespace"),
        (
            &[(ROLE, "plain/x"), (EXTERNAL_ID, "own")],
            "external-id-forbidden",
        ),
        (&[(ROLE, "web")], "namespace-forbids"),
        (&[(ROLE, &long)], "malformed-role"),
        (
            &[(ROLE, "app"), (EXTERNAL_ID, "x")],
            "malformed-external-id",
        ),
    ];
    let manifests = tempfile::tempdir().unwrap();
    let namespace = json!({"kind": "Namespace", "metadata": {"name": name, "annotations": {
        ALLOWED_ROLES: r#"["app", "plain/*", "other-team/*"]"#,
    }}});
    let pods = table.iter().enumerate().map(|(number, (annotations, _))| {
        let annotations: serde_json::Map<String, Value> = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        json!({
            "kind": "Pod",
            "metadata": {"name": format!("p{number}"), "namespace": name, "annotations": annotations},
            "status": {"podIP": format!("127.0.2.{}", number + 1)},
        })
    });
    let items: Vec<Value> = [namespace].into_iter().chain(pods).collect();
    let documents = json!({"kind": "List", "items": items}).to_string();
    std::fs::write(manifests.path().join("pods.json"), documents).unwrap();
    let workloads = format!("--workloads={}", manifests.path().display());
    let agent = Agent::start("http://127.0.0.1:9", &[&guards[..], &[&workloads]].concat());
    agent.ready().await;

    for (number, (annotations, code)) in table.iter().enumerate() {
        let admitted = admitted(&client, name, annotations).await;
        let reply = agent.ask(&format!("127.0.2.{}", number + 1), ROLES).await;
        match admitted {
            Ok(()) => {
                assert_eq!(*code, "", "{annotations:?} is let in");
                assert_ne!(reply.status, 403, "{}", reply.body);
            }
            Err(message) => {
                assert!(
                    message.contains(&format!("({code})")),
                    "{annotations:?}: {message}"
                );
                assert_eq!(reply.status, 403, "{}", reply.body);
                // The same sentence, but for what is wrong with a malformed value.
                let sentence = reply.body.trim_end().split(" is malformed").next().unwrap();
                assert!(
                    message.contains(sentence),
                    "{message} does not say {sentence}"
                );
            }
        }
    }
}

/// Patterns of one namespace, and roles that a regular expression of the same letters would match.
const LITERAL: [(&str, &str, bool); 14] = [
    ("a.p", "a.p", true),
    ("a.p", "axp", false),
    ("b+p", "b+p", true),
    ("b+p", "bbp", false),
    ("c[xy]p", "cxp", false),
    ("d|e", "d", false),
    ("d|e", "e", false),
    ("f(g)?", "fg", false),
    ("h{1}", "h", false),
    // Written as JSON writes a backslash.
    (r"i\\.p", "i.p", false),
    (r"k\\w", "kx", false),
    ("l$", "l", false),
    ("^m", "m", false),
    ("n*p", "n/any.thing/p", true),
];

#[tokio::test]
async fn a_pattern_is_literal_but_for_its_stars_at_admission_as_in_the_agent() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    let name = "admission-literal";
    let quoted: Vec<String> = LITERAL.iter().map(|row| format!("\"{}\"", row.0)).collect();
    let list = format!("[{}]", quoted.join(","));
    namespace(&client, name, name, &[(ALLOWED_ROLES, &list)]).await;
    let base = format!("--base-role-arn={BASE}");
    let (code, objects, errors) = printed(&[&base, "--namespace-restrictions"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    apply(&client, name, &objects).await;
    in_force(&client, name).await;

    let manifests = tempfile::tempdir().unwrap();
    let namespace = json!({"kind": "Namespace", "metadata": {"name": name, "annotations": {ALLOWED_ROLES: list}}});
    let pods = LITERAL.iter().enumerate().map(|(number, (_, role, _))| {
        json!({
            "kind": "Pod",
            "metadata": {"name": format!("p{number}"), "namespace": name, "annotations": {ROLE: role}},
            "status": {"podIP": format!("127.0.2.{}", 140 + number)},
        })
    });
    let items: Vec<Value> = [namespace].into_iter().chain(pods).collect();
    std::fs::write(
        manifests.path().join("pods.json"),
        json!({"kind": "List", "items": items}).to_string(),
    )
    .unwrap();
    let workloads = format!("--workloads={}", manifests.path().display());
    let agent = Agent::start(
        "http://127.0.0.1:9",
        &[&workloads, "--namespace-restrictions"],
    );
    agent.ready().await;
    for (number, (pattern, role, allowed)) in LITERAL.iter().enumerate() {
        let row = format!("{pattern} and {role}");
        let admitted = admitted(&client, name, &[(ROLE, role)]).await;
        assert_eq!(admitted.is_ok(), *allowed, "{row}: {admitted:?}");
        let reply = agent.ask(&format!("127.0.2.{}", 140 + number), ROLES).await;
        let expected = if *allowed { 200 } else { 403 };
        assert_eq!(reply.status, expected, "{row}: {}", reply.body);
    }
}

#[tokio::test]
async fn a_pod_that_runs_already_stays_updatable_and_only_a_change_of_its_role_is_judged() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    let name = "admission-update";
    namespace(&client, name, name, &[]).await;
    let running = Spec {
        namespace: name,
        name: "app",
        node: "admission",
        ip: "127.0.2.100",
        annotations: &[(ROLE, "admin")],
    };
    pods::create(&client, running).await;
    let (_folder, ceiling) = ceiling("deny: ['arn:*:iam::*:role/*admin*']\n");
    let (_, objects, _) = printed(&[&format!("--base-role-arn={BASE}"), &ceiling]);
    apply(&client, name, &objects).await;
    in_force(&client, name).await;

    let api: Api<Pod> = Api::namespaced(client.clone(), name);
    let label = |value| json!({"metadata": {"labels": {"seen": value}}});
    let role = |value| json!({"metadata": {"annotations": {ROLE: value}}});
    let patch = async |change: Value| {
        api.patch("app", &PatchParams::default(), &Patch::Merge(change))
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    };
    patch(label("yes")).await.unwrap();
    let refused = patch(role("superadmin")).await.unwrap_err();
    assert!(
        refused.contains("role/superadmin is denied in this cluster"),
        "{refused}"
    );
    patch(role("app")).await.unwrap();
    let refused = patch(role("admin")).await.unwrap_err();
    assert!(refused.contains("(ceiling-denies)"), "{refused}");
    patch(json!({"metadata": {"annotations": null}}))
        .await
        .unwrap();
    pods::delete(&client, name, "app").await;
}

#[tokio::test]
async fn a_guard_in_audit_mode_warns_at_admission_and_lets_the_pod_in() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    let name = "admission-audit";
    namespace(&client, name, name, &[(ALLOWED_ROLES, r#"["app"]"#)]).await;
    let base = format!("--base-role-arn={BASE}");
    let (_, objects, _) = printed(&[&base, "--namespace-restrictions=audit"]);
    let kinds: Vec<&str> = objects
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    let pair = [
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    assert_eq!(kinds, [pair, pair].concat());
    apply(&client, name, &objects).await;
    in_force(&client, name).await;

    crate::support::eventually("a warning", || async {
        match warnings(&client, name, "web").await {
            warned if warned.contains("is not allowed in the namespace") => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(warnings(&client, name, "app").await, "");
}

/// The Warning headers of a pod that is let in.
async fn warnings(client: &Client, namespace: &str, role: &str) -> String {
    let uri = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    let body = serde_json::to_vec(&pod(&[(ROLE, role)])).unwrap();
    let request = hyper::Request::post(uri)
        .header("Content-Type", "application/json")
        .body(kube::client::Body::from(body))
        .unwrap();
    let reply = client.send(request).await.unwrap();
    assert_eq!(reply.status().as_u16(), 201);
    let warnings = reply.headers().get_all("warning").into_iter();
    warnings
        .map(|value| value.to_str().unwrap().to_owned())
        .collect::<Vec<_>>()
        .join("; ")
}

#[test]
fn what_is_not_known_without_a_node_has_to_be_given() {
    for (flags, right) in [
        (&["--auto-discover-base-arn"][..], "give --base-role-arn"),
        (&["--auto-discover-default-role"], "give --base-role-arn"),
        (&["--role-sources=eks"], "nothing to refuse"),
        (
            &["--namespace-restrictions=yes"],
            "--namespace-restrictions",
        ),
        (&["--ceiling=/nowhere"], "/nowhere"),
    ] {
        let (exit, objects, errors) = printed(flags);
        assert_eq!((exit, objects.len()), (2, 0), "{flags:?}: {errors}");
        assert!(errors.contains(right), "{flags:?}: {errors}");
    }
}
