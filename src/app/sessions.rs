//! The credentials engine as the agent runs it, and what becomes of its reports: metrics and the audit log.

use std::sync::Arc;
use std::time::Duration;

use podiam_iam::RoleArn;
use prometheus::IntCounter;
use tokio::runtime::Handle;

use crate::authorize::Grant;
use crate::clock::Clock;
use crate::config::{Config, Sessions};
use crate::credentials::{
    Call, Credentials, Dice, Issued, Limits, Observer, Priority, SlotStatus, Terms, audit,
};
use crate::index::Reader;
use crate::metrics::{CallFigures, Metrics, Standing};
use crate::sts::{self, Kind, Sts};

/// Who asks STS.
pub(super) fn client(config: &Config, clock: &Clock) -> Arc<Sts> {
    let settings = sts::Settings {
        region: config.sessions.region.clone(),
        metadata_address: Some(config.metadata.address.clone()),
        profile: None,
    };
    Arc::new(Sts::new(settings, clock.clone()))
}

/// Starts the engine on the control runtime, with nothing to do yet.
pub(super) fn engine(
    config: &Sessions,
    sts: &Arc<Sts>,
    clock: &Clock,
    metrics: &Arc<Metrics>,
    pods: &Reader<Grant>,
) -> Credentials {
    let terms = Terms {
        refresh_age: config.refresh_age,
        error_ttl: config.error_ttl,
    };
    let limits = Limits {
        rate: config.sts_rate,
        concurrency: config.sts_concurrency,
    };
    let reports = Arc::new(Reports {
        metrics: Arc::clone(metrics),
        pods: pods.clone(),
    });
    let sts = Arc::clone(sts) as _;
    let credentials = Credentials::new(
        sts,
        clock.clone(),
        terms,
        limits,
        reports,
        Dice::random(),
        Handle::current(),
    );
    on_scrape(metrics, &credentials, clock);
    credentials
}

/// Lets each scrape ask the credentials how they stand.
fn on_scrape(metrics: &Metrics, credentials: &Credentials, clock: &Clock) {
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

/// Where the credentials' reports go.
struct Reports {
    /// Figures.
    metrics: Arc<Metrics>,
    /// Whose sessions they are, for the audit log.
    pods: Reader<Grant>,
}

impl Observer for Reports {
    fn call_finished(&self, call: &Call<'_>) {
        self.metrics
            .assume_role(call.grant.role.as_str(), call.code, call.took);
        self.metrics.credentials.call(&CallFigures {
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
        self.metrics.cache_hits(role.as_str())
    }

    fn session_obtained(&self, grant: &Grant, issued: &Issued) {
        let snapshot = self.pods.snapshot();
        let mut pods = snapshot.pods_granted(grant).peekable();
        if pods.peek().is_none() {
            audit::obtained(None, grant, issued);
        }
        for pod in pods {
            audit::obtained(Some(pod), grant, issued);
        }
    }

    fn refused_from_memory(&self) {
        self.metrics.credentials.refused_from_memory();
    }

    fn request_expired(&self, queued: bool) {
        self.metrics.credentials.request_expired(queued);
    }
}
