//! Addresses from the container runtime of the node, by the Container Runtime Interface (CRI): a sandbox has its address
//! before the kubelet has told the API server, and its pod may ask at once.
//!
//! The runtime only adds addresses to pods that the API has shown; whose role is what, it never says. A sandbox that is
//! not ready, or gone, takes its address away, and so does a runtime that cannot be asked.
//!
//! The runtime is asked, often while a pod waits for the API to show its address, and does not tell by itself: its stream of
//! events (`GetContainerEvents`) is the kubelet's. Some runtimes give each event to one listener only (containerd's issue
//! 7318), and we would take them away from it.

mod client;
mod lead;
mod messages;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use self::client::{Client, RuntimeError};
use self::lead::Lead;
use self::messages::PodSandboxState;
use super::Update;
use crate::index::{Event, Reader, Snapshot};
use crate::metrics::Metrics;
use crate::telemetry::Chain;
use crate::workload::PodUid;

/// Between two lists while the API has not shown the address of a pod ...
const FAST: Duration = Duration::from_millis(100);
/// ... for this time after the last such pod came ...
const FRESH: Duration = Duration::from_secs(30);
/// ... and where one is stuck.
const STUCK: Duration = Duration::from_secs(1);
/// The same while no pod waits: it changes nothing that anybody is answered by.
const SLOW: Duration = Duration::from_secs(5);
/// After a failure; it doubles up to [`SLOW`].
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// The container runtime of the node.
#[derive(Clone)]
pub struct Runtime {
    /// `--cri-socket`.
    pub socket: PathBuf,
    /// Where is told what it was worth.
    pub metrics: Arc<Metrics>,
}

/// The addresses of the sandboxes that are ready.
type Sandboxes = HashMap<PodUid, Vec<IpAddr>>;

/// Why the runtime is no longer followed.
enum Ended {
    /// Nobody listens any more.
    Unwanted,
    Failed(RuntimeError),
}

impl From<RuntimeError> for Ended {
    fn from(error: RuntimeError) -> Self {
        Self::Failed(error)
    }
}

/// Follows the runtime until nobody listens to `updates` any more.
pub(super) async fn follow<G>(runtime: Runtime, pods: Reader<G>, updates: mpsc::Sender<Update>) {
    let mut pause = AFTER_FAILURE;
    let mut told: Option<String> = None;
    loop {
        let started = Instant::now();
        let Err(ended) = session(&runtime, &pods, &updates).await;
        let Ended::Failed(error) = ended else { return };
        runtime.metrics.sources.set_runtime(false);
        // What it said may be true no longer, and nobody would tell.
        if send(&updates, Sandboxes::new()).await.is_err() {
            return;
        }
        if started.elapsed() > SLOW {
            (pause, told) = (AFTER_FAILURE, None);
        }
        let why = Chain(&error).to_string();
        if told.as_ref() != Some(&why) {
            tracing::warn!("addresses come from the API server alone: {why}");
            told = Some(why);
        }
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(SLOW),
            () = updates.closed() => return,
        }
    }
}

/// One connection, to its end.
async fn session<G>(
    runtime: &Runtime,
    pods: &Reader<G>,
    updates: &mpsc::Sender<Update>,
) -> Result<std::convert::Infallible, Ended> {
    let mut client = Client::connect(&runtime.socket).await?;
    let mut known = Known::default();
    let mut lead = Lead::new(&runtime.metrics);
    let mut generations = pods.generations();
    let mut waiting = Waiting::default();
    let mut up = false;
    loop {
        let sandboxes = known.list(&mut client).await?;
        if !std::mem::replace(&mut up, true) {
            tracing::info!(socket = %runtime.socket.display(), "addresses come from the container runtime too");
            runtime.metrics.sources.set_runtime(true);
        }
        lead.told(sandboxes, &pods.snapshot());
        if let Some(all) = known.news() {
            send(updates, all).await?;
        }
        // Until it is time for the next list.
        let listed = Instant::now();
        loop {
            generations.mark_unchanged();
            let snapshot = pods.snapshot();
            lead.shown(&snapshot);
            let latest = listed + waiting.pause(&snapshot);
            tokio::select! {
                () = sleep_until(latest) => break,
                changed = generations.changed() => changed.map_err(|_| Ended::Unwanted)?,
                () = updates.closed() => return Err(Ended::Unwanted),
            }
        }
    }
}

/// The live pods whose addresses the API has not shown.
#[derive(Default)]
struct Waiting {
    pods: HashSet<PodUid>,
    /// When the last of them came.
    since: Option<Instant>,
}

impl Waiting {
    /// The pause between two lists.
    fn pause<G>(&mut self, pods: &Snapshot<G>) -> Duration {
        let without = pods.pods().map(|entry| &entry.workload);
        let without = without.filter(|pod| pod.is_live() && pod.addresses.is_empty());
        let now: HashSet<PodUid> = without.map(|pod| pod.uid.clone()).collect();
        if !now.is_subset(&self.pods) {
            self.since = Some(Instant::now());
        }
        self.pods = now;
        match self.since {
            _ if self.pods.is_empty() => SLOW,
            Some(since) if since.elapsed() < FRESH => FAST,
            _ => STUCK,
        }
    }
}

async fn send(updates: &mpsc::Sender<Update>, all: Sandboxes) -> Result<(), Ended> {
    let update = Update::Events(vec![Event::SandboxesReplaced(all)]);
    updates.send(update).await.map_err(|_| Ended::Unwanted)
}

/// What the runtime has said.
#[derive(Default)]
struct Known {
    /// The addresses of sandboxes by their IDs: a sandbox never changes its own.
    by_id: HashMap<String, Vec<IpAddr>>,
    now: Sandboxes,
    /// What was passed on last.
    sent: Option<Sandboxes>,
}

impl Known {
    /// All that are ready and have an address.
    async fn list(&mut self, client: &mut Client) -> Result<&Sandboxes, RuntimeError> {
        let mut by_id = HashMap::new();
        let mut now = Sandboxes::new();
        for sandbox in client.sandboxes().await? {
            let uid = sandbox.metadata.unwrap_or_default().uid;
            if sandbox.state != PodSandboxState::Ready as i32 || uid.is_empty() {
                continue;
            }
            let addresses = match self.by_id.remove(&sandbox.id) {
                Some(known) => Some(known),
                None => client.addresses(&sandbox.id).await?,
            };
            if let Some(addresses) = addresses {
                now.entry(PodUid::new(&uid)).or_default().extend(&addresses);
                by_id.insert(sandbox.id, addresses);
            }
        }
        for addresses in now.values_mut() {
            addresses.sort_unstable();
            addresses.dedup();
        }
        (self.by_id, self.now) = (by_id, now);
        Ok(&self.now)
    }

    /// What has not been passed on.
    fn news(&mut self) -> Option<Sandboxes> {
        if self.sent.as_ref() == Some(&self.now) {
            return None;
        }
        self.sent = Some(self.now.clone());
        self.sent.clone()
    }
}

#[cfg(test)]
mod tests;
