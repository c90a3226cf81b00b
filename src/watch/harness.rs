//! For the tests of the sources: a watch that runs, and what can be seen of it. It waits on events, never on the clock.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::objects::test_keys;
use super::{Local, SourceStatus, SyncState, run};
use crate::clock::Clock;
use crate::config::PodSource;
use crate::index::{Index, Lookup, Reader};

/// Far beyond what any change takes; only a failing test waits so long.
const LIMIT: Duration = Duration::from_secs(5);

/// A watch on a path, and what can be seen of it.
pub(super) struct Watch {
    pub(super) reader: Reader<String>,
    pub(super) status: watch::Receiver<SourceStatus>,
    task: JoinHandle<()>,
}

impl Watch {
    /// As the agent of node-1 runs it; what a pod is granted is its name.
    pub(super) fn on(source: PodSource) -> Self {
        let (index, reader) = Index::new(|pod, _| Ok(Arc::new(pod.name.to_string())));
        let (sender, status) = watch::channel(SourceStatus::default());
        let task = tokio::spawn(async move {
            let clock = Clock::system();
            let (_rules, unchanged) = watch::channel(());
            let keys = test_keys();
            run(
                &source,
                Local {
                    name: Some("node-1"),
                    runtime: None,
                },
                &keys,
                &clock,
                index,
                sender,
                unchanged,
            )
            .await;
        });
        Self {
            reader,
            status,
            task,
        }
    }

    /// Waits until pods and namespaces are in sync.
    pub(super) async fn synced(&mut self) {
        within("sync", self.status.wait_for(SourceStatus::is_synced))
            .await
            .unwrap();
    }

    /// What is wrong with the pods, once something is.
    pub(super) async fn failure(&mut self) -> String {
        self.failure_saying("").await
    }

    /// The same, once it says `text`.
    pub(super) async fn failure_saying(&mut self, text: &str) -> String {
        let failing = |status: &SourceStatus| matches!(&status.pods.state, SyncState::Failing { error, .. } if error.contains(text));
        let status = within("failure", self.status.wait_for(failing))
            .await
            .unwrap()
            .clone();
        match status.pods.state {
            SyncState::Failing { error, .. } => error,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until reading the pods has failed so often, the same way or another.
    pub(super) async fn failed_times(&mut self, times: u64) {
        let failed = |status: &SourceStatus| status.pods.failures >= times;
        within("failure more", self.status.wait_for(failed))
            .await
            .unwrap();
    }

    /// The pod at an address now.
    pub(super) fn at(&self, address: &str) -> Option<String> {
        match self.reader.lookup(address.parse::<IpAddr>().unwrap()) {
            Lookup::Pod(entry) => Some(entry.workload.name.to_string()),
            Lookup::Ambiguous | Lookup::Unknown => None,
        }
    }

    /// Waits until `name` is the pod at the address; `None` for no pod.
    pub(super) async fn until_at(&self, address: &str, name: Option<&str>) {
        let mut generations = self.reader.generations();
        within("the pod", async {
            while self.at(address).as_deref() != name {
                generations.changed().await.unwrap();
            }
        })
        .await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .unwrap_or_else(|_| panic!("no {what} within {LIMIT:?}"))
}
