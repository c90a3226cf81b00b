//! A number that sticks to a pod for as long as it is known, whatever else of it changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number; 0 at first. Readers set it, and no lock is taken.
#[derive(Clone, Debug, Default)]
pub struct Mark(Arc<AtomicU64>);

impl Mark {
    /// Sets the number; whether it was another one. Of several who set the same number at once, one is told so.
    pub fn set(&self, number: u64) -> bool {
        // The first look keeps a pod's many requests from fighting for the cache line.
        self.0.load(Ordering::Relaxed) != number && self.0.swap(number, Ordering::Relaxed) != number
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
}
