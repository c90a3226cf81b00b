//! What every test starts with, and what all of them do.

use std::sync::Arc;

use kube::Client;

use crate::support::agent::Agent;
use crate::support::apiserver::Cluster;
use crate::support::moto::Moto;
use crate::support::pods::{self, Spec};

/// A cluster, an STS, and a namespace and a node of the test's own.
pub(crate) struct Scene {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) client: Client,
    pub(crate) moto: Arc<Moto>,
    pub(crate) name: &'static str,
}

impl Scene {
    pub(crate) async fn new(name: &'static str) -> Self {
        Self::of(Cluster::shared().await, name, &[]).await
    }

    pub(crate) async fn of(
        cluster: Arc<Cluster>,
        name: &'static str,
        annotations: &[(&str, &str)],
    ) -> Self {
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
    pub(crate) fn pod<'a>(
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

    pub(crate) async fn run<'a>(
        &self,
        name: &'a str,
        ip: &'a str,
        annotations: &'a [(&'a str, &'a str)],
    ) {
        pods::run(&self.client, self.pod(name, ip, annotations)).await;
    }

    /// An agent on this scene's node with a kubeconfig that may do everything.
    pub(crate) fn start(&self, flags: &[&str]) -> Agent {
        self.start_as(
            &self.cluster.admin_kubeconfig().display().to_string(),
            flags,
        )
    }

    pub(crate) fn start_as(&self, kubeconfig: &str, flags: &[&str]) -> Agent {
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

    pub(crate) async fn ready(&self, flags: &[&str]) -> Agent {
        let agent = self.start(flags);
        agent.ready().await;
        agent
    }
}

/// Whether a metric of the pods' source is there and above zero.
pub(crate) fn is_positive(metrics: &str, name: &str) -> bool {
    let start = format!("{name}{{resource=\"pods\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
    value.is_some_and(|value| value != "0")
}
