//! The families of the credentials engine: calls to STS, the queue before it, and the sessions that are held. `app`
//! feeds them. Every label has a fixed set of values, the error codes of `sts` included.

use std::time::Duration;

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts,
};

use super::register;
use super::registry::Registry;

/// Seconds that may be left of a session, from "it had expired" to STS's longest.
const LIFE: [f64; 12] = [
    0.0, 60.0, 300.0, 600.0, 900.0, 1200.0, 1500.0, 1800.0, 2700.0, 3600.0, 14400.0, 43200.0,
];

/// What one call to STS did.
#[derive(Clone, Copy, Debug)]
pub struct CallFigures {
    /// `request`, `new-pod` or `refresh`.
    pub priority: &'static str,
    /// `success`, `refused`, `throttled` or `unavailable`.
    pub result: &'static str,
    /// The error's code; not read where `result` is `success`.
    pub code: &'static str,
    /// The time in the queue.
    pub queued: Duration,
    /// What was left of the session before; `None` if there was none.
    pub left: Option<Duration>,
}

/// How the sessions and the queue stand when they are asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Slots by state.
    pub states: Vec<(&'static str, usize)>,
    /// Calls that wait, by priority.
    pub waiting: Vec<(&'static str, usize)>,
    /// Calls under way.
    pub running: usize,
    /// The age of the oldest valid session.
    pub oldest: Option<Duration>,
    /// What is left of the valid session that ends first.
    pub least_left: Option<Duration>,
}

/// The families.
pub struct CredentialMetrics {
    calls: IntCounterVec,
    errors: IntCounterVec,
    queued: HistogramVec,
    left: Histogram,
    refused_from_memory: IntCounter,
    expired: IntCounterVec,
    waiting: IntGaugeVec,
    running: IntGauge,
    states: IntGaugeVec,
    oldest: Gauge,
    least_left: Gauge,
}

impl CredentialMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        Ok(Self {
            calls: counters(
                "podiam_sts_calls_total",
                "Calls to STS that ended, by why they were made (request, new-pod, refresh) and result.",
                &["priority", "result"],
            )?,
            errors: counters(
                "podiam_sts_errors_total",
                "Calls to STS that failed, by error code.",
                &["code"],
            )?,
            queued: register(
                registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "podiam_sts_queue_seconds",
                        "Time that a call waited for the node's budget before it was made.",
                    )
                    .buckets(prometheus::exponential_buckets(0.001, 2.0, 17)?),
                    &["priority"],
                ),
            )?,
            left: register(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "podiam_session_left_seconds",
                        "What was left of a session when the call for its successor ended; 0: it had expired.",
                    )
                    .buckets(LIFE.to_vec()),
                ),
            )?,
            refused_from_memory: register(
                registry,
                IntCounter::new(
                    "podiam_negative_cache_hits_total",
                    "Requests refused because STS had refused the role a short while before.",
                ),
            )?,
            expired: counters(
                "podiam_requests_expired_total",
                "Requests that waited for credentials in vain, by what they waited for: queue (the budget) or sts.",
                &["waited_for"],
            )?,
            waiting: gauges(
                "podiam_sts_queue_waiting",
                "Calls to STS that wait for the node's budget.",
                &["priority"],
            )?,
            running: register(
                registry,
                IntGauge::new("podiam_sts_calls_running", "Calls to STS under way."),
            )?,
            states: gauges(
                "podiam_credentials",
                "Credentials wanted by live pods, by state; refused ones are the negative cache.",
                &["state"],
            )?,
            oldest: register(
                registry,
                Gauge::new(
                    "podiam_session_age_max_seconds",
                    "Age of the oldest valid session; 0 without any.",
                ),
            )?,
            least_left: register(
                registry,
                Gauge::new(
                    "podiam_session_left_min_seconds",
                    "What is left of the valid session that ends first; 0 without any.",
                ),
            )?,
        })
    }

    /// A call to STS ended.
    pub fn call(&self, call: &CallFigures) {
        self.calls
            .with_label_values(&[call.priority, call.result])
            .inc();
        if call.result != "success" {
            self.errors.with_label_values(&[call.code]).inc();
        }
        self.queued
            .with_label_values(&[call.priority])
            .observe(call.queued.as_secs_f64());
        if let Some(left) = call.left {
            self.left.observe(left.as_secs_f64());
        }
    }

    /// A request was refused because STS had refused the role before.
    pub fn refused_from_memory(&self) {
        self.refused_from_memory.inc();
    }

    /// A request waited in vain.
    pub fn request_expired(&self, queued: bool) {
        let waited_for = if queued { "queue" } else { "sts" };
        self.expired.with_label_values(&[waited_for]).inc();
    }

    /// Shows how things stand.
    pub fn stand(&self, standing: &Standing) {
        let set = |gauges: &IntGaugeVec, values: &[(&'static str, usize)]| {
            for (label, value) in values {
                let value = i64::try_from(*value).unwrap_or(i64::MAX);
                gauges.with_label_values(&[*label]).set(value);
            }
        };
        set(&self.states, &standing.states);
        set(&self.waiting, &standing.waiting);
        self.running
            .set(i64::try_from(standing.running).unwrap_or(i64::MAX));
        let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
        self.oldest.set(seconds(standing.oldest));
        self.least_left.set(seconds(standing.least_left));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn what_the_engine_does_is_told_by_priority_result_and_reason() {
        let metrics = Metrics::new().unwrap();
        let call = CallFigures {
            priority: "refresh",
            result: "refused",
            code: "AccessDenied",
            queued: Duration::from_millis(3),
            left: Some(Duration::from_mins(25)),
        };
        metrics.credentials.call(&call);
        metrics.credentials.call(&CallFigures {
            result: "success",
            code: "Success",
            left: None,
            ..call
        });
        metrics.credentials.refused_from_memory();
        metrics.credentials.request_expired(true);
        metrics.credentials.request_expired(false);
        metrics.on_scrape(Box::new(|| Standing {
            states: vec![("ready", 3), ("refused", 1)],
            waiting: vec![("request", 2)],
            running: 8,
            oldest: Some(Duration::from_mins(30)),
            least_left: Some(Duration::from_mins(29)),
        }));
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        for line in [
            r#"podiam_sts_calls_total{priority="refresh",result="refused"} 1"#,
            r#"podiam_sts_calls_total{priority="refresh",result="success"} 1"#,
            r#"podiam_sts_errors_total{code="AccessDenied"} 1"#,
            r#"podiam_sts_queue_seconds_count{priority="refresh"} 2"#,
            r#"podiam_session_left_seconds_bucket{le="1200"} 0"#,
            r#"podiam_session_left_seconds_bucket{le="1500"} 1"#,
            "podiam_negative_cache_hits_total 1",
            r#"podiam_requests_expired_total{waited_for="queue"} 1"#,
            r#"podiam_requests_expired_total{waited_for="sts"} 1"#,
            r#"podiam_credentials{state="ready"} 3"#,
            r#"podiam_credentials{state="refused"} 1"#,
            r#"podiam_sts_queue_waiting{priority="request"} 2"#,
            "podiam_sts_calls_running 8",
            "podiam_session_age_max_seconds 1800",
            "podiam_session_left_min_seconds 1740",
        ] {
            assert!(text.contains(line), "missing {line} in\n{text}");
        }
        assert!(!text.contains(r#"code="Success""#));
    }
}
