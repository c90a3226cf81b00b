//! Faults on demand. A test (or `/lab/faults`) injects them, the two faces ask here before they answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// One of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// The instance metadata service.
    Imds,
    /// The security token service.
    Sts,
}

/// A disturbance: first the delay, then the fault, if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Injection {
    /// Added before the answer, in milliseconds.
    pub delay_ms: u64,
    /// What becomes of the answer. `None`: it is the right one.
    pub fault: Option<Fault>,
    /// Only requests whose path (IMDS) or role ARN (STS) contains this. `None`: all.
    pub only: Option<String>,
    /// Only this many requests. `None`: all, until healed.
    pub times: Option<u32>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// This HTTP status, with a body of the service's usual form.
    Status(u16),
    /// STS: 400 `Throttling`. IMDS: 429.
    Throttling,
    /// STS: 403 `AccessDenied`. IMDS: 403.
    AccessDenied,
    /// No answer until the injection is healed; then the right one.
    Hang,
    /// The connection is reset (RST) instead of an answer.
    Reset,
    /// 200 with a body that is not of this service.
    Garbage,
}

impl Injection {
    /// A fault for every request.
    pub fn fault(fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            ..Self::default()
        }
    }

    /// A delay for every request.
    pub fn delay(delay: Duration) -> Self {
        Self {
            delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            ..Self::default()
        }
    }

    /// The same for requests whose path or role ARN contains `text` only.
    #[must_use]
    pub fn only(self, text: &str) -> Self {
        Self {
            only: Some(text.into()),
            ..self
        }
    }

    /// The same for the next `times` requests only.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }
}

/// An injection that is in force: used up or not, it stays until it is healed.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    id: u64,
    service: Service,
    injection: Injection,
}

/// The injections in force. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(watch::Sender<Vec<Entry>>);

impl Faults {
    pub(super) fn inject(&self, service: Service, injection: Injection) {
        self.0.send_modify(|entries| {
            let id = entries.last().map_or(0, |entry| entry.id + 1);
            entries.push(Entry {
                id,
                service,
                injection,
            });
        });
    }

    pub(super) fn heal(&self, service: Service) {
        self.0
            .send_modify(|entries| entries.retain(|entry| entry.service != service));
    }

    /// The injections in force, as JSON.
    pub(super) fn to_json(&self) -> serde_json::Value {
        serde_json::json!(*self.0.borrow())
    }

    /// Waits as the injection for this request demands, and tells what is then to go wrong.
    pub(super) async fn strike(&self, service: Service, subject: &str) -> Option<Fault> {
        let Entry { id, injection, .. } = self.take(service, subject)?;
        tokio::time::sleep(Duration::from_millis(injection.delay_ms)).await;
        if injection.fault != Some(Fault::Hang) {
            return injection.fault;
        }
        let healed = |entries: &Vec<Entry>| {
            entries
                .iter()
                .all(|entry| entry.id != id || entry.service != service)
        };
        // The sender is `self`, so the wait ends with the healing alone.
        let _ = self.0.subscribe().wait_for(healed).await;
        None
    }

    /// Finds the first injection that concerns the request and counts it down.
    fn take(&self, service: Service, subject: &str) -> Option<Entry> {
        let mut found = None;
        self.0.send_if_modified(|entries| {
            let concerned = |entry: &&mut Entry| {
                let Injection { only, times, .. } = &entry.injection;
                entry.service == service
                    && *times != Some(0)
                    && only
                        .as_ref()
                        .is_none_or(|text| subject.contains(text.as_str()))
            };
            if let Some(entry) = entries.iter_mut().find(concerned) {
                found = Some(entry.clone());
                entry.injection.times = entry.injection.times.map(|times| times - 1);
            }
            false
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_injection_acts_on_what_it_names_and_as_often_as_it_says() {
        let faults = Faults::default();
        faults.inject(
            Service::Sts,
            Injection::fault(Fault::Throttling).only("role/a").times(2),
        );
        assert_eq!(faults.strike(Service::Imds, "role/a").await, None);
        assert_eq!(faults.strike(Service::Sts, "role/b").await, None);
        assert_eq!(
            faults.strike(Service::Sts, "role/a").await,
            Some(Fault::Throttling)
        );
        assert_eq!(
            faults.strike(Service::Sts, "role/a").await,
            Some(Fault::Throttling)
        );
        assert_eq!(faults.strike(Service::Sts, "role/a").await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_request_is_answered_rightly_once_it_is_healed() {
        let faults = Faults::default();
        faults.inject(Service::Sts, Injection::fault(Fault::Hang).times(1));
        let mut hanging = Box::pin(faults.strike(Service::Sts, "role/a"));
        let still = tokio::time::timeout(Duration::from_hours(1), &mut hanging).await;
        assert!(still.is_err(), "it hangs for as long as one cares to wait");
        faults.heal(Service::Sts);
        assert_eq!(hanging.await, None);
    }
}
