//! The family of Events on pods.

use prometheus::{IntCounter, IntCounterVec, Opts};

use super::register;
use super::registry::Registry;

/// What became of Events.
pub struct EventMetrics {
    written: IntCounter,
    limited: IntCounter,
    dropped: IntCounter,
    failed: IntCounter,
}

impl EventMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let all = Opts::new(
            "podiam_events_total",
            "Events on pods: written, limited (too many from the pod or the node), dropped (too many waited) or failed.",
        );
        let all = register(registry, IntCounterVec::new(all, &["outcome"]))?;
        let outcome = |name| all.with_label_values(&[name]);
        Ok(Self {
            written: outcome("written"),
            limited: outcome("limited"),
            dropped: outcome("dropped"),
            failed: outcome("failed"),
        })
    }

    /// The API server has it.
    pub fn written(&self) {
        self.written.inc();
    }

    /// The pod or the node had told too much.
    pub fn limited(&self) {
        self.limited.inc();
    }

    /// Too many were waiting to be written.
    pub fn dropped(&self) {
        self.dropped.inc();
    }

    /// The API server could not be asked or did not take it.
    pub fn failed(&self) {
        self.failed.inc();
    }
}
