//! The Kubernetes API: agents as they run, what they may do, and what time it is there. Requests are reads and reviews;
//! a review (`SelfSubjectAccessReview`) is answered and kept nowhere.
//!
//! Answers are read into the few fields that are needed, not into the API's full types.

use std::time::Duration;

use hyper::{Request, StatusCode};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;

use crate::clock::Clock;
use crate::config::Container;
use crate::doctor::agents::AgentPod;
use crate::doctor::judge::rbac::{Rights, Rule, Wanted};
use crate::doctor::judge::skew::Told;
use crate::telemetry::Chain;

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const REPLY_LIMIT: Duration = Duration::from_secs(15);

/// Which cluster, and as whom.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `--kubeconfig`. `None`: the pod's service account where there is one, else `KUBECONFIG` and `~/.kube/config`.
    pub kubeconfig: Option<std::path::PathBuf>,
    /// `--context`. `None`: the kubeconfig's current one.
    pub context: Option<String>,
}

/// Why the cluster does not say.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(in crate::doctor) enum ClusterError {
    /// There is nothing to connect with.
    #[error("no cluster: {0}")]
    NoAccess(String),
    /// 401 or 403.
    #[error("the API server does not let us {action}: {message}")]
    Denied { action: String, message: String },
    /// Any other failure.
    #[error("cannot {action}: {problem}")]
    Failed { action: String, problem: String },
}

/// A cluster.
#[derive(Clone)]
pub(in crate::doctor) struct Cluster {
    config: Config,
    client: Client,
}

/// Where a pod finds its service account.
const IN_CLUSTER: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Whether this process is in a pod.
pub(in crate::doctor) fn is_in_cluster() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
        && std::path::Path::new(IN_CLUSTER).exists()
}

impl Cluster {
    /// Reads addresses and credentials. Nothing is sent yet.
    pub(in crate::doctor) async fn connect(access: &Access) -> Result<Self, ClusterError> {
        let mut config = configuration(access)
            .await
            .map_err(ClusterError::NoAccess)?;
        config.connect_timeout = Some(CONNECT_LIMIT);
        config.read_timeout = Some(REPLY_LIMIT);
        config.default_retry = false;
        Self::with(config)
    }

    fn with(config: Config) -> Result<Self, ClusterError> {
        let client = Client::try_from(config.clone());
        let client = client.map_err(|error| ClusterError::NoAccess(Chain(&error).to_string()))?;
        Ok(Self { config, client })
    }

