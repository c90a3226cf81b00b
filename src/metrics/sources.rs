//! The families of the sources of pods: whether the view is whole, how old it is, how often it failed.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

use super::register;
use super::registry::Registry;

/// The families, by resource.
pub struct SourceMetrics {
    synced: IntGaugeVec,
    errors: IntCounterVec,
    age: IntGaugeVec,
    runtime_up: IntGauge,
    lead: Histogram,
    api_first: IntCounter,
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
        let runtime_up = IntGauge::new(
            "podiam_runtime_up",
            "1 while the container runtime tells its sandboxes' addresses, else 0; always 0 without --cri-socket.",
        )?;
        let lead = HistogramOpts::new(
            "podiam_runtime_lead_seconds",
            "How long before the API the container runtime told a pod's address, of those that it told first.",
        )
        .buckets(vec![0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0]);
        let api_first = IntCounter::new(
            "podiam_runtime_behind_total",
            "Addresses that the API showed before the container runtime told them.",
        )?;
        let labels = ["resource"];
        Ok(Self {
            synced: register(registry, IntGaugeVec::new(synced, &labels))?,
            errors: register(registry, IntCounterVec::new(errors, &labels))?,
            age: register(registry, IntGaugeVec::new(age, &labels))?,
            runtime_up: register(registry, Ok(runtime_up))?,
            lead: register(registry, Histogram::with_opts(lead))?,
            api_first: register(registry, Ok(api_first))?,
        })
    }

    /// Whether the container runtime tells addresses.
    pub fn set_runtime(&self, up: bool) {
        self.runtime_up.set(i64::from(up));
    }

    /// The container runtime told an address so long before the API showed it.
    pub fn runtime_was_first(&self, lead: Duration) {
        self.lead.observe(lead.as_secs_f64());
    }

    /// The API showed an address before the container runtime told it.
    pub fn api_was_first(&self) {
        self.api_first.inc();
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
