//! A cluster's objects, by listing what is needed and nothing else: no Secret is read, so the values of a Helm release are
//! worked out from what it made.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use thiserror::Error;

use super::read::Input;

/// From a request to its answer; a page of 500 objects takes a fraction of it.
const LIMIT: Duration = Duration::from_secs(30);
/// Objects in one answer.
const PAGE: usize = 500;

/// What is listed. Controllers first: their pods say nothing more.
const LISTS: [&str; 6] = [
    "/apis/apps/v1/daemonsets",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets",
    "/apis/batch/v1/cronjobs",
    "/api/v1/namespaces",
    "/api/v1/pods",
];
/// What stands between a controller of controllers and its pods.
const BETWEEN: [&str; 2] = ["/apis/apps/v1/replicasets", "/apis/batch/v1/jobs"];

/// Why a cluster cannot be read.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// No kubeconfig, or not that context.
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// No client.
    #[error("no client for the API server can be made")]
    Client(#[source] kube::Error),
    /// A list was refused, or the server does not answer.
    #[error(
        "GET {path} failed; migrate needs list on pods, namespaces, deployments, daemonsets, statefulsets, replicasets, jobs \
             and cronjobs"
    )]
    List {
        /// The request.
        path: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
}

/// How the API server is reached.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// The kubeconfig; `None`: `KUBECONFIG`, or the one in the home folder.
    pub kubeconfig: Option<PathBuf>,
    /// The context; `None`: the current one.
    pub context: Option<String>,
}

impl Input {
    /// Adds a cluster's objects.
    pub async fn add_cluster(&mut self, reach: &Reach) -> Result<(), ClusterError> {
        let options = KubeConfigOptions {
            context: reach.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match &reach.kubeconfig {
            Some(path) => {
                Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?
            }
            None => Config::from_kubeconfig(&options).await?,
        };
        config.connect_timeout = Some(LIMIT);
        config.read_timeout = Some(LIMIT);
        let client = Client::try_from(config).map_err(ClusterError::Client)?;
        for path in LISTS.into_iter().chain(BETWEEN) {
            self.add_list(&client, path).await?;
        }
        Ok(())
    }

    async fn add_list(&mut self, client: &Client, path: &str) -> Result<(), ClusterError> {
        let mut next = String::new();
        loop {
            let page = format!("{path}?limit={PAGE}&continue={next}");
            let list = get(client, &page)
                .await
                .map_err(|source| ClusterError::List {
                    path: path.to_owned(),
                    source,
                })?;
            let token = list["metadata"]["continue"].as_str();
            next = token.map(str::to_owned).unwrap_or_default();
            self.add(path, list);
            if next.is_empty() {
                return Ok(());
            }
        }
    }
}

async fn get(client: &Client, path: &str) -> Result<Value, kube::Error> {
    let request = hyper::Request::get(path)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}