    /// The same cluster, as a service account.
    fn impersonating(&self, namespace: &str, account: &str) -> Result<Self, ClusterError> {
        let mut config = self.config.clone();
        let user = format!("system:serviceaccount:{namespace}:{account}");
        config.auth_info.impersonate = Some(user);
        config.auth_info.impersonate_groups = Some(vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ]);
        Self::with(config)
    }

    /// The client, for what others ask.
    pub(in crate::doctor) fn client(&self) -> &Client {
        &self.client
    }

    /// What time it is at the API server.
    pub(in crate::doctor) async fn date(
        &self,
        clock: &Clock,
    ) -> Result<Option<Told>, ClusterError> {
        const ACTION: &str = "ask for its version";
        let request = get("/version", ACTION)?.map(kube::client::Body::from);
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|error| failed(ACTION, &error))?;
        let date = answer.headers().get("date");
        let date = date.and_then(|date| date.to_str().ok());
        Ok(date.and_then(|date| Told::parse(date, clock.now())))
    }

    /// The agents' pods, by namespace and labels.
    pub(in crate::doctor) async fn agents(
        &self,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<AgentPod>, ClusterError> {
        let query =
            percent_encoding::utf8_percent_encode(selector, percent_encoding::NON_ALPHANUMERIC);
        let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={query}");
        let pods: List<Pod> = self.get(&path, "list the agents' pods").await?;
        Ok(pods.items.into_iter().map(AgentPod::from).collect())
    }

    /// The instances behind the nodes, out of `spec.providerID` (`aws:///eu-central-1a/i-0123456789abcdef0`).
    pub(in crate::doctor) async fn instances(&self) -> Result<Vec<String>, ClusterError> {
        let nodes: List<Node> = self.get("/api/v1/nodes", "list nodes").await?;
        let ids = nodes.items.into_iter().filter_map(|node| {
            let id = node.spec.provider_id?;
            let id = id.strip_prefix("aws://")?.rsplit('/').next()?.to_owned();
            id.starts_with("i-").then_some(id)
        });
        Ok(ids.collect())
    }

    /// What a service account may do, asked as that account: of each thing that is wanted, and all there is.
    pub(in crate::doctor) async fn rights(
        &self,
        namespace: &str,
        account: &str,
        wanted: &[Wanted],
        is_self: bool,
    ) -> Result<Rights, ClusterError> {
        let other = if is_self {
            self.clone()
        } else {
            self.impersonating(namespace, account)?
        };
        let mut missing = Vec::new();
        for one in wanted {
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": {"resource": one.resource, "verb": one.verb}},
            });
            let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            let answer: Value = other.review(path, &review).await?;
            if answer["status"]["allowed"] != true {
                missing.push(one.clone());
            }
        }
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
        let answer: RulesReview = other.review(path, &review).await?;
        Ok(Rights {
            missing,
            rules: answer.status.resource_rules,
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, action: &str) -> Result<T, ClusterError> {
        let answer = self.client.request(get(path, action)?).await;
        answer.map_err(|error| failed(action, &error))
    }

    async fn review<T: DeserializeOwned>(
        &self,
        path: &str,
        review: &Value,
    ) -> Result<T, ClusterError> {
        const ACTION: &str = "review the agent's rights as its service account";
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(review.to_string().into_bytes())
            .map_err(|error| failed_by(ACTION, error.to_string()))?;
        let answer = self.client.request(request).await;
        answer.map_err(|error| failed(ACTION, &error))
    }
}

async fn configuration(access: &Access) -> Result<Config, String> {
    let options = KubeConfigOptions {
        context: access.context.clone(),
        ..KubeConfigOptions::default()
    };
    let told = |error: &(dyn std::error::Error + 'static)| Chain(error).to_string();
    if let Some(path) = &access.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path).map_err(|error| told(&error))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        return config.map_err(|error| told(&error));
    }
    if access.context.is_none() && is_in_cluster() {
        return Config::incluster().map_err(|error| told(&error));
    }
    let config = Config::from_kubeconfig(&options).await;
    config.map_err(|error| told(&error))
}

fn get(path: &str, action: &str) -> Result<Request<Vec<u8>>, ClusterError> {
    let request = Request::get(path).body(Vec::new());
    request.map_err(|error| failed_by(action, error.to_string()))
}

fn failed(action: &str, error: &kube::Error) -> ClusterError {
    match error {
        kube::Error::Api(status)
            if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN]
                .iter()
                .any(|denied| denied.as_u16() == status.code) =>
        {
            ClusterError::Denied {
                action: action.to_owned(),
                message: status.message.clone(),
            }
        }
        _ => failed_by(action, Chain(error).to_string()),
    }
}

fn failed_by(action: &str, problem: String) -> ClusterError {
    ClusterError::Failed {
        action: action.to_owned(),
        problem,
    }
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Node {
    spec: NodeSpec,
}

#[derive(Deserialize)]
struct NodeSpec {
    #[serde(rename = "providerID")]
    provider_id: Option<String>,
}

#[derive(Deserialize)]
struct RulesReview {
    status: RulesStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RulesStatus {
    #[serde(default)]
    resource_rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    node_name: String,
    #[serde(default)]
    service_account_name: String,
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStatus {
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl From<Pod> for AgentPod {
    fn from(pod: Pod) -> Self {
        let mut conditions = pod.status.conditions.iter();
        Self {
            name: pod.metadata.name,
            node: pod.spec.node_name,
            service_account: pod.spec.service_account_name,
            host_ip: pod.status.host_ip,
            is_ready: conditions.any(|it| it.kind == "Ready" && it.status == "True"),
            containers: pod.spec.containers,
        }
    }
}
