//! A node of a VPC on which every kind of thing happens to pods: some are served, one is refused by its namespace, one by
//! STS, one waits, some want nothing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;

use nix::sys::signal::Signal;
use podiam_lab::aws::{self, Aws, Fault, Injection, Service, Trust};
use podiam_lab::netns::{self, IMDS, PODS, Pod, Vpc};
use podiam_lab::wire;
use serde_json::Value;

use crate::support::agent::{Agent, BASE, Host, enter};
use crate::support::eventually;
use crate::support::http::ROLES;
use crate::support::manifest::{self, Folder, Manifest};

/// The name of the node.
pub(crate) const NODE: &str = "ip-10-0-0-10.eu-central-1.compute.internal";

pub(crate) struct Scene {
    // The agent ends first: it would only complain about the rest.
    pub(crate) agent: Option<Agent>,
    pub(crate) vpc: Arc<Vpc>,
    pub(crate) manifests: Folder,
    _aws: Aws,
}

/// The address of the `number`th pod.
pub(crate) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(PODS.to_bits() + u32::from(number))
}

fn pod(namespace: &str, name: &str, number: u8) -> Manifest {
    manifest::pod(name, &address(number).to_string())
        .in_namespace(namespace)
        .uid(&format!("{namespace}-{name}"))
}

fn namespace(name: &str, roles: &str) -> Manifest {
    manifest::namespace(name).annotated("iam.amazonaws.com/allowed-roles", roles)
}

/// Everything that lives on the node.
pub(crate) fn manifests() -> Vec<Manifest> {
    vec![
        namespace("analytics", r#"["etl"]"#),
        namespace("kube-system", r#"["cluster-autoscaler"]"#),
        namespace("payments", r#"["payments-*"]"#),
        namespace("web", r#"["web-*"]"#),
        pod("analytics", "etl-29c7x", 11).role("etl"),
        pod("kube-system", "aws-node-8vq2z", 0).host_network(&netns::NODE.to_string()),
        pod("kube-system", "cluster-autoscaler-6f8c5d7b9c-k2m4x", 13).role("cluster-autoscaler"),
        pod("payments", "api-7d4b9f6c58-2xk4p", 14).role("payments-api"),
        pod("payments", "api-7d4b9f6c58-q9z7w", 15).role("payments-api"),
        pod("payments", "ledger-0", 16).role("payments-ledger"),
        pod("web", "cart-5c9d8b7f64-m6tpl", 17).role("payments-api"),
        pod("web", "frontend-84f7d9c6b5-hj2vn", 18),
    ]
}

impl Scene {
    /// The node with these pods, and its agent, which is ready.
    pub(crate) async fn new(manifests: &[Manifest]) -> Self {
        let vpc = Arc::new(Vpc::new().unwrap());
        let refused = format!("{BASE}payments-ledger");
        let config = aws::Config {
            trusts: BTreeMap::from([(refused, Trust::Nobody)]),
            ..aws::Config::default()
        };
        let aws = vpc.start_aws(config).unwrap();
        aws.inject(Service::Sts, Injection::fault(Fault::Hang).only("role/etl"));
        let mut scene = Self {
            agent: None,
            vpc,
            manifests: Folder::new(manifests),
            _aws: aws,
        };
        scene.start_agent();
        scene.agent().ready().await;
        scene
    }

    pub(crate) fn agent(&self) -> &Agent {
        self.agent.as_ref().expect("an agent")
    }

    pub(crate) fn start_agent(&mut self) {
        let workloads = format!("--workloads={}", self.manifests.path().display());
        let flags = [
            workloads.as_str(),
            &format!("--node={NODE}"),
            "--namespace-restrictions=enforce",
            "--self-test-interval=1s",
        ];
        let sts = format!("http://{}", netns::STS);
        let host = Host::Node(Arc::clone(&self.vpc));
        self.agent = Some(Agent::start_at(host, &sts, &flags));
    }

    pub(crate) fn end_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.process().end(Signal::SIGTERM);
        }
    }

    /// A pod to ask from.
    pub(crate) fn enter(&self, number: u8) -> Pod {
        self.vpc.add_pod(address(number)).unwrap()
    }

    /// A program on the node itself.
    pub(crate) fn on_node(&self, program: &str) -> Command {
        enter(self.vpc.node().namespace(), program)
    }

    /// The status document as it is.
    pub(crate) async fn status(&self) -> Value {
        let reply = self.agent().ask_admin("/status.json").await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        serde_json::from_str(&reply.body).unwrap()
    }

    /// Waits until everything that can happen at once has happened.
    pub(crate) async fn settled(&self) {
        eventually("pods that are served, refused and waiting", || async {
            let status = self.status().await;
            let wanted = [
                "etl-29c7x waiting",
                "api-7d4b9f6c58-2xk4p served",
                "cluster-autoscaler-6f8c5d7b9c-k2m4x served",
                "ledger-0 refused",
            ];
            let has = |it: &&str| {
                status["pods"].as_array().unwrap().iter().any(|pod| {
                    let state = pod["state"].as_str().unwrap();
                    format!("{} {state}", pod["name"].as_str().unwrap()) == **it
                })
            };
            let tested = status["agent"]["interception"]["self_test"] == "intercepted";
            let all = wanted.iter().all(has) && tested;
            all.then_some(()).ok_or(status.to_string())
        })
        .await;
    }
}

/// One request of a pod for the credentials of `role`.
pub(crate) async fn ask(pod: &Pod, role: &str) -> u16 {
    let request = wire::request("GET", &format!("{ROLES}{role}"), "169.254.169.254", &[]);
    let stream = pod.namespace().connect((IMDS, 80).into()).await.unwrap();
    wire::once(stream, &request).await.unwrap().status
}
