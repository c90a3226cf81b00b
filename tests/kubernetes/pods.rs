//! Which pods are known, and what is decided about them.

use crate::scene::Scene;
use crate::support::apiserver::Cluster;
use crate::support::http::ROLES;
use crate::support::pods::{self, ALLOWED_ROLES, ROLE, Spec};

#[tokio::test]
async fn a_pod_is_told_the_role_of_its_annotation_and_one_without_is_refused() {
    let scene = Scene::new("annotation").await;
    scene
        .run("app", "127.0.1.1", &[(ROLE, "path/app-role")])
        .await;
    scene.run("plain", "127.0.1.2", &[]).await;
    scene.run("opted-out", "127.0.1.3", &[(ROLE, "")]).await;
    let agent = scene.ready(&[]).await;
    agent.gives("127.0.1.1", "path/app-role").await;
    assert_eq!(agent.ask("127.0.1.2", ROLES).await.status, 404);
    assert_eq!(agent.ask("127.0.1.3", ROLES).await.status, 404);
}

#[tokio::test]
async fn a_pod_that_gets_its_address_after_the_agent_started_is_known_by_its_first_request() {
    let scene = Scene::new("late").await;
    let agent = scene.ready(&[]).await;
    let spec = scene.pod("app", "127.0.1.4", &[(ROLE, "late-role")]);
    pods::create(&scene.client, spec).await;
    assert_eq!(
        agent.ask(spec.ip, ROLES).await.status,
        503,
        "a pod without an address is nobody"
    );

    // The request is on its way before the API server has the address, as it is on a real node.
    let (reply, _) = tokio::join!(
        agent.ask(spec.ip, ROLES),
        pods::assign(&scene.client, spec.namespace, spec.name, spec.ip)
    );
    assert_eq!((reply.status, reply.body.as_str()), (200, "late-role"));
}

#[tokio::test]
async fn only_the_pods_of_this_node_are_known() {
    let scene = Scene::new("here").await;
    let elsewhere = Spec {
        node: "elsewhere",
        ..scene.pod("other", "127.0.1.6", &[(ROLE, "other-role")])
    };
    pods::run(&scene.client, elsewhere).await;
    scene.run("own", "127.0.1.5", &[(ROLE, "own-role")]).await;
    let agent = scene.ready(&[]).await;
    agent.gives("127.0.1.5", "own-role").await;
    assert_eq!(agent.ask("127.0.1.6", ROLES).await.status, 503);
}

#[tokio::test]
async fn a_changed_annotation_is_the_new_decision() {
    let scene = Scene::new("changes").await;
    scene.run("app", "127.0.1.7", &[(ROLE, "before")]).await;
    let agent = scene.ready(&[]).await;
    agent.gives("127.0.1.7", "before").await;
    pods::annotate(&scene.client, scene.name, "app", &[(ROLE, Some("after"))]).await;
    agent.gives("127.0.1.7", "after").await;
    pods::annotate(&scene.client, scene.name, "app", &[(ROLE, None)]).await;
    agent.refuses("127.0.1.7", 404).await;
}

#[tokio::test]
async fn a_deleted_pod_is_gone_and_its_address_is_the_next_pods() {
    let scene = Scene::new("reuse").await;
    scene
        .run("first", "127.0.1.8", &[(ROLE, "first-role")])
        .await;
    let agent = scene.ready(&[]).await;
    agent.gives("127.0.1.8", "first-role").await;
    pods::delete(&scene.client, scene.name, "first").await;
    agent.refuses("127.0.1.8", 503).await;
    scene
        .run("second", "127.0.1.8", &[(ROLE, "second-role")])
        .await;
    agent.gives("127.0.1.8", "second-role").await;
}

#[tokio::test]
async fn a_completed_pod_gives_its_address_away_although_its_status_keeps_it() {
    let scene = Scene::new("completed").await;
    scene.run("job", "127.0.1.9", &[(ROLE, "job-role")]).await;
    let agent = scene.ready(&[]).await;
    agent.gives("127.0.1.9", "job-role").await;
    let pod = pods::succeed(&scene.client, scene.name, "job").await;
    assert_eq!(
        pod.status.and_then(|status| status.pod_ip).as_deref(),
        Some("127.0.1.9")
    );
    agent.refuses("127.0.1.9", 503).await;
    scene.run("next", "127.0.1.9", &[(ROLE, "next-role")]).await;
    agent.gives("127.0.1.9", "next-role").await;
}

#[tokio::test]
async fn namespace_restrictions_follow_the_annotation_of_the_namespace() {
    let allowed: &[(&str, &str)] = &[(ALLOWED_ROLES, r#"["app-*"]"#)];
    let scene = Scene::of(Cluster::shared().await, "restricted", allowed).await;
    scene.run("good", "127.0.1.10", &[(ROLE, "app-one")]).await;
    scene.run("bad", "127.0.1.11", &[(ROLE, "admin")]).await;
    let agent = scene.ready(&["--namespace-restrictions"]).await;
    agent.gives("127.0.1.10", "app-one").await;
    let refusal = agent.ask("127.0.1.11", ROLES).await;
    assert_eq!(refusal.status, 403, "{}", refusal.body);
    assert!(
        refusal
            .body
            .contains("is not allowed in the namespace \"restricted\""),
        "{}",
        refusal.body
    );

    pods::annotate_namespace(
        &scene.client,
        scene.name,
        &[(ALLOWED_ROLES, Some(r#"["admin"]"#))],
    )
    .await;
    agent.gives("127.0.1.11", "admin").await;
    agent.refuses("127.0.1.10", 403).await;
    pods::annotate_namespace(&scene.client, scene.name, &[(ALLOWED_ROLES, None)]).await;
    let refusal = agent.refuses("127.0.1.11", 403).await;
    assert!(
        refusal.body.contains("has no annotation"),
        "{}",
        refusal.body
    );
}
