//! How the API is reached, and what is told and done when it refuses or goes away.

use std::process::Command;

use crate::scene::{Scene, is_positive};
use crate::support::agent::Agent;
use crate::support::eventually;
use crate::support::http::ROLES;
use crate::support::pods::ROLE;

#[tokio::test]
async fn a_refused_right_is_told_by_verb_and_resource_in_readyz_log_and_metric_until_it_is_granted()
{
    let scene = Scene::new("rbac").await;
    scene.run("app", "127.0.1.12", &[(ROLE, "app-role")]).await;
    let token = scene.cluster.service_account(&scene.client, "rbac").await;
    let kubeconfig = scene.cluster.token_kubeconfig("rbac", &token);
    let agent = scene.start_as(&kubeconfig.display().to_string(), &[]);

    // Verb and resource of what was refused, and what to grant.
    let pods = [
        "refuses to let us",
        " pods (403)",
        "grant the verbs get, list and watch on pods",
    ];
    let namespaces = [
        " namespaces (403)",
        "grant the verbs list and watch on namespaces",
    ];
    agent.not_ready(&pods).await;
    agent.not_ready(&namespaces).await;
    let logged = agent.process().logs(" pods (403)").await;
    assert!(pods.iter().all(|words| logged.contains(words)), "{logged}");
    let metrics = agent.metrics().await;
    assert!(
        metrics.contains("podiam_source_synced{resource=\"pods\"} 0\n"),
        "{metrics}"
    );
    assert!(
        is_positive(&metrics, "podiam_source_errors_total"),
        "{metrics}"
    );
    assert_eq!(
        agent.ask("127.0.1.12", ROLES).await.status,
        503,
        "an unknown pod has no role"
    );

    scene.cluster.allow(&scene.client, "rbac", &["pods"]).await;
    eventually("pods in sync", || async {
        let metrics = agent.metrics().await;
        let synced = metrics.contains("podiam_source_synced{resource=\"pods\"} 1\n");
        if synced { Ok(()) } else { Err(metrics) }
    })
    .await;
    let half = agent.not_ready(&namespaces).await;
    assert!(!half.body.contains(" pods (403)"), "{}", half.body);
    scene
        .cluster
        .allow(&scene.client, "rbac", &["pods", "namespaces"])
        .await;
    agent.ready().await;
    agent.gives("127.0.1.12", "app-role").await;
}

#[tokio::test]
async fn the_api_is_reached_by_server_and_token() {
    let scene = Scene::new("explicit").await;
    scene.run("app", "127.0.1.15", &[(ROLE, "app-role")]).await;
    let token = scene
        .cluster
        .service_account(&scene.client, "explicit")
        .await;
    scene
        .cluster
        .allow(&scene.client, "explicit", &["pods", "namespaces"])
        .await;
    let agent = Agent::start(
        &scene.moto.url(),
        &[
            "--node=explicit",
            &format!("--api-server={}", scene.cluster.url()),
            &format!("--api-token={token}"),
            // kube2iam has no flag for the authority of an explicit server.
            "--insecure",
        ],
    );
    agent.ready().await;
    agent.gives("127.0.1.15", "app-role").await;
    assert!(
        !agent.process().log().contains(&token),
        "the token is in the log"
    );
}

#[tokio::test]
async fn the_api_is_reached_from_inside_the_cluster_by_the_pods_own_service_account() {
    let scene = Scene::new("inside").await;
    scene.run("app", "127.0.1.16", &[(ROLE, "app-role")]).await;
    let token = scene.cluster.service_account(&scene.client, "inside").await;
    scene
        .cluster
        .allow(&scene.client, "inside", &["pods", "namespaces"])
        .await;

    let account = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("token", token.as_str()),
        ("ca.crt", scene.cluster.authority()),
        ("namespace", "inside"),
    ] {
        std::fs::write(account.path().join(name), content).unwrap();
    }
    // The account's folder is at its real place, in a mount namespace of the agent's own.
    let mounted = r#"mount -t tmpfs tmpfs /run && mkdir -p /run/secrets/kubernetes.io &&
        cp -r "$ACCOUNT" /run/secrets/kubernetes.io/serviceaccount && exec "$@""#;
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "sh",
            "-euc",
            mounted,
            "sh",
            env!("CARGO_BIN_EXE_podiam"),
        ])
        .env("ACCOUNT", account.path())
        .env(
            "KUBERNETES_SERVICE_HOST",
            scene.cluster.address().ip().to_string(),
        )
        .env(
            "KUBERNETES_SERVICE_PORT",
            scene.cluster.address().port().to_string(),
        );
    let agent = Agent::start_as(command, &scene.moto.url(), &["--node=inside"]);
    agent.ready().await;
    agent.gives("127.0.1.16", "app-role").await;
}
