//! Events on pods that are refused, read at the API server as `kubectl describe pod` reads them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use podiam_lab::aws::{Aws, Config, Trust};

use crate::scene::Scene;
use crate::support::agent::{Agent, BASE};
use crate::support::apiserver::Cluster;
use crate::support::eventually;
use crate::support::http::ROLES;
use crate::support::pods::{self, ALLOWED_ROLES, ROLE};

/// A namespace in which only `app-*` is allowed.
const ONLY_APPS: &[(&str, &str)] = &[(ALLOWED_ROLES, r#"["app-*"]"#)];

/// What the agent counts of its Events.
fn count(metrics: &str, outcome: &str) -> u64 {
    let start = format!("podiam_events_total{{outcome=\"{outcome}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
    value.unwrap().parse().unwrap()
}

impl Scene {
    /// The Events on a pod, by the field selector of `kubectl describe`.
    async fn events(&self, pod: &str) -> Vec<Event> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), self.name);
        let on = format!("involvedObject.kind=Pod,involvedObject.name={pod}");
        events
            .list(&ListParams::default().fields(&on))
            .await
            .unwrap()
            .items
    }

    /// Waits for an Event on the pod with this reason and at least this count.
    async fn told(&self, pod: &str, reason: &str, count: i32) -> Event {
        eventually(&format!("{count} times {reason} on {pod}"), || async {
            let events = self.events(pod).await;
            let found = events.iter().find(|event| {
                let times = event.series.as_ref().and_then(|series| series.count);
                event.reason.as_deref() == Some(reason) && times.unwrap_or(1) >= count
            });
            found.cloned().ok_or_else(|| format!("{events:?}"))
        })
        .await
    }
}

#[tokio::test]
async fn a_refused_pod_has_an_event_with_the_reason_and_what_to_do_and_its_requests_are_counted_in_it()
 {
    let scene = Scene::of(Cluster::shared().await, "events", ONLY_APPS).await;
    scene.run("bad", "127.0.1.20", &[(ROLE, "admin")]).await;
    scene.run("good", "127.0.1.21", &[(ROLE, "app-one")]).await;
    scene.run("plain", "127.0.1.22", &[]).await;
    let agent = scene.ready(&["--namespace-restrictions"]).await;
    let event = scene.told("bad", "NamespaceForbids", 1).await;
    let message = event.message.unwrap();
    assert!(message.contains("role/admin is not allowed"), "{message}");
    assert!(
        message.contains("Add the role to the namespace's"),
        "{message}"
    );
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(event.reporting_component.as_deref(), Some("podiam"));
    assert_eq!(event.reporting_instance.as_deref(), Some("events"));
    let pod = scene
        .told("bad", "NamespaceForbids", 1)
        .await
        .involved_object;
    assert!(pod.uid.is_some(), "{pod:?}");

    // A hundred requests: one Event, with as many counts as a pod may have.
    for _ in 0..100 {
        agent.refuses("127.0.1.20", 403).await;
    }
    scene.told("bad", "NamespaceForbids", 5).await;
    let metrics = agent.metrics().await;
    assert_eq!(count(&metrics, "limited"), 96, "{metrics}");
    assert_eq!(count(&metrics, "written"), 5, "{metrics}");
    let events = scene.events("bad").await;
    assert_eq!(events.len(), 1, "{events:?}");

    agent.gives("127.0.1.21", "app-one").await;
    agent.refuses("127.0.1.22", 404).await;
    assert!(scene.events("good").await.is_empty());
    assert!(
        scene.events("plain").await.is_empty(),
        "it asks for nothing"
    );
}

#[tokio::test]
async fn an_event_that_was_deleted_is_written_anew() {
    let scene = Scene::of(Cluster::shared().await, "events-gone", ONLY_APPS).await;
    scene.run("bad", "127.0.1.23", &[(ROLE, "admin")]).await;
    let agent = scene.ready(&["--namespace-restrictions"]).await;
    let first = scene.told("bad", "NamespaceForbids", 1).await;
    let events: Api<Event> = Api::namespaced(scene.client.clone(), scene.name);
    let name = first.metadata.name.unwrap();
    events
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    agent.refuses("127.0.1.23", 403).await;
    let second = scene.told("bad", "NamespaceForbids", 1).await;
    assert_ne!(second.metadata.name.unwrap(), name);
    assert_eq!(count(&agent.metrics().await, "failed"), 0);
}

