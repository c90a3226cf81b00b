//! The startup taint: it keeps pods off a new node until the agent can answer them. Removed once, when every condition of
//! readiness holds; never put there, whatever happens later.
//!
//! `app` starts it where `--startup-taint` is given. Only then does the agent need `get` and `patch` on nodes.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use thiserror::Error;

use crate::config::StartupTaint;
use crate::lifecycle::Readiness;
use crate::telemetry::Chain;
use crate::watch::{self, NoClient};

/// Somebody else changed the node between our reading and our writing.
const AFTER_CONFLICT: Duration = Duration::from_millis(100);
/// The first pause after a failure. It doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Why the taint is still there.
#[derive(Debug, Error)]
enum TaintError {
    #[error("no client for the API server")]
    Client(#[from] NoClient),
    #[error(
        "the API server refuses to let us {verb} nodes (403): grant the verbs get and patch on nodes in a ClusterRole bound to the agent's service account"
    )]
    Forbidden {
        verb: &'static str,
        source: Box<kube::Error>,
    },
    #[error("the cluster has no node {0:?}: check --node")]
    NoNode(String),
    #[error("the node has changed meanwhile")]
    Conflict,
    #[error("cannot {verb} the node")]
    Api {
        verb: &'static str,
        source: Box<kube::Error>,
    },
}

impl TaintError {
    fn of(verb: &'static str, node: &str) -> impl Fn(kube::Error) -> Self {
        move |error| {
            let code = match &error {
                kube::Error::Api(status) => status.code,
                _ => 0,
            };
            let source = Box::new(error);
            match code {
                403 => Self::Forbidden { verb, source },
                404 => Self::NoNode(node.to_owned()),
                409 => Self::Conflict,
                _ => Self::Api { verb, source },
            }
        }
    }
}

/// Waits until the agent is ready and removes the taint, for as long as that takes; then it is done for good.
pub async fn remove_when_ready(taint: StartupTaint, readiness: Readiness) {
    let mut pause = SHORTEST;
    let mut told = None;
    loop {
        // Asked anew each time: an agent that is no longer ready removes nothing.
        readiness.ready().await;
        let wait = match remove(&taint).await {
            Ok(true) => {
                tracing::info!(node = taint.node, key = taint.key, "startup taint removed");
                return;
            }
            Ok(false) => {
                tracing::info!(
                    node = taint.node,
                    key = taint.key,
                    "no startup taint to remove"
                );
                return;
            }
            Err(TaintError::Conflict) => AFTER_CONFLICT,
            Err(error) => {
                let why = Chain(&error).to_string();
                if told.as_ref() != Some(&why) {
                    tracing::warn!(
                        node = taint.node,
                        key = taint.key,
                        "the startup taint stays, and it is tried again: {why}"
                    );
                    told = Some(why);
                }
                let this = pause;
                pause = (pause * 2).min(LONGEST);
                this
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// One attempt; false where the node has no such taint. Only the node that was read is changed.
async fn remove(taint: &StartupTaint) -> Result<bool, TaintError> {
    let client: Client = watch::client(&taint.access).await?;
    let nodes: Api<Node> = Api::all(client);
    let name = &taint.node;
    let node = nodes.get(name).await.map_err(TaintError::of("get", name))?;
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let count = taints.len();
    let rest: Vec<Taint> = taints
        .into_iter()
        .filter(|one| one.key != taint.key)
        .collect();
    if rest.len() == count {
        return Ok(false);
    }
    // A list is replaced as a whole; the version makes that a conflict where somebody else was faster.
    let patch = json!({
        "metadata": { "resourceVersion": node.metadata.resource_version },
        "spec": { "taints": (!rest.is_empty()).then_some(rest) },
    });
    nodes
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map_err(TaintError::of("patch", name))?;
    Ok(true)
}
