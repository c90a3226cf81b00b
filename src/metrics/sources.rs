//! The families of the sources of pods: whether the view is whole, how old it is, how often it failed.

use std::time::Duration;

use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use super::register;
use super::registry::Registry;

/// The families, by resource.
pub struct SourceMetrics {
    synced: IntGaugeVec,
    errors: IntCounterVec,
    age: IntGaugeVec,
}

impl SourceMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let synced = Opts::new(
            "podiam_source_synced",
            "1 while the view of a resource is complete and followed, else 0.",
        );
        let errors = Opts::new(
            "podiam_source_errors_total",
            "Failures to list, watch or read a resource; each attempt that fails counts.",
        );
        let age = Opts::new(
            "podiam_source_age_seconds",
            "Seconds since a failing source last kept the view of a resource up to date; 0 while it does, absent until \
             it first has.",
        );
        let labels = ["resource"];
        Ok(Self {
            synced: register(registry, IntGaugeVec::new(synced, &labels))?,
            errors: register(registry, IntCounterVec::new(errors, &labels))?,
            age: register(registry, IntGaugeVec::new(age, &labels))?,
        })
    }

    /// Whether the view of `resource` is complete and followed.
    pub fn set_synced(&self, resource: &str, synced: bool) {
        self.synced
            .with_label_values(&[resource])
            .set(i64::from(synced));
    }

    /// How often the source of `resource` has failed since the start. One task reports it, so nothing counts twice.
    pub fn set_failures(&self, resource: &str, total: u64) {
        let counter = self.errors.with_label_values(&[resource]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// How old the view of `resource` is.
    pub fn set_age(&self, resource: &str, age: Duration) {
        self.age
            .with_label_values(&[resource])
            .set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }
}
