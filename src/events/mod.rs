//! Kubernetes Events on the pods that are refused: why, and what to do about it, where `kubectl describe pod` shows it.
//!
//! `follow` tells of decisions, when they are made; `imds` of refused requests. Nobody who tells ever waits: whoever
//! tells too much is turned away by a token bucket, of the pod and of the node, and then by a queue that is full. One task
//! (`writer`) speaks to the API server. An Event that cannot be written is counted and forgotten.

mod follow;
mod rate;
mod worth;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::ApiAccess;
use crate::metrics::Metrics;
use crate::reason::Reason;
use crate::workload::{PodUid, Workload};

pub use follow::follow;

use rate::Rates;

/// Events that may wait for the API server.
const QUEUE: usize = 128;

/// The longest note that the API server takes, in bytes (`validateV1EventsEvent`: `NoteLengthLimit`).
const LONGEST_NOTE: usize = 1024;

/// Whoever has something to tell about a pod. Cheap to clone.
#[derive(Clone, Default)]
pub struct Events(Option<Arc<Outlet>>);

struct Outlet {
    queue: mpsc::Sender<News>,
    /// A lock, because a pod that floods must be turned away before the queue, where it would displace the others; it
    /// is held for a few comparisons.
    rates: Mutex<Rates>,
    metrics: Arc<Metrics>,
}

/// What became of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The pod gets nothing.
    Refused,
    /// A guard in audit mode would have refused it.
    Audited,
}

/// One Event to be written, or to be counted once more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct News {
    uid: PodUid,
    namespace: Arc<str>,
    pod: Arc<str>,
    /// The reason's code in `CamelCase`.
    reason: String,
    /// What was done.
    action: &'static str,
    note: String,
}

impl Events {
    /// Nothing is told.
    pub fn off() -> Self {
        Self(None)
    }

    /// Written at the API server by a task of the current runtime, in the name of `node`.
    pub fn start(access: ApiAccess, node: Option<&str>, metrics: Arc<Metrics>) -> Self {
        let (events, inbox) = Self::queue(Arc::clone(&metrics));
        let writer = writer::Writer::new(access, node, metrics);
        tokio::spawn(writer.write(inbox));
        events
    }

    fn queue(metrics: Arc<Metrics>) -> (Self, mpsc::Receiver<News>) {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let outlet = Outlet {
            queue,
            rates: Mutex::default(),
            metrics,
        };
        (Self(Some(Arc::new(outlet))), inbox)
    }

    /// The pod was refused. False where that was one too many: it may be told again later.
    pub fn refused(&self, pod: &Workload, reason: &Reason) -> bool {
        self.tell(pod, reason, Effect::Refused, None)
    }

    /// The pod was refused what it was granted: a session of `role`.
    pub fn refused_role(&self, pod: &Workload, reason: &Reason, role: &str) -> bool {
        self.tell(pod, reason, Effect::Refused, Some(role))
    }

    /// A guard in audit mode would have refused the pod. False where that was one too many.
    pub fn audited(&self, pod: &Workload, reason: &Reason) -> bool {
        self.tell(pod, reason, Effect::Audited, None)
    }

    fn tell(&self, pod: &Workload, reason: &Reason, effect: Effect, role: Option<&str>) -> bool {
        let Some(outlet) = &self.0 else { return true };
        if !worth::is_told(reason) {
            return true;
        }
        let metrics = &outlet.metrics.events;
        let mut rates = outlet.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if !rates.admit(&pod.uid, Instant::now()) {
            metrics.limited();
            return false;
        }
        drop(rates);
        let news = News {
            uid: pod.uid.clone(),
            namespace: Arc::clone(&pod.namespace),
            pod: Arc::clone(&pod.name),
            reason: camel_case(reason.code()),
            action: match effect {
                Effect::Refused => "RefuseCredentials",
                Effect::Audited => "AuditCredentials",
            },
            note: note(reason, effect, role),
        };
        let queued = outlet.queue.try_send(news).is_ok();
        if !queued {
            metrics.dropped();
        }
        queued
    }
}

/// `namespace-forbids` as `NamespaceForbids`.
fn camel_case(code: &str) -> String {
    let words = code.split('-').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_ascii_uppercase() + rest
    });
    words.collect()
}

/// Why, and what to do. What a pod's author wrote may be long; what to do is never cut.
fn note(reason: &Reason, effect: Effect, role: Option<&str>) -> String {
    let fix = reason.facts().fix;
    let mut why = match effect {
        Effect::Refused => reason.to_string(),
        Effect::Audited => {
            format!("audit: would be refused if the guard were in force: {reason}")
        }
    };
    if let Some(role) = role {
        why = format!("{why} (role {role})");
    }
    let room = LONGEST_NOTE.saturating_sub(fix.len() + "... ".len());
    if why.len() > room {
        why.truncate(why.floor_char_boundary(room));
        why.push_str("..");
    }
    format!("{why}. {fix}")
}

#[cfg(test)]
mod tests;
