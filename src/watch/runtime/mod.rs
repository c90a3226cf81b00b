//! Addresses from the container runtime of the node, by the Container Runtime Interface (CRI): a sandbox has its address
//! before the kubelet has told the API server, and its pod may ask at once.
//!
//! The runtime only adds addresses to pods that the API has shown; whose role is what, it never says. A sandbox that is
//! not ready, or gone, takes its address away, and so does a runtime that cannot be asked. What changes is noticed by the
//! runtime's event stream, and where there is none, by asking often while a pod has no address yet.

mod client;
mod lead;
mod messages;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use self::client::{Client, Hint, Hints, RuntimeError};
use self::lead::Lead;
use self::messages::PodSandboxState;
use super::Update;
use crate::index::{Event, Reader};
use crate::metrics::Metrics;
use crate::telemetry::Chain;
use crate::workload::PodUid;

/// Between two lists where nothing has been told: what is missed is not missed for long.
const SLOW: Duration = Duration::from_secs(5);
/// The same while a pod has no address and the runtime tells nothing by itself.
const FAST: Duration = Duration::from_millis(100);
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
    // Before the list, so that nothing happens unseen in between.
    let mut hints = Some(client.hints());
    let mut known = Known::default();
    let mut lead = Lead::new(&runtime.metrics);
    let mut generations = pods.generations();
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
            let awaited = hints.is_none()
                && snapshot.pods().any(|entry| {
                    entry.workload.is_live() && entry.workload.owned_addresses().is_empty()
                });
            let latest = listed + if awaited { FAST } else { SLOW };
            tokio::select! {
                () = sleep_until(latest) => break,
                hint = next(hints.as_mut()) => match hint {
                    Hint::Changed => break,
                    Hint::Mute => hints = None,
                    Hint::Failed(error) => return Err(error.into()),
                },
                changed = generations.changed() => {
                    changed.map_err(|_| Ended::Unwanted)?;
                }
                () = updates.closed() => return Err(Ended::Unwanted),
            }
        }
    }
}

/// Waits for ever where the runtime tells nothing.
async fn next(hints: Option<&mut Hints>) -> Hint {
    match hints {
        Some(hints) => hints.next().await,
        None => std::future::pending().await,
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
