//! Unmodified AWS SDKs get the credentials of their pod's role, and another's STS says who they are with them. The pods are
//! network namespaces that ask 169.254.169.254, the real kernel rules bring them to the real agent, and a real Kubernetes
//! API says which pod is which.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what cannot be had fails the test there"
)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;

use aws_config::imds;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sts::config::SharedCredentialsProvider;
use kube::Client;
use nix::sys::signal::Signal;
use podiam_lab::aws::{self, Aws};
use podiam_lab::netns::{self, Pod, Vpc};
use serde_json::Value;
use support::agent::{Agent, Host, enter};
use support::apiserver::Cluster;
use support::http::{self, ROLES};
use support::moto::Moto;
use support::parts::{Part, program};
use support::pods::{self, EXTERNAL_ID, ROLE, Spec};
use support::relay::relay;

/// The region that clients are told, as their own configuration would.
const REGION: &str = "eu-central-1";

/// What Python is told to have the AWS CLI print the ARN that STS knows it by.
const AWSCLI: [&str; 8] = [
    "-m",
    "awscli",
    "sts",
    "get-caller-identity",
    "--query",
    "Arn",
    "--output",
    "text",
];

/// A node in a VPC with its agent, beside a control plane and an STS that both can reach.
struct Scene {
    // The agent ends first: it would only complain about the rest.
    agent: Agent,
    node: &'static str,
    client: Client,
    moto: Arc<Moto>,
    sts: SocketAddr,
    vpc: Arc<Vpc>,
    _aws: Aws,
    _cluster: Arc<Cluster>,
}

impl Scene {
    /// The node `node`, which is also the name of its pods' namespace. The agent is ready.
    async fn new(node: &'static str) -> Self {
        let (cluster, moto) = (Cluster::shared().await, Moto::shared().await);
        let client = cluster.client().await;
        pods::namespace(&client, node, &[]).await;

        let vpc = Arc::new(Vpc::new().unwrap());
        let aws = vpc.start_aws(aws::Config::default()).unwrap();
        let listen = |address| vpc.node().namespace().listen(address).unwrap();
        let sts = SocketAddr::from((netns::NODE, moto.address().port()));
        relay(listen(sts), moto.address());
        relay(listen(cluster.address()), cluster.address());

        let flags = [
            format!("--kubeconfig={}", cluster.admin_kubeconfig().display()),
            format!("--node={node}"),
        ];
        let agent = Agent::start_at(
            Host::Node(Arc::clone(&vpc)),
            &format!("http://{sts}"),
            &flags.each_ref().map(String::as_str),
        );
        agent.ready().await;
        Self {
            agent,
            node,
            client,
            moto,
            sts,
            vpc,
            _aws: aws,
            _cluster: cluster,
        }
    }

    /// A running pod: its network, and its object at the API server.
    async fn pod(&self, host: u8, name: &str, annotations: &[(&str, &str)]) -> Arc<Pod> {
        let pod = self.vpc.add_pod(Ipv4Addr::new(10, 0, 100, host)).unwrap();
        let ip = pod.addresses()[0].to_string();
        let spec = Spec {
            namespace: self.node,
            name,
            node: self.node,
            ip: &ip,
            annotations,
        };
        pods::run(&self.client, spec).await;
        Arc::new(pod)
    }

    /// Runs Python in a pod, with nothing in its environment but what its author would put there.
    async fn python(&self, pod: &Arc<Pod>, arguments: &[&str]) -> String {
        let mut command = enter(pod.namespace(), program(Part::Python));
        command.args(arguments).env_clear().envs([
            ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"),
            ("HOME", "/nonexistent"),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_ENDPOINT_URL_STS", &format!("http://{}", self.sts)),
        ]);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{error}\n{}",
            self.agent.process().log()
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The ARN that STS knows the pod's boto3 by.
    async fn boto3(&self, pod: &Arc<Pod>) -> String {
        let script = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])";
        self.python(pod, &["-c", script]).await
    }

    /// The ARN that STS knows the pod's AWS CLI by.
    async fn awscli(&self, pod: &Arc<Pod>) -> String {
        self.python(pod, &AWSCLI).await
    }

    /// The ARN that STS knows the pod's Rust SDK by.
    async fn rust(&self, pod: &Arc<Pod>) -> String {
        let (pod, sts) = (Arc::clone(pod), self.sts);
        let work = move || {
            pod.namespace()
                .enter(|| block_on(caller(None, sts)))
                .unwrap()
        };
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    /// A reply to the pod from the real address.
    async fn ask(&self, pod: &Pod, path: &str) -> http::Reply {
        http::get(
            pod.namespace().connect((netns::IMDS, 80).into()).await,
            path,
        )
        .await
        .unwrap()
    }

    /// The credentials that the pod reads for its role.
    async fn credentials(&self, pod: &Pod) -> Value {
        let role = self.ask(pod, ROLES).await.body;
        let reply = self.ask(pod, &format!("{ROLES}{role}")).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        serde_json::from_str(&reply.body).unwrap()
    }
}

