//! `podiam explain` beside a running agent on a node: what it says of a pod, with which exit code, to whom; and that no
//! secret is in it. What it computes from the Kubernetes API alone is proven in `tests/kubernetes`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]

mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use podiam_lab::aws::{self, Aws, CANARY, Trust};
use podiam_lab::netns::{self, Namespace, PODS, Vpc};
use serde_json::Value;
use support::agent::{Agent, BASE, Host, enter};
use support::eventually;
use support::http;
use support::manifest::{Folder, Manifest, namespace, pod};

const PODIAM: &str = env!("CARGO_BIN_EXE_podiam");
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(netns::NODE), 9181);

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(PODS.to_bits() + u32::from(number))
}

fn of_team(name: &str, number: u8) -> Manifest {
    pod(name, &address(number).to_string()).in_namespace("team")
}

/// What a command printed.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

/// `podiam explain WORDS` in a network namespace, without anything of the developer's own.
fn explain(at: &Namespace, words: &[&str]) -> Said {
    let mut command = enter(at, PODIAM);
    command.arg("explain").args(words);
    for name in [
        "KUBECONFIG",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_SERVICE_PORT",
    ] {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent");
    let output = command.output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

struct Scene {
    agent: Agent,
    vpc: Arc<Vpc>,
    aws: Aws,
    _manifests: Folder,
}

impl Scene {
    async fn new() -> Self {
        let vpc = Arc::new(Vpc::new().unwrap());
        let config = aws::Config {
            trusts: BTreeMap::from([
                (format!("{BASE}closed"), Trust::Nobody),
                (format!("{BASE}partner"), Trust::ExternalId("theirs".into())),
            ]),
            ..aws::Config::default()
        };
        let aws = vpc.start_aws(config).unwrap();
        let manifests = Folder::new(&[
            namespace("team").annotated(
                "iam.amazonaws.com/allowed-roles",
                r#"["app", "closed", "partner"]"#,
            ),
            namespace("other"),
            of_team("served", 11).role("app"),
            of_team("closed", 12).role("closed"),
            of_team("partner", 13)
                .role("partner")
                .annotated("iam.amazonaws.com/external-id", "ours"),
            of_team("forbidden", 14).role("admin"),
            of_team("plain", 15),
            of_team("done", 16).role("app").phase("Succeeded"),
            of_team("twin-a", 17).role("app"),
            of_team("twin-b", 17).role("app"),
            of_team("same", 18).role("app"),
            pod("same", &address(19).to_string()).in_namespace("other"),
        ]);
        let workloads = format!("--workloads={}", manifests.path().display());
        let flags = [
            workloads.as_str(),
            "--node=node-1",
            "--namespace-restrictions",
            "--self-test-interval=0",
        ];
        let sts = format!("http://{}", netns::STS);
        // The node's credentials are those of its instance profile.
        let mut command = enter(vpc.node().namespace(), "env");
        command.args([
            "-u",
            "AWS_ACCESS_KEY_ID",
            "-u",
            "AWS_SECRET_ACCESS_KEY",
            PODIAM,
        ]);
        let agent = Agent::start_on(&vpc, command, &sts, &flags);
        agent.ready().await;
        Self {
            agent,
            vpc,
            aws,
            _manifests: manifests,
        }
    }

    fn node(&self) -> &Namespace {
        self.vpc.node().namespace()
    }

    fn explain(&self, words: &[&str]) -> Said {
        let agent = format!("--agent=http://{ADMIN}");
        explain(self.node(), &[words, &[&agent]].concat())
    }

    /// Waits until STS has answered about the pod's role, and gives what is said then.
    async fn settled(&self, pod: &str) -> Value {
        eventually("an answer of STS", || async {
            let said = self.explain(&[pod, "--json"]);
            let document: Value = serde_json::from_str(&said.stdout).map_err(|_| said.stderr)?;
            let state = &document["credentials"]["state"];
            if state == "pending" {
                Err(said.stdout)
            } else {
                Ok(document)
            }
        })
        .await
    }
}

#[tokio::test]
async fn each_pod_is_explained_by_the_agent_that_answers_it() {
    let scene = Scene::new().await;
    let served = scene.settled("team/served").await;
    assert_eq!(served["refusal"], Value::Null, "{served}");
    assert_eq!(served["toldBy"], "agent");
    assert_eq!(served["pod"]["node"], "node-1");
    assert_eq!(served["pod"]["addresses"][0]["owner"], "this-pod");
    assert_eq!(served["session"]["roleArn"], format!("{BASE}app"));
    assert_eq!(served["sources"][0]["wins"], true);
    assert_eq!(served["guards"][1]["verdict"], "allows");
    assert_eq!(served["credentials"]["state"], "ready");
    assert_eq!(served["credentials"]["nextCall"]["when"], "at");

    // Refused, with the code that the pod itself would be told; and with what is wrong.
    for (pod, code, status) in [
        ("closed", "sts-refused", 403),
        ("partner", "sts-refused", 403),
        ("forbidden", "namespace-forbids", 403),
        ("plain", "no-role", 404),
        ("done", "unknown-pod", 503),
        ("twin-a", "ambiguous-address", 503),
    ] {
        let document = scene.settled(&format!("team/{pod}")).await;
        assert_eq!(document["refusal"]["code"], code, "{document}");
        assert_eq!(document["refusal"]["status"], status, "{document}");
        let said = scene.explain(&[pod, "-n", "team"]);
        assert_eq!(said.code, 3, "{pod}: {}", said.stderr);
        assert!(said.stdout.contains(code), "{}", said.stdout);
        let widest = said
            .stdout
            .lines()
            .filter(|line| line.contains("  ") && !line.contains("$ ") && !line.contains("arn:"));
        for line in widest {
            assert!(line.chars().count() <= 96, "{line}");
        }
    }
    let twin = scene.settled("team/twin-a").await;
    assert_eq!(twin["pod"]["addresses"][0]["others"][0], "team/twin-b");

    // What AWS said, which the pod is not told, and what it may mean.
    let closed = scene.explain(&["closed", "-n", "team"]).stdout;
    for words in [
        "is not authorized to perform: sts:AssumeRole",
        "STS does not say which of these it is",
        "podiam iam trust-policy --node-role arn:aws:iam::",
    ] {
        let unwrapped = closed.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(unwrapped.contains(words), "{words}: {closed}");
    }
    let partner = scene.explain(&["partner", "-n", "team"]).stdout;
    assert!(partner.contains("\"ours\""), "{partner}");
}

#[tokio::test]
async fn which_pod_is_meant_has_to_be_clear() {
    let scene = Scene::new().await;
    for (words, code, tells) in [
        (&["nobody"][..], 4, "no pod named \"nobody\" is known"),
        (&["served", "-n", "other"], 4, "there is one in \"team\""),
        (&["same"], 2, "namespaces other, team"),
        (&["team/same", "-n", "other"], 2, "give one of them"),
        (&["Team/same"], 2, "no namespace's name"),
        (&["../same"], 2, "no namespace's name"),
    ] {
        let said = scene.explain(words);
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (code, ""),
            "{words:?}: {}",
            said.stderr
        );
        assert!(said.stderr.contains(tells), "{words:?}: {}", said.stderr);
    }
    // Two pods of that name, and one of them is meant.
    assert_eq!(
        scene.explain(&["team/same"]).code,
        scene.explain(&["same", "-n", "team"]).code
    );
    let only = scene.explain(&["plain"]);
    assert!(
        only.stdout.starts_with("team/plain gets no credentials"),
        "{}",
        only.stdout
    );
}

#[tokio::test]
async fn it_is_told_to_the_node_itself_and_neither_to_pods_nor_to_other_hosts() {
    let scene = Scene::new().await;
    let (pod, host) = (
        scene.vpc.add_pod(address(11)).unwrap(),
        scene.vpc.add_host(77).unwrap(),
    );
    let path = "/explain?namespace=team&pod=served";
    let own = http::get(scene.node().connect(ADMIN).await, path)
        .await
        .unwrap();
    assert_eq!(own.status, 200, "{}", own.body);
    for foreign in [pod.namespace(), &host] {
        for path in [path, "/explain", "/explain?pod=nobody"] {
            let reply = http::get(foreign.connect(ADMIN).await, path).await.unwrap();
            assert_eq!(reply.status, 403, "{path}: {}", reply.body);
            assert!(
                !reply.body.contains("served") && !reply.body.contains("role/"),
                "{}",
                reply.body
            );
        }
        let said = explain(
            foreign,
            &["team/served", &format!("--agent=http://{ADMIN}")],
        );
        assert_eq!((said.code, said.stdout.as_str()), (1, ""));
        assert!(said.stderr.contains("its own node only"), "{}", said.stderr);
    }
    for (path, status) in [
        ("/explain", 400),
        ("/explain?pod=x&y=z", 400),
        ("/explain?pod=same", 409),
        ("/explain?pod=x", 404),
    ] {
        assert_eq!(
            scene.agent.ask_admin(path).await.unwrap().status,
            status,
            "{path}"
        );
    }
}

#[tokio::test]
async fn no_secret_is_in_any_explanation() {
    let scene = Scene::new().await;
    scene.settled("team/served").await;
    let calls = scene.aws.assume_role_calls();
    let issued = calls.iter().filter_map(|call| call.issued.as_ref());
    let mut secrets: Vec<String> = issued
        .flat_map(|issued| {
            [
                issued.secret_access_key.clone(),
                issued.session_token.clone(),
            ]
        })
        .collect();
    assert!(secrets.len() >= 2, "a session was issued");
    secrets.push(format!("{CANARY}-"));
    for pod in [
        "served",
        "closed",
        "partner",
        "forbidden",
        "plain",
        "done",
        "twin-a",
    ] {
        for json in [&[][..], &["--json"]] {
            let said = scene.explain(&[&[pod, "-n", "team"], json].concat());
            assert!(said.stdout.contains(pod), "{}", said.stderr);
            for secret in &secrets {
                assert!(!said.stdout.contains(secret), "{pod}: {secret}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_word_the_nodes_own_agent_is_asked_and_the_cluster_only_where_that_does_not_know()
{
    let namespace = Arc::new(Namespace::new().unwrap());
    let manifests = Folder::new(&[pod("app", "10.1.1.1").role("app")]);
    let workloads = format!("--workloads={}", manifests.path().display());
    let nobody = explain(&namespace, &["app"]);
    assert_eq!((nobody.code, nobody.stdout.as_str()), (1, ""));
    for words in [
        "no agent answers at http://127.0.0.1:9181",
        "and without it",
        "Kubernetes API",
    ] {
        assert!(nobody.stderr.contains(words), "{words}: {}", nobody.stderr);
    }

    let host = Host::Namespace(Arc::clone(&namespace));
    // Nobody listens there.
    let agent = Agent::start_at(
        host,
        "http://127.0.0.1:9",
        &[
            &workloads,
            "--self-test-interval=0",
            "--metadata-addr=127.0.0.1:9",
        ],
    );
    eventually("an agent that knows the pod", || async {
        let said = explain(&namespace, &["app"]);
        let known = said.code == 3
            && said
                .stdout
                .contains("t/app gets no credentials: sts-unavailable");
        if known {
            Ok(())
        } else {
            Err(format!("{}{}", said.stdout, said.stderr))
        }
    })
    .await;
    let unknown = explain(&namespace, &["web"]);
    assert_eq!(unknown.code, 1, "{}", unknown.stdout);
    for words in ["no pod named \"web\" is known", "and without it"] {
        assert!(
            unknown.stderr.contains(words),
            "{words}: {}",
            unknown.stderr
        );
    }
    agent.process().assert_running();
}
