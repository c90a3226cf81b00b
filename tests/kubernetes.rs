//! The agent against a real Kubernetes API: which pods it knows, what it decides, and what it says when the API refuses
//! or goes away. A pod here is an object at the API server whose address is one of loopback's; a client bound to that
//! address is the pod.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use support::agent::Agent;
use support::apiserver::Cluster;
use support::eventually;
use support::http::ROLES;
use support::moto::Moto;
use support::pods::{self, ALLOWED_ROLES, ROLE, Spec};

/// Attempts of the agent, for pods and for namespaces, after which its pauses are as long as they get.
const LONG_OUTAGE: usize = 16;

/// What every test starts with: a cluster, an STS, and a namespace and a node of the test's own.
struct Scene {
    cluster: Arc<Cluster>,
    client: Client,
    moto: Arc<Moto>,
    name: &'static str,
}

impl Scene {
    async fn new(name: &'static str) -> Self {
        Self::of(Cluster::shared().await, name, &[]).await
    }

    async fn of(cluster: Arc<Cluster>, name: &'static str, annotations: &[(&str, &str)]) -> Self {
        let client = cluster.client().await;
        pods::namespace(&client, name, annotations).await;
        Self {
            cluster,
            client,
            moto: Moto::shared().await,
            name,
        }
    }

    /// A pod of this scene's namespace and node.
    fn pod<'a>(
        &self,
        name: &'a str,
        ip: &'a str,
        annotations: &'a [(&'a str, &'a str)],
    ) -> Spec<'a> {
        Spec {
            namespace: self.name,
            name,
            node: self.name,
            ip,
            annotations,
        }
    }

    async fn run<'a>(&self, name: &'a str, ip: &'a str, annotations: &'a [(&'a str, &'a str)]) {
        pods::run(&self.client, self.pod(name, ip, annotations)).await;
    }

    /// An agent on this scene's node with a kubeconfig that may do everything.
    fn start(&self, flags: &[&str]) -> Agent {
        self.start_as(
            &self.cluster.admin_kubeconfig().display().to_string(),
            flags,
        )
    }

    fn start_as(&self, kubeconfig: &str, flags: &[&str]) -> Agent {
        let (kubeconfig, node) = (
            format!("--kubeconfig={kubeconfig}"),
            format!("--node={}", self.name),
        );
        let flags: Vec<&str> = [kubeconfig.as_str(), node.as_str()]
            .into_iter()
            .chain(flags.iter().copied())
            .collect();
        Agent::start(&self.moto.url(), &flags)
    }

    async fn ready(&self, flags: &[&str]) -> Agent {
        let agent = self.start(flags);
        agent.ready().await;
        agent
    }
}

/// Whether a metric of the pods' source is there and above zero.
fn is_positive(metrics: &str, name: &str) -> bool {
    let start = format!("{name}{{resource=\"pods\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
    value.is_some_and(|value| value != "0")
}

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
        "grant the verbs get, list and watch on namespaces",
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
async fn an_api_that_is_down_at_the_start_is_waited_for_and_the_agent_is_ready_within_a_second_of_its_coming()
 {
    let cluster = Arc::new(Cluster::prepare());
    let agent = Agent::start(
        &Moto::shared().await.url(),
        &[
            &format!("--kubeconfig={}", cluster.admin_kubeconfig().display()),
            "--node=down",
        ],
    );
    agent.not_ready(&["pods"]).await;
    cluster.turn_away(LONG_OUTAGE).await;
    cluster.start_apiserver().await;
    let back = Instant::now();
    agent.ready().await;
    assert!(
        back.elapsed() < Duration::from_secs(1),
        "ready {:?} after the API server",
        back.elapsed()
    );
}

#[tokio::test]
async fn known_pods_go_on_while_the_api_is_away_and_new_ones_are_known_within_a_second_of_its_return()
 {
    let scene = Scene::of(Arc::new(Cluster::start().await), "away", &[]).await;
    scene
        .run("known", "127.0.1.13", &[(ROLE, "known-role")])
        .await;
    let agent = scene.ready(&[]).await;
    agent.gives("127.0.1.13", "known-role").await;

    scene.cluster.stop_apiserver().await;
    agent.process().logs("not in sync").await;
    assert_eq!(agent.ask("127.0.1.13", ROLES).await.body, "known-role");
    assert_eq!(agent.ask("127.0.1.14", ROLES).await.status, 503);

    scene.cluster.turn_away(LONG_OUTAGE).await;
    let readyz = agent.readyz().await.unwrap();
    assert_eq!(readyz.status, 200, "{}", readyz.body);
    let metrics = agent.metrics().await;
    assert!(
        is_positive(&metrics, "podiam_source_age_seconds"),
        "{metrics}"
    );
    scene.cluster.start_apiserver().await;
    let back = Instant::now();
    scene.run("new", "127.0.1.14", &[(ROLE, "new-role")]).await;
    agent.gives("127.0.1.14", "new-role").await;
    agent.ready().await;
    assert!(
        back.elapsed() < Duration::from_secs(1),
        "the new pod was known {:?} after the return",
        back.elapsed()
    );
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