/// Who the Rust SDK is for `sts`, with the credentials of the metadata service at `endpoint` or at its real address.
async fn caller(endpoint: Option<String>, sts: SocketAddr) -> String {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let mut metadata = imds::Client::builder()
        .configure(&ProviderConfig::without_region().with_http_client(http.clone()));
    if let Some(endpoint) = endpoint {
        metadata = metadata.endpoint(endpoint).unwrap();
    }
    let provider = imds::credentials::ImdsCredentialsProvider::builder()
        .imds_client(metadata.build())
        .build();
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(REGION))
        .endpoint_url(format!("http://{sts}"))
        .credentials_provider(SharedCredentialsProvider::new(provider))
        .build();
    let identity = aws_sdk_sts::Client::from_conf(config)
        .get_caller_identity()
        .send()
        .await
        .unwrap();
    identity.arn().unwrap().to_owned()
}

/// A runtime on this very thread, so that its sockets are made in the thread's network namespace.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// The session name in the ARN of an assumed role, which must be `role`.
fn session(arn: &str, role: &str) -> String {
    let prefix = format!("arn:aws:sts::123456789012:assumed-role/{role}/");
    arn.strip_prefix(&prefix)
        .unwrap_or_else(|| panic!("{arn} is not a session of {role}"))
        .to_owned()
}

#[tokio::test]
async fn boto3_the_aws_cli_and_the_rust_sdk_are_their_pods_role_by_asking_the_real_address() {
    let scene = Scene::new("sdks").await;
    let pod = scene.pod(2, "orders", &[(ROLE, "orders-role")]).await;
    let boto3 = session(&scene.boto3(&pod).await, "orders-role");
    let awscli = session(&scene.awscli(&pod).await, "orders-role");
    let rust = session(&scene.rust(&pod).await, "orders-role");
    assert_eq!([&awscli, &rust], [&boto3, &boto3], "one pod is one session");
    assert!(
        boto3.contains("sdks") && boto3.contains("orders"),
        "{boto3} names neither namespace nor pod"
    );
    assert_eq!(
        scene.moto.assumptions("orders-role").len(),
        1,
        "three SDKs, one AssumeRole"
    );
}

#[tokio::test]
async fn a_pod_without_a_role_has_no_credentials_and_never_the_nodes() {
    let scene = Scene::new("plain").await;
    let pod = scene.pod(3, "plain", &[]).await;
    let script = "import boto3; print(boto3.session.Session().get_credentials())";
    assert_eq!(scene.python(&pod, &["-c", script]).await, "None");
    assert_eq!(scene.ask(&pod, ROLES).await.status, 404);
}

#[tokio::test]
async fn without_the_rules_the_same_pod_reads_the_nodes_role_so_the_rules_are_what_keeps_it_out() {
    let scene = Scene::new("rules").await;
    let pod = scene.pod(4, "app", &[(ROLE, "app-role")]).await;
    assert_eq!(scene.ask(&pod, ROLES).await.body, "app-role");

    // It owns its rules as long as it lives.
    scene.agent.process().end(Signal::SIGKILL);
    let mut remove = enter(scene.vpc.node().namespace(), env!("CARGO_BIN_EXE_podiam"));
    let removed = remove.args(["intercept", "remove"]).output().unwrap();
    assert!(
        removed.status.success(),
        "{}",
        String::from_utf8_lossy(&removed.stderr)
    );
    assert_eq!(
        scene.ask(&pod, ROLES).await.body.trim(),
        aws::Config::default().node_role
    );
}

