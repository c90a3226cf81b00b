//! One look at the Kubernetes API, for those who explain a pod without an agent: the pods of a name, and what is around
//! one of them, as the watches would tell it. Nothing is followed.

use kube::api::ListParams;
use kube::{Api, Client};
use thiserror::Error;

use super::kubernetes::Followed;
use super::objects::{Namespace, Pod, ServiceAccount};
use super::{NoClient, client};
use crate::config::ApiAccess;
use crate::index::Event;
use crate::workload::AnnotationKeys;

/// Why the API server does not say.
#[derive(Debug, Error)]
pub enum InquiryError {
    /// There is no way to ask.
    #[error("the Kubernetes API cannot be asked")]
    NoClient(#[from] NoClient),
    /// It refuses, or does not answer.
    #[error("the Kubernetes API does not tell about {what}")]
    Api {
        /// What it was asked about.
        what: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// The object lacks what every object has.
    #[error("the {what} of the Kubernetes API cannot be used: {problem}")]
    Object {
        /// Which object.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A connection to the API server.
pub struct Inquiry {
    client: Client,
}

/// A pod as the API server has it.
pub struct Candidate(Pod);

impl Candidate {
    /// `metadata.namespace`.
    pub fn namespace(&self) -> &str {
        self.0.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// `spec.nodeName`; `None` where it is not scheduled yet.
    pub fn node(&self) -> Option<&str> {
        let spec = self.0.spec.as_ref()?;
        spec.node_name.as_deref().filter(|node| !node.is_empty())
    }
}

impl Inquiry {
    /// Nothing is sent yet.
    pub async fn open(access: &ApiAccess) -> Result<Self, InquiryError> {
        Ok(Self {
            client: client(access).await?,
        })
    }

    /// The same connection, for what is no pod, namespace or service account.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The pod of that name, or without a namespace every one.
    pub async fn named(
        &self,
        namespace: Option<&str>,
        pod: &str,
    ) -> Result<Vec<Candidate>, InquiryError> {
        let found = match namespace {
            Some(namespace) => {
                let pods = Api::<Pod>::namespaced(self.client.clone(), namespace);
                pods.get_opt(pod)
                    .await
                    .map(|found| found.into_iter().collect())
            }
            None => self.list(&format!("metadata.name={pod}")).await,
        };
        let place = namespace.map_or_else(String::new, |name| format!("{name}/"));
        let found: Vec<Pod> =
            found.map_err(|source| failed(format!("the pod {place}{pod}"), source))?;
        Ok(found.into_iter().map(Candidate).collect())
    }

    /// What is known around a pod, to be folded into an index: its neighbours on the node, its namespace and, where roles
    /// come from them, its service account. The second part says what could not be learned.
    pub async fn around(
        &self,
        pod: Candidate,
        keys: &AnnotationKeys,
    ) -> Result<(Vec<Event>, Vec<String>), InquiryError> {
        let mut notes = Vec::new();
        let mut pods = vec![pod.0.clone()];
        if let Some(node) = pod.node() {
            match self.list(&format!("spec.nodeName={node}")).await {
                // The pod as it was found, for it may be gone by now.
                Ok(all) => pods.extend(
                    all.into_iter()
                        .filter(|other| other.metadata.uid != pod.0.metadata.uid),
                ),
                Err(error) => notes.push(format!(
                    "Whether another pod claims the same address is not known: {error}."
                )),
            }
        }
        let own = pod.0.metadata.uid.clone();
        let mut lean = Vec::new();
        for pod in pods {
            let is_own = pod.metadata.uid == own;
            match pod.into_workload(keys) {
                Ok(pod) => lean.push(pod),
                Err(error) if is_own => {
                    return Err(InquiryError::Object {
                        what: "pod".to_owned(),
                        problem: error.to_string(),
                    });
                }
                // Another one that cannot be read claims nothing.
                Err(_) => {}
            }
        }
        let mut events = vec![Event::PodsReplaced(lean)];
        let namespace = pod.namespace();
        let api = Api::<Namespace>::all(self.client());
        let what = format!("the namespace {namespace}");
        events.extend(self.one(api, namespace, what, keys).await?);
        let account = pod
            .0
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref());
        if let Some(account) = account.filter(|_| keys.reads_service_accounts()) {
            let api = Api::<ServiceAccount>::namespaced(self.client(), namespace);
            let what = format!("the service account {namespace}/{account}");
            events.extend(self.one(api, account, what, keys).await?);
        }
        Ok((events, notes))
    }

    async fn list(&self, fields: &str) -> Result<Vec<Pod>, kube::Error> {
        let pods = Api::<Pod>::all(self.client.clone());
        let list = pods.list(&ListParams::default().fields(fields)).await?;
        Ok(list.items)
    }

    /// One object, as an event; `None` where there is none of that name.
    async fn one<K: Followed>(
        &self,
        api: Api<K>,
        name: &str,
        what: String,
        keys: &AnnotationKeys,
    ) -> Result<Option<Event>, InquiryError> {
        let found = api.get_opt(name).await;
        let Some(found) = found.map_err(|source| failed(what.clone(), source))? else {
            return Ok(None);
        };
        match found.into_lean(keys) {
            Ok(lean) => Ok(Some(K::applied(lean))),
            Err(error) => Err(InquiryError::Object {
                what,
                problem: error.to_string(),
            }),
        }
    }
}

fn failed(what: String, source: kube::Error) -> InquiryError {
    InquiryError::Api {
        what,
        source: Box::new(source),
    }
}
