//! The families of interception: how the rules stand, and what the self-test found.

use prometheus::core::Collector;
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

    /// Whether they are, as far as was reported.
    pub fn is_intact(&self) -> bool {
        self.intact.get() == 1
    }

    /// How often they were repaired.
    pub fn repairs(&self) -> u64 {
        self.repairs.get()
    }

    /// What the self-test found last; `None` before it has found anything.
    pub fn state(&self) -> Option<String> {
        let families = self.states.collect();
        let states = families
            .iter()
            .flat_map(prometheus::proto::MetricFamily::get_metric);
        let mut holding = states.filter(|state| state.get_gauge().get_value() > 0.0);
        let label = holding.next()?.get_label().first()?;
        Some(label.value().to_owned())
    }

    /// Rules that others had changed were repaired.
    pub fn repaired(&self) {
        self.repairs.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reported_can_be_read_again() {
        let metrics = InterceptionMetrics::new(&Registry::default()).unwrap();
        assert_eq!((metrics.is_intact(), metrics.state()), (false, None));
        metrics.set_intact(true);
        metrics.repaired();
        for state in ["closed", "intercepted"] {
            metrics.set_state(state, &["intercepted", "closed"]);
            assert_eq!(metrics.state().as_deref(), Some(state));
        }
        assert_eq!((metrics.is_intact(), metrics.repairs()), (true, 1));
    }
}
