//! Asks the API server about one pod: what it says is up to date, as no watch can be.

use kube::Api;

use super::client;
use crate::config::ApiAccess;
use crate::watch::claims::Registry;
use crate::watch::objects::Pod;
use crate::workload::{AnnotationKeys, Workload};

/// The API server, for one question at a time.
pub(in crate::watch) struct ApiServer<'a> {
    access: &'a ApiAccess,
    keys: &'a AnnotationKeys,
}

impl<'a> ApiServer<'a> {
    /// Nothing is sent before the first question.
    pub(in crate::watch) fn new(access: &'a ApiAccess, keys: &'a AnnotationKeys) -> Self {
        Self { access, keys }
    }
}

impl Registry for ApiServer<'_> {
    async fn is_there(&self, pod: &Workload) -> Option<bool> {
        let found = match client(self.access).await {
            Ok(client) => is_there(client, pod, self.keys).await,
            Err(problem) => Err(problem),
        };
        found
            .inspect_err(|problem| {
                tracing::warn!(
                    pod = &*pod.name,
                    "another pod has its address, and the API server cannot be asked about it: {problem}"
                );
            })
            .ok()
    }
}

/// Whether a pod of this UID is there, and live.
pub(super) async fn is_there(
    client: kube::Client,
    pod: &Workload,
    keys: &AnnotationKeys,
) -> Result<bool, String> {
    let pods = Api::<Pod>::namespaced(client, &pod.namespace);
    let found = pods.get_opt(&pod.name).await;
    let Some(found) = found.map_err(|error| error.to_string())? else {
        return Ok(false);
    };
    let found = found
        .into_workload(keys)
        .map_err(|error| error.to_string())?;
    Ok(found.uid == pod.uid && found.is_live())
}
