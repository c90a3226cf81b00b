//! Where families are registered: Prometheus' own registry, and beside it what each family is, for the reference in the
//! documentation. `register` of the module above is the only way in, so that no family is left out there.

use std::sync::{Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::proto::{MetricFamily, MetricType};

/// One family of metrics, as it was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels, in their order.
    pub labels: Vec<String>,
    /// What it tells.
    pub help: String,
}

/// The registry of one agent's families.
#[derive(Default)]
pub(super) struct Registry {
    inner: prometheus::Registry,
    families: Mutex<Vec<Box<dyn Collector>>>,
}

impl Registry {
    /// Registers a family, and remembers it.
    pub(super) fn register<C: Collector + Clone + 'static>(
        &self,
        family: &C,
    ) -> Result<(), prometheus::Error> {
        self.inner.register(Box::new(family.clone()))?;
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        families.push(Box::new(family.clone()));
        Ok(())
    }

    /// What every family is, by name.
    pub(super) fn families(&self) -> Vec<Family> {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let described = families.iter().flat_map(|family| describe(&**family));
        let mut described: Vec<Family> = described.collect();
        described.sort_by(|one, other| one.name.cmp(&other.name));
        described
    }

    /// What they say now.
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.inner.gather()
    }
}

fn describe(family: &dyn Collector) -> Vec<Family> {
    // A family of labels has its type also while it has no series.
    let kind = match family.collect().first().map(MetricFamily::get_field_type) {
        Some(MetricType::COUNTER) => "counter",
        Some(MetricType::HISTOGRAM) => "histogram",
        _ => "gauge",
    };
    let descriptions = family.desc().into_iter();
    descriptions
        .map(|desc| Family {
            name: desc.fq_name.clone(),
            kind,
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        })
        .collect()
}
