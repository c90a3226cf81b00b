//! Settles an address that more than one live pod claims: the API server is asked once about each of them, the newer ones
//! and the older, and those that it says are gone leave at once, without waiting for a watch that is late.
//!
//! Only that is believed. What an answer says of a pod that is still there may be older than what the watch has told
//! meanwhile, so pods that are all there stay refused, all of them.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Update;
use crate::index::{Event, Reader};
use crate::workload::{PodUid, Workload};

/// Until the API server is asked about the same pod again, while its address is disputed.
const AGAIN: Duration = Duration::from_secs(5);

/// Who knows whether a pod is still there.
pub(super) trait Registry {
    /// `None`: it cannot tell.
    fn is_there(&self, pod: &Workload) -> impl Future<Output = Option<bool>>;
}

/// Runs until nobody listens to `updates` any more.
pub(super) async fn settle<G>(
    pods: Reader<G>,
    registry: impl Registry,
    updates: mpsc::Sender<Update>,
) {
    let mut generations = pods.generations();
    let mut asked: HashMap<PodUid, Instant> = HashMap::new();
    loop {
        generations.mark_unchanged();
        let snapshot = pods.snapshot();
        let disputed: HashMap<&PodUid, &Workload> = snapshot
            .disputed()
            .map(|entry| (&entry.workload.uid, &entry.workload))
            .collect();
        let now = Instant::now();
        asked.retain(|uid, when| disputed.contains_key(uid) && *when + AGAIN > now);
        let new = disputed
            .values()
            .filter(|pod| !asked.contains_key(&pod.uid));
        let answers = join_all(new.map(async |pod| (&pod.uid, registry.is_there(pod).await))).await;
        let mut gone = Vec::new();
        for (uid, is_there) in answers {
            asked.insert(uid.clone(), now);
            if is_there == Some(false) {
                gone.push(Event::PodDeleted(uid.clone()));
            }
        }
        if !gone.is_empty() && updates.send(Update::Events(gone)).await.is_err() {
            return;
        }
        let next = asked.values().min().map(|when| *when + AGAIN);
        tokio::select! {
            changed = generations.changed() => if changed.is_err() { return },
            () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            () = updates.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::index::Index;

    fn pod(name: &str, address: &str) -> Workload {
        Workload {
            addresses: vec![address.parse().unwrap()],
            ..Workload::new(PodUid::new(name), "default", name)
        }
    }

    /// Knows which pods are there; counts what it is asked.
    #[derive(Clone, Default)]
    struct Known {
        there: Arc<Mutex<HashSet<String>>>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Known {
        fn new(names: &[&str]) -> Self {
            let known = Self::default();
            *known.there.lock().unwrap() = names.iter().map(ToString::to_string).collect();
            known
        }

        fn asked(&self) -> Vec<String> {
            let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
            asked.sort();
            asked
        }
    }

    impl Registry for Known {
        async fn is_there(&self, pod: &Workload) -> Option<bool> {
            self.asked.lock().unwrap().push(pod.name.to_string());
            if &*pod.name == "unknown" {
                return None;
            }
            Some(self.there.lock().unwrap().contains(&*pod.name))
        }
    }

    struct Settling {
        index: Index<()>,
        known: Known,
        updates: mpsc::Receiver<Update>,
    }

    impl Settling {
        fn of(known: &Known) -> Self {
            let (index, reader) = Index::new(|_, _| Ok(Arc::new(())));
            let (sender, updates) = mpsc::channel(8);
            tokio::spawn(settle(reader, known.clone(), sender));
            Self {
                index,
                known: known.clone(),
                updates,
            }
        }

        fn apply(&mut self, pods: &[Workload]) {
            for pod in pods {
                self.index.apply(Event::PodApplied(pod.clone()));
            }
            self.index.publish();
        }

        /// The next of its updates; `None` where there is none within `limit`.
        async fn next(&mut self, limit: Duration) -> Option<Vec<Event>> {
            match tokio::time::timeout(limit, self.updates.recv()).await {
                Ok(Some(Update::Events(events))) => Some(events),
                _ => None,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_pods_on_one_address_the_one_that_is_gone_leaves() {
        let mut settling = Settling::of(&Known::new(&["new", "alone"]));
        settling.apply(&[
            pod("old", "10.0.0.1"),
            pod("new", "10.0.0.1"),
            pod("alone", "10.0.0.2"),
        ]);
        let update = settling.next(Duration::from_millis(1)).await;
        assert_eq!(update, Some(vec![Event::PodDeleted(PodUid::new("old"))]));
        assert_eq!(settling.known.asked(), ["new", "old"], "each once");
    }

    #[tokio::test(start_paused = true)]
    async fn pods_that_are_all_there_or_cannot_be_asked_about_stay_disputed_and_are_asked_about_again()
     {
        let known = Known::new(&["old"]);
        let mut settling = Settling::of(&known);
        settling.apply(&[pod("old", "10.0.0.1"), pod("unknown", "10.0.0.1")]);
        assert_eq!(settling.next(AGAIN / 2).await, None);
        assert_eq!(known.asked(), ["old", "unknown"]);
        // What happens to others is no reason to ask again.
        settling.apply(&[pod("other", "10.0.0.3")]);
        assert_eq!(settling.next(AGAIN / 4).await, None);
        assert!(known.asked().is_empty());

        known.there.lock().unwrap().clear();
        let update = settling.next(AGAIN).await;
        assert_eq!(update, Some(vec![Event::PodDeleted(PodUid::new("old"))]));
    }
}
