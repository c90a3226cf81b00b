//! What becomes of the parts' reports: metrics, and /readyz.

use std::sync::Arc;
use std::time::Duration;

use podiam_iam::RoleArn;
use prometheus::IntCounter;
use tokio::sync::watch as channel;

use crate::clock::Clock;
use crate::credentials::{Call, Credentials, Observer, Priority, SlotStatus};
use crate::lifecycle::Condition;
use crate::metrics::{CallFigures, Metrics, Standing};
use crate::sts::Kind;
use crate::watch::{Resource, SourceStatus, SyncState};

/// Reports how the source of pods stands: /readyz and the metrics. The log has it from `watch`.
pub(super) async fn source(
    mut status: channel::Receiver<SourceStatus>,
    condition: Condition,
    metrics: Arc<Metrics>,
) {
    loop {
        let now = status.borrow_and_update().clone();
        for (resource, state) in [
            (Resource::Pods, &now.pods),
            (Resource::Namespaces, &now.namespaces),
        ] {
            let name = resource.to_string();
            metrics.set_source_synced(&name, matches!(state, SyncState::Synced { .. }));
            if matches!(state, SyncState::Failing { .. }) {
                metrics.source_failed(&name);
            }
        }
        if now.is_synced() {
            condition.met();
        } else {
            condition.missing(now.problems().join("; "));
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Lets each scrape ask the credentials how they stand.
pub(super) fn on_scrape(metrics: &Metrics, credentials: &Credentials, clock: &Clock) {
    let (credentials, clock) = (credentials.clone(), clock.clone());
    metrics.on_scrape(Box::new(move || standing(&credentials, &clock)));
}

fn standing(credentials: &Credentials, clock: &Clock) -> Standing {
    let slots = credentials.status();
    let budget = credentials.budget();
    let count = |state| slots.iter().filter(|slot| slot.state == state).count();
    let now = clock.now();
    let valid = || slots.iter().filter(|slot| slot.valid);
    let age = |slot: &SlotStatus| Duration::try_from(now.duration_since(slot.obtained_at?)).ok();
    let left = |slot: &SlotStatus| Duration::try_from(slot.expires_at?.duration_since(now)).ok();
    Standing {
        states: SlotStatus::STATES
            .map(|state| (state, count(state)))
            .to_vec(),
        waiting: Priority::ALL
            .iter()
            .zip(budget.waiting)
            .map(|(priority, waiting)| (priority.name(), waiting))
            .collect(),
        running: budget.running,
        oldest: valid().filter_map(age).max(),
        least_left: valid().filter_map(left).min(),
    }
}

impl Observer for Metrics {
    fn call_finished(&self, call: &Call<'_>) {
        self.assume_role(call.grant.role.as_str(), call.code, call.took);
        self.credentials.call(&CallFigures {
            priority: call.priority.name(),
            result: match call.error {
                None => "success",
                Some(Kind::Final) => "refused",
                Some(Kind::Throttled) => "throttled",
                Some(Kind::Transient) => "unavailable",
            },
            code: call.code,
            queued: call.queued,
            left: call.left,
        });
    }

    fn cache_hits(&self, role: &RoleArn) -> IntCounter {
        Metrics::cache_hits(self, role.as_str())
    }

    fn refused_from_memory(&self) {
        self.credentials.refused_from_memory();
    }

    fn request_expired(&self, queued: bool) {
        self.credentials.request_expired(queued);
    }
}
