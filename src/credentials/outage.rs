//! What the slots know together of an STS that does not answer: who may try while it is down, and that it is back.
//!
//! While it is down each slot backs off by itself. Beside that the node as a whole may try once every few seconds for a
//! pod that asks; the first answer ends the outage for all slots, and the budget keeps them from rushing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::schedule;

/// Failures in a row, of whichever slots, that make an outage: one slot whose calls alone fail is none.
const OUTAGE: u32 = 3;

/// Shared by all slots. The lock is held for a few instructions, by actors only.
pub(super) struct Outage {
    seen: Mutex<Seen>,
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct Seen {
    failures: u32,
    probe_at: Option<Instant>,
}

impl Outage {
    pub(super) fn new() -> Self {
        Self {
            seen: Mutex::default(),
            ended: watch::Sender::new(0),
        }
    }

    /// STS answered a call, with a session or with a no.
    pub(super) fn answered(&self) {
        let failures = std::mem::take(&mut self.seen().failures);
        if failures >= OUTAGE {
            self.ended.send_modify(|outages| *outages += 1);
        }
    }

    /// A call got no answer that counts.
    pub(super) fn failed(&self, now: Instant, dice: f64) {
        let mut seen = self.seen();
        seen.failures = seen.failures.saturating_add(1);
        seen.probe_at = Some(now + schedule::probe_after(dice));
    }

    /// Whether a call may be made now although its slot backs off. One "yes" in a few seconds, for the whole node.
    pub(super) fn may_probe(&self, now: Instant, dice: f64) -> bool {
        let mut seen = self.seen();
        let may = seen.probe_at.is_none_or(|at| now >= at);
        if may {
            seen.probe_at = Some(now + schedule::probe_after(dice));
        }
        may
    }

    /// Changes whenever an outage has ended.
    pub(super) fn ended(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_outage_is_three_failures_in_a_row_and_ends_with_the_first_answer() {
        let outage = Outage::new();
        let mut ended = outage.ended();
        let fail = |times: u32| (0..times).for_each(|_| outage.failed(Instant::now(), 0.5));
        fail(2);
        outage.answered();
        assert!(!ended.has_changed().unwrap(), "one slot's trouble");
        fail(3);
        assert!(!ended.has_changed().unwrap());
        outage.answered();
        assert!(ended.has_changed().unwrap());
        ended.mark_unchanged();
        outage.answered();
        assert!(!ended.has_changed().unwrap());
    }

    #[test]
    fn the_node_tries_once_in_a_few_seconds_however_many_pods_ask() {
        let outage = Outage::new();
        let start = Instant::now();
        outage.failed(start, 0.0);
        let tries = (0..600)
            .map(|tenth| start + Duration::from_millis(100) * tenth)
            .filter(|now| outage.may_probe(*now, 0.0))
            .count();
        assert_eq!(tries, 29, "in a minute, with 2 s between two");
    }
}