#[tokio::test]
async fn a_guard_in_audit_mode_is_told_as_such_and_the_next_role_has_its_own_words() {
    let scene = Scene::of(Cluster::shared().await, "events-audit", ONLY_APPS).await;
    scene.run("bad", "127.0.1.24", &[(ROLE, "admin")]).await;
    let agent = scene.ready(&["--namespace-restrictions=audit"]).await;
    agent.gives("127.0.1.24", "admin").await;
    let event = scene.told("bad", "NamespaceForbids", 1).await;
    assert_eq!(event.action.as_deref(), Some("AuditCredentials"));
    let message = event.message.unwrap();
    assert!(message.starts_with("audit: would be refused"), "{message}");

    pods::annotate(&scene.client, scene.name, "bad", &[(ROLE, Some("other"))]).await;
    eventually("an Event on the other role", || async {
        let events = scene.events("bad").await;
        let told = |event: &Event| event.message.as_ref().unwrap().contains("role/other");
        if events.iter().any(told) {
            Ok(())
        } else {
            Err(format!("{events:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn what_only_a_request_shows_is_told_too() {
    let scene = Scene::new("events-requests").await;
    scene
        .run("untrusted", "127.0.1.25", &[(ROLE, "untrusted")])
        .await;
    scene.run("curious", "127.0.1.26", &[(ROLE, "app")]).await;
    scene.run("twin-a", "127.0.1.27", &[(ROLE, "app")]).await;
    scene.run("twin-b", "127.0.1.27", &[(ROLE, "app")]).await;
    let mut config = Config::default();
    config
        .trusts
        .insert(format!("{BASE}untrusted"), Trust::Nobody);
    let aws = Aws::start(config).await.unwrap();
    let kubeconfig = format!(
        "--kubeconfig={}",
        scene.cluster.admin_kubeconfig().display()
    );
    let agent = Agent::start(&aws.sts_url(), &[&kubeconfig, "--node=events-requests"]);
    agent.ready().await;

    agent.ask("127.0.1.25", &format!("{ROLES}untrusted")).await;
    let message = scene
        .told("untrusted", "StsRefused", 1)
        .await
        .message
        .unwrap();
    assert!(message.contains("role/untrusted"), "{message}");
    assert!(message.contains("trust policy"), "{message}");

    assert_eq!(
        agent
            .ask("127.0.1.26", &format!("{ROLES}admin"))
            .await
            .status,
        403
    );
    let message = scene
        .told("curious", "NotThePodsRole", 1)
        .await
        .message
        .unwrap();
    assert!(message.contains("\"admin\""), "{message}");

    agent.refuses("127.0.1.27", 503).await;
    for twin in ["twin-a", "twin-b"] {
        scene.told(twin, "AmbiguousAddress", 1).await;
    }
}

#[tokio::test]
async fn a_refused_right_to_write_events_is_logged_once_counted_and_harms_nobody() {
    let scene = Scene::of(Cluster::shared().await, "events-rbac", ONLY_APPS).await;
    scene.run("bad", "127.0.1.28", &[(ROLE, "admin")]).await;
    scene.run("good", "127.0.1.29", &[(ROLE, "app-one")]).await;
    let (account, client) = ("events-rbac", &scene.client);
    let token = scene.cluster.service_account(client, account).await;
    scene
        .cluster
        .allow(client, account, &["pods", "namespaces"])
        .await;
    let kubeconfig = scene.cluster.token_kubeconfig(account, &token);
    let agent = scene.start_as(
        &kubeconfig.display().to_string(),
        &["--namespace-restrictions"],
    );
    agent.ready().await;
    agent
        .process()
        .logs("grant the verbs create and patch on events")
        .await;
    for _ in 0..4 {
        agent.refuses("127.0.1.28", 403).await;
    }
    agent.gives("127.0.1.29", "app-one").await;
    eventually("Events that failed", || async {
        let metrics = agent.metrics().await;
        if count(&metrics, "failed") == 5 {
            Ok(())
        } else {
            Err(metrics)
        }
    })
    .await;
    let log = agent.process().log();
    assert_eq!(
        log.matches("an Event on a pod was not written").count(),
        1,
        "{log}"
    );
    assert!(scene.events("bad").await.is_empty());

    let verbs = ["get", "list", "watch", "create", "patch"];
    let all = ["pods", "namespaces", "events"];
    scene
        .cluster
        .allow_verbs(client, account, &all, &verbs)
        .await;
    scene.run("late", "127.0.1.30", &[(ROLE, "admin")]).await;
    scene.told("late", "NamespaceForbids", 1).await;
}

#[tokio::test]
async fn an_api_server_that_is_away_delays_no_answer() {
    let scene = Scene::of(Arc::new(Cluster::start().await), "events-away", ONLY_APPS).await;
    for number in 31..41 {
        let ip = format!("127.0.1.{number}");
        scene
            .run(&format!("bad-{number}"), &ip, &[(ROLE, "admin")])
            .await;
    }
    scene.run("good", "127.0.1.41", &[(ROLE, "app-one")]).await;
    let agent = scene.ready(&["--namespace-restrictions"]).await;
    agent.gives("127.0.1.41", "app-one").await;
    scene.cluster.stop_apiserver().await;
    let started = Instant::now();
    for _ in 0..10 {
        for number in 31..41 {
            let reply = agent.ask(&format!("127.0.1.{number}"), ROLES).await;
            assert_eq!(reply.status, 403, "{}", reply.body);
        }
        assert_eq!(agent.ask("127.0.1.41", ROLES).await.body, "app-one");
        assert_eq!(agent.readyz().await.unwrap().status, 200);
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "120 answers in {took:?}");
    eventually("Events that failed", || async {
        let metrics = agent.metrics().await;
        if count(&metrics, "failed") > 0 {
            Ok(())
        } else {
            Err(metrics)
        }
    })
    .await;
}

#[tokio::test]
async fn with_events_off_none_is_written_and_none_is_counted() {
    let scene = Scene::of(Cluster::shared().await, "events-off", ONLY_APPS).await;
    scene.run("bad", "127.0.1.42", &[(ROLE, "admin")]).await;
    let agent = scene
        .ready(&["--namespace-restrictions", "--events=false"])
        .await;
    agent.refuses("127.0.1.42", 403).await;
    agent.refuses("127.0.1.42", 403).await;
    let metrics = agent.metrics().await;
    for outcome in ["written", "limited", "dropped", "failed"] {
        assert_eq!(count(&metrics, outcome), 0, "{outcome}");
    }
    assert!(scene.events("bad").await.is_empty());
}
