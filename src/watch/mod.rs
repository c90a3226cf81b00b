//! Sources of pods, namespaces and, where roles come from them, service accounts: the Kubernetes API (`kubernetes`) or files of manifests (`files`).
//!
//! [`run`] follows one source and folds what it sees into the [`Index`], which it owns. It never gives up and never
//! waits in silence: whatever keeps it from being in sync is in the [`SourceStatus`], in words that say what to do.
//! What was known before a failure stays known.

mod claims;
mod files;
#[cfg(test)]
mod harness;
mod inquiry;
mod kubernetes;
mod objects;
mod runtime;
mod status;

use std::hash::Hash;

use futures::future::OptionFuture;
use kube::Client;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::config::{ApiAccess, PodSource};
use crate::index::{Event, Index};
use crate::workload::{AnnotationKeys, Namespace, ServiceAccount, Workload};

pub(crate) use files::Notices;
pub use inquiry::{Candidate, Inquiry, InquiryError};
pub use runtime::Runtime;
pub use status::{MAX_VIEW_AGE, Resource, SourceStatus, SyncState, View};

/// What a source tells.
#[derive(Debug)]
enum Update {
    /// To be folded in this order and published as one change.
    Events(Vec<Event>),
    /// How the source stands. Published after the events sent before it.
    State(Resource, SyncState),
}

/// Updates that may wait for the index. A burst beyond that makes the source wait, not memory grow.
const QUEUE: usize = 1024;

/// What a source needs to know about its task.
#[derive(Clone, Copy)]
struct Scope<'a> {
    /// Only pods of this node; all where `None`.
    node: Option<&'a str>,
    keys: &'a AnnotationKeys,
    clock: &'a Clock,
}

/// No client for the API server can be made. Nothing was sent to it yet.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct NoClient(String);

/// A client for the API server, with the same limits as those of the watches.
pub async fn client(access: &ApiAccess) -> Result<Client, NoClient> {
    kubernetes::client(access).await.map_err(NoClient)
}

/// The node, as far as it narrows or adds to what a source tells.
pub struct Local<'a> {
    /// Only pods of this node are asked for; all where `None`.
    pub name: Option<&'a str>,
    /// What tells pods' addresses beside the Kubernetes API.
    pub runtime: Option<Runtime>,
}

/// What a cluster has of everything that the agent would watch.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) pods: Vec<Workload>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) accounts: Vec<ServiceAccount>,
}

/// Lists everything once, without following it.
pub(crate) async fn survey(client: &Client, keys: &AnnotationKeys) -> Result<Survey, kube::Error> {
    kubernetes::survey(client, keys).await
}

/// Follows `source` until the future is dropped: folds every change into `index` and tells `status` how it stands.
/// Each change of `rules` makes every pod decided about anew.
pub async fn run<G: Eq + Hash>(
    source: &PodSource,
    node: Local<'_>,
    keys: &AnnotationKeys,
    clock: &Clock,
    index: Index<G>,
    status: watch::Sender<SourceStatus>,
    rules: watch::Receiver<()>,
) {
    let Local { name, runtime } = node;
    let scope = Scope {
        node: name,
        keys,
        clock,
    };
    let (updates, inbox) = mpsc::channel(QUEUE);
    let (pods, beside) = (index.reader(), index.reader());
    let source = async {
        match source {
            PodSource::Kubernetes(access) => {
                let api = kubernetes::ApiServer::new(access, keys);
                let claims = claims::settle(pods, api, updates.clone());
                // On the heap: three followers with their clients are a large future.
                let sandboxes = runtime.map(|it| runtime::follow(it, beside, updates.clone()));
                let followers = Box::pin(kubernetes::watch(access, scope, updates));
                tokio::join!(followers, claims, OptionFuture::from(sandboxes));
            }
            PodSource::Files(path) => files::watch(path, scope, updates).await,
        }
    };
    tokio::join!(source, fold(inbox, index, status, rules));
}

/// Folds updates as they come. Those that have gathered meanwhile are published as one snapshot, so that a burst costs
/// one copy and not one an event. A state is told after the snapshot that it speaks of.
async fn fold<G: Eq + Hash>(
    mut inbox: mpsc::Receiver<Update>,
    mut index: Index<G>,
    status: watch::Sender<SourceStatus>,
    mut rules: watch::Receiver<()>,
) {
    let mut batch = Vec::new();
    loop {
        let rules_changed = tokio::select! {
            received = inbox.recv_many(&mut batch, QUEUE) => {
                if received == 0 {
                    return;
                }
                false
            }
            // An error means that nobody can change them any more.
            Ok(()) = rules.changed() => true,
        };
        if rules_changed {
            index.apply(Event::RulesChanged);
        }
        let mut news = Vec::new();
        for update in batch.drain(..) {
            match update {
                Update::Events(events) => events.into_iter().for_each(|event| index.apply(event)),
                Update::State(resource, state) => news.push((resource, state)),
            }
        }
        index.publish();
        for (resource, state) in news {
            status.send_if_modified(|status| status.set(resource, state));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::workload::Namespace;

    #[tokio::test]
    async fn a_state_is_told_only_when_readers_see_the_events_before_it() {
        let (index, reader) = Index::<()>::new(|_, _| Ok(Arc::new(())));
        let (updates, inbox) = mpsc::channel(QUEUE);
        let (status, mut seen) = watch::channel(SourceStatus::default());
        let namespace = Namespace {
            name: "default".into(),
            ..Namespace::default()
        };
        let generations = reader.generations();

        updates
            .send(Update::Events(vec![Event::NamespaceApplied(namespace)]))
            .await
            .unwrap();
        let synced = SyncState::Synced {
            since: Timestamp::UNIX_EPOCH,
        };
        updates
            .send(Update::State(Resource::Namespaces, synced.clone()))
            .await
            .unwrap();
        updates
            .send(Update::Events(vec![Event::NamespaceDeleted(
                "default".into(),
            )]))
            .await
            .unwrap();
        updates
            .send(Update::Events(vec![Event::NamespacesReplaced(vec![
                Namespace {
                    name: "other".into(),
                    ..Namespace::default()
                },
            ])]))
            .await
            .unwrap();

        let (_rules, unchanged) = watch::channel(());
        let folding = tokio::spawn(fold(inbox, index, status, unchanged));
        seen.changed().await.unwrap();
        assert_eq!(seen.borrow().namespaces.state, synced);
        let snapshot = reader.snapshot();
        assert_eq!(
            snapshot
                .namespaces()
                .map(|one| &*one.name)
                .collect::<Vec<_>>(),
            ["other"]
        );
        assert_eq!(*generations.borrow(), 1, "the burst became one snapshot");

        drop(updates);
        folding.await.unwrap();
    }
}