#[tokio::test]
async fn external_ids_reach_sts_and_pods_that_differ_in_nothing_else_share_no_credentials() {
    let scene = Scene::new("external").await;
    let role = (ROLE, "partner-role");
    let first = scene
        .pod(5, "first", &[role, (EXTERNAL_ID, "tenant:1")])
        .await;
    let second = scene
        .pod(6, "second", &[role, (EXTERNAL_ID, "tenant:2")])
        .await;
    let without = scene.pod(7, "without", &[role]).await;
    let mut keys = Vec::new();
    for pod in [&first, &second, &without] {
        keys.push(
            scene.credentials(pod).await["AccessKeyId"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        session(&scene.boto3(pod).await, "partner-role");
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3, "three pods, three sessions: {keys:?}");

    let assumptions = scene.moto.assumptions("partner-role");
    let with = |text: &str| {
        assumptions
            .iter()
            .filter(|body| body.contains(text))
            .count()
    };
    assert_eq!(assumptions.len(), 3, "{assumptions:?}");
    assert_eq!(
        (with("ExternalId=tenant%3A1"), with("ExternalId=tenant%3A2")),
        (1, 1),
        "{assumptions:?}"
    );
    assert_eq!(with("ExternalId="), 2, "{assumptions:?}");
}

#[tokio::test]
async fn pods_that_share_a_session_name_still_differ_by_external_id() {
    // One session per role and node, as kube2iam had it: here only the external ID tells two pods apart.
    let moto = Moto::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let pod = |name: &str, ip: &str, id: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shared\n  uid: uid-{name}\n  annotations:\n    \
             {ROLE}: shared-role\n    {EXTERNAL_ID}: {id}\nstatus:\n  phase: Running\n  podIP: {ip}\n"
        )
    };
    let manifests = [
        pod("a", "127.0.2.1", "one"),
        pod("b", "127.0.2.2", "two"),
        pod("c", "127.0.2.3", "two"),
    ];
    std::fs::write(folder.path().join("pods.yaml"), manifests.join("---\n")).unwrap();
    let workloads = format!("--workloads={}", folder.path().display());
    let agent = Agent::start(&moto.url(), &[&workloads, "--session=role"]);
    agent.ready().await;

    let mut keys = Vec::new();
    for ip in ["127.0.2.1", "127.0.2.2", "127.0.2.3"] {
        agent.gives(ip, "shared-role").await;
        let reply = agent.ask(ip, &format!("{ROLES}shared-role")).await;
        let body: Value = serde_json::from_str(&reply.body)
            .unwrap_or_else(|error| panic!("{error}: {}", reply.body));
        keys.push(body["AccessKeyId"].as_str().unwrap().to_owned());
    }
    assert_ne!(keys[0], keys[1], "another external ID is another session");
    assert_eq!(keys[1], keys[2], "everything equal is one session");
    assert_eq!(moto.assumptions("shared-role").len(), 2);
}

#[tokio::test]
async fn an_sdk_that_is_pointed_at_the_agent_needs_no_rules() {
    let moto = Moto::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("pod.yaml");
    // Whoever connects on loopback without choosing an address comes from 127.0.0.1.
    std::fs::write(
        &manifest,
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\n  namespace: pointed\n  uid: uid-app\n  annotations:\n    \
             {ROLE}: pointed-role\nstatus:\n  phase: Running\n  podIP: 127.0.0.1\n"
        ),
    )
    .unwrap();
    let host = Host::Loopback(Ipv4Addr::new(127, 0, 0, 2));
    let agent = Agent::start_at(
        host,
        &moto.url(),
        &[&format!("--workloads={}", manifest.display())],
    );
    agent.ready().await;
    let endpoint = format!("http://{}", agent.pods);
    session(
        &caller(Some(endpoint), moto.address()).await,
        "pointed-role",
    );

    let mut python = Command::new(program(Part::Python));
    python
        .args(AWSCLI)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_ENDPOINT_URL_STS", moto.url())
        .env(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            format!("http://{}", agent.pods),
        );
    let output = python.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    session(
        String::from_utf8_lossy(&output.stdout).trim(),
        "pointed-role",
    );
}
