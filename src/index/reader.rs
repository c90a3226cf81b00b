//! The readers' side of the index: look-ups that take no lock, and waits that end with the event itself.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::snapshot::{Lookup, Snapshot};

/// Where the writer puts a snapshot and readers find it.
pub(super) struct Published<G> {
    current: ArcSwap<Snapshot<G>>,
    /// Counts the snapshots; its channel wakes those who wait for the next one.
    generation: watch::Sender<u64>,
}

impl<G> Published<G> {
    pub(super) fn new() -> Self {
        Self {
            current: ArcSwap::from_pointee(Snapshot::default()),
            generation: watch::Sender::new(0),
        }
    }

    /// The snapshot is in place before anybody is woken.
    pub(super) fn store(&self, snapshot: Snapshot<G>) {
        self.current.store(Arc::new(snapshot));
        self.generation.send_modify(|generation| *generation += 1);
    }
}

/// A handle to the newest snapshot. Cheap to clone.
pub struct Reader<G>(Arc<Published<G>>);

impl<G> Reader<G> {
    pub(super) fn new(published: Arc<Published<G>>) -> Self {
        Self(published)
    }

    /// Who owns `address` now. Takes no lock and waits for nobody.
    pub fn lookup(&self, address: IpAddr) -> Lookup<G> {
        self.current().lookup(address)
    }

    /// Who owns `address`; where that is not settled (no pod, more than one, or a namespace that is not known yet),
    /// waits for the event that settles it, at most until `deadline`, and answers as things stand then.
    pub async fn wait_for(&self, address: IpAddr, deadline: Instant) -> Lookup<G> {
        // Subscribed before the look-up, so that no snapshot falls between the two.
        let mut generations = self.0.generation.subscribe();
        loop {
            let answer = self.lookup(address);
            if answer.is_settled() {
                return answer;
            }
            match timeout_at(deadline, generations.changed()).await {
                Ok(Ok(())) => {}
                // The second arm cannot be: the sender lives as long as this reader does.
                Err(_) | Ok(Err(_)) => return self.lookup(address),
            }
        }
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot<G>> {
        self.0.current.load_full()
    }

    /// A channel whose value changes with every snapshot, for those who follow all of them: mark it as seen, then
    /// take [`Reader::snapshot`].
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    fn current(&self) -> Guard<Arc<Snapshot<G>>> {
        self.0.current.load()
    }
}

// Written out because a derive would ask for `G: Clone`.
impl<G> Clone for Reader<G> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
