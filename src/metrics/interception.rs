//! The families of interception: how the rules stand, and what the self-test found.

use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts};

use super::register;
use super::registry::Registry;

/// The families.
pub struct InterceptionMetrics {
    states: IntGaugeVec,
    intact: IntGauge,
    repairs: IntCounter,
}

impl InterceptionMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let states = Opts::new(
            "podiam_interception",
            "What the last self-test found, 1 for the state that holds: intercepted, bypassed, closed or unknown.",
        );
        let intact = IntGauge::new(
            "podiam_interception_intact",
            "1 while the interception rules are as they should be, else 0; always 0 where podiam writes none.",
        );
        let repairs = IntCounter::new(
            "podiam_interception_repairs_total",
            "Times that interception rules were changed by others and repaired.",
        );
        Ok(Self {
            states: register(registry, IntGaugeVec::new(states, &["state"]))?,
            intact: register(registry, intact)?,
            repairs: register(registry, repairs)?,
        })
    }

    /// What the self-test found: 1 for `state`, 0 for the others of `states`.
    pub fn set_state(&self, state: &str, states: &[&str]) {
        for other in states {
            self.states
                .with_label_values(&[other])
                .set(i64::from(*other == state));
        }
    }

    /// Whether the rules are as they should be.
    pub fn set_intact(&self, intact: bool) {
        self.intact.set(i64::from(intact));
    }

    /// Rules that others had changed were repaired.
    pub fn repaired(&self) {
        self.repairs.inc();
    }
}
