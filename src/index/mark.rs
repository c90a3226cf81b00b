//! What sticks to a pod for as long as it is known, whatever else of it changes: a number, and counts of its requests.
//! Those who answer write it, `admin` reads it. No lock is taken and nothing is looked up: it hangs at the pod's entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number, 0 at first, and the counts.
#[derive(Clone, Debug, Default)]
pub struct Mark(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    number: AtomicU64,
    requests: AtomicU64,
    denials: AtomicU64,
}

/// How often a pod has asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were answered, whatever the answer.
    pub requests: u64,
    /// Those of them that were denied for a [`Reason`](crate::reason::Reason).
    pub denials: u64,
}

impl Mark {
    /// Sets the number; whether it was another one. Of several who set the same number at once, one is told so.
    pub fn set(&self, number: u64) -> bool {
        let own = &self.0.number;
        // The first look keeps a pod's many requests from fighting for the cache line.
        own.load(Ordering::Relaxed) != number && own.swap(number, Ordering::Relaxed) != number
    }

    /// Counts one request.
    pub fn count(&self, is_denied: bool) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        if is_denied {
            self.0.denials.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts since the agent has known the pod.
    pub fn counts(&self) -> Counts {
        // In this order a denial is never seen without its request by more than those that are being counted.
        let denials = self.0.denials.load(Ordering::Relaxed);
        Counts {
            requests: self.0.requests.load(Ordering::Relaxed).max(denials),
            denials,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_once_that_it_has_changed() {
        let mark = Mark::default();
        let same = mark.clone();
        assert!(mark.set(1));
        assert!(!same.set(1));
        assert!(same.set(2));
        assert!(mark.set(1));
    }

    #[test]
    fn every_clone_counts_into_the_same_sums() {
        let mark = Mark::default();
        mark.count(false);
        mark.clone().count(true);
        let (requests, denials) = (2, 1);
        assert_eq!(mark.counts(), Counts { requests, denials });
    }
}
