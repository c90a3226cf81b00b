//! The metric families: kube2iam's names and labels kept, ours beside them. Everybody above reports here; `admin`
//! renders. Labels are bounded: a role is named only as long as the table of roles is not full.

mod credentials;
mod events;
mod interception;
mod registry;
mod sources;

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, TextEncoder,
};

pub use credentials::{CallFigures, CredentialMetrics, Standing};
pub use events::EventMetrics;
pub use interception::InterceptionMetrics;
pub use registry::Family;
pub use sources::SourceMetrics;

use registry::Registry;

/// Distinct values of a `role_arn` label before further roles are counted as `other`: twice the pods a node can have.
const MAX_ROLES: usize = 500;

/// What `podiam_audited_total` counts.
const AUDITED: &str = "Requests answered that a guard in audit mode would have refused, by reason.";

/// What a handler is called in kube2iam's metrics and in ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// The name of the role.
    SecurityCredentials,
    /// The role's credentials.
    Role,
    /// /healthz.
    Health,
    /// What is passed on to the real metadata service.
    ReverseProxy,
    /// IMDSv2 tokens (kube2iam passed them on).
    Token,
    /// `iam/info` and the listings, which we make ourselves.
    Synthesised,
    /// The agent's question to itself.
    SelfTest,
    /// Refused before it was known what is asked for.
    None,
}

impl Handler {
    fn name(self) -> &'static str {
        match self {
            Self::SecurityCredentials => "securityCredentialsHandler",
            Self::Role => "roleHandler",
            Self::Health => "healthHandler",
            Self::ReverseProxy => "reverseProxyHandler",
            Self::Token => "tokenHandler",
            Self::Synthesised => "synthesisedHandler",
            Self::SelfTest => "selfTestHandler",
            Self::None => "none",
        }
    }
}

/// All families of one agent. Made once; shared by reference.
pub struct Metrics {
    registry: Registry,
    iam_request_duration: HistogramVec,
    iam_cache_hits: IntCounterVec,
    ambiguous_addresses: IntCounter,
    unknown_addresses: IntCounter,
    http_request_duration: HistogramVec,
    role_served: Histogram,
    healthcheck_status: IntGauge,
    refusals: IntCounterVec,
    audited: IntCounterVec,
    connections: IntGauge,
    pods: IntGauge,
    roles: Mutex<HashSet<String>>,
    /// What the sources of pods report.
    pub sources: SourceMetrics,
    /// What becomes of Events on pods.
    pub events: EventMetrics,
    /// What the keeper of the rules and the self-test report.
    pub interception: InterceptionMetrics,
    /// What the credentials engine reports.
    pub credentials: CredentialMetrics,
    standing: OnceLock<AskStanding>,
}

/// Asks the credentials engine how it stands.
type AskStanding = Box<dyn Fn() -> Standing + Send + Sync>;

impl Metrics {
    /// Registers every family.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::default();
        let buckets = prometheus::exponential_buckets(0.001, 2.0, 14)?;
        let histograms = |name: &str, help: &str, labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.clone());
            register(&registry, HistogramVec::new(options, labels))
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let counter = |name: &str, help: &str| register(&registry, IntCounter::new(name, help));
        let gauge = |name: &str, help: &str| register(&registry, IntGauge::new(name, help));

        let http_request_duration = histograms(
            "kube2iam_http_request_duration_seconds",
            "Time taken to answer a request, by status code, method and handler.",
            &["code", "method", "handler"],
        )?;
        let role_served =
            http_request_duration.with_label_values(&["200", "GET", Handler::Role.name()]);
        let iam_request_duration = histograms(
            "kube2iam_iam_request_duration_seconds",
            "Time taken by AssumeRole, by outcome (Success or the AWS error code) and role.",
            &["code", "role_arn"],
        )?;
        let iam_cache_hits = counters(
            "kube2iam_iam_cache_hits_total",
            "Requests answered with credentials that were there already, by role.",
            &["role_arn"],
        )?;
        let ambiguous_addresses = counter(
            "kube2iam_iam_k8s_dup_req_count",
            "Requests from an address that more than one pod claims; podiam refuses them.",
        )?;
        // For kube2iam's dashboards; it stays at zero because podiam refuses instead of guessing.
        counter(
            "kube2iam_iam_k8s_dup_req_success_count",
            "Requests from such an address for which one pod was guessed; always 0.",
        )?;
        let unknown_addresses = counter(
            "kube2iam_iam_k8s_pod_not_in_pod_cache",
            "Requests from an address of which no pod was known when they arrived.",
        )?;
        let healthcheck_status = gauge(
            "kube2iam_healthcheck_status",
            "1 if the last health check reached the metadata service, else 0.",
        )?;
        let by_reason = |name: &str, help: &str| counters(name, help, &["reason"]);
        let refusals = by_reason("podiam_refusals_total", "Requests refused, by reason.")?;
        let audited = by_reason("podiam_audited_total", AUDITED)?;
        let connections = gauge("podiam_connections", "Connections open on the pods' port.")?;
        let pods = gauge("podiam_pods", "Pods known.")?;
        register_version(&registry)?;
        Ok(Self {
            credentials: CredentialMetrics::new(&registry)?,
            standing: OnceLock::new(),
            interception: InterceptionMetrics::new(&registry)?,
            sources: SourceMetrics::new(&registry)?,
            events: EventMetrics::new(&registry)?,
            registry,
            iam_request_duration,
            iam_cache_hits,
            ambiguous_addresses,
            unknown_addresses,
            http_request_duration,
            role_served,
            healthcheck_status,
            refusals,
            audited,
            connections,
            pods,
            roles: Mutex::default(),
        })
    }

    /// A request was answered.
    pub fn request(&self, handler: Handler, method: &hyper::Method, status: u16, took: Duration) {
        if handler == Handler::Role && status == 200 && method == hyper::Method::GET {
            return self.role_served.observe(took.as_secs_f64());
        }
        let method = match method.as_str() {
            known @ ("GET" | "HEAD" | "PUT" | "POST" | "DELETE" | "OPTIONS" | "PATCH") => known,
            _ => "other",
        };
        let mut digits = digits(status);
        let code = std::str::from_utf8_mut(&mut digits).map_or("0", |code| code);
        self.http_request_duration
            .with_label_values(&[code, method, handler.name()])
            .observe(took.as_secs_f64());
    }

    /// A request was refused, for a reason with this code.
    pub fn refused(&self, code: &str) {
        self.refusals.with_label_values(&[code]).inc();
    }

    /// A request was answered that a guard in audit mode would have refused, for a reason with this code.
    pub fn audited(&self, code: &str) {
        self.audited.with_label_values(&[code]).inc();
    }

    /// `AssumeRole` came back, with `Success` or an AWS error code.
    pub fn assume_role(&self, role_arn: &str, code: &str, took: Duration) {
        self.iam_request_duration
            .with_label_values(&[code, &self.role_label(role_arn)])
            .observe(took.as_secs_f64());
    }

    /// The counter of requests of one role that were answered from memory.
    pub fn cache_hits(&self, role_arn: &str) -> IntCounter {
        self.iam_cache_hits
            .with_label_values(&[&self.role_label(role_arn)])
    }

    /// A request came from an address that more than one pod claims.
    pub fn ambiguous_address(&self) {
        self.ambiguous_addresses.inc();
    }

    /// A request came from an address of which no pod is known.
    pub fn unknown_address(&self) {
        self.unknown_addresses.inc();
    }

    /// The outcome of a health check.
    pub fn health(&self, good: bool) {
        self.healthcheck_status.set(i64::from(good));
    }

    /// Counts an open connection for as long as the guard lives.
    pub fn connection(&self) -> ConnectionGuard {
        self.connections.inc();
        ConnectionGuard(self.connections.clone())
    }

    /// How many pods are known.
    pub fn set_pods(&self, count: usize) {
        self.pods.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Asks `standing` from now on whenever the metrics are rendered: what can be counted then need not be kept.
    pub fn on_scrape(&self, standing: Box<dyn Fn() -> Standing + Send + Sync>) {
        // The engine is made once; who comes second is not asked.
        let _ = self.standing.set(standing);
    }

    /// What every family is, by name: also of those that have no series yet.
    pub fn families(&self) -> Vec<Family> {
        self.registry.families()
    }

    /// Everything in the Prometheus text format.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        if let Some(ask) = self.standing.get() {
            self.credentials.stand(&ask());
        }
        let mut text = Vec::with_capacity(16 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn role_label(&self, role_arn: &str) -> String {
        let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        if roles.contains(role_arn) {
            role_arn.to_owned()
        } else if roles.len() < MAX_ROLES {
            roles.insert(role_arn.to_owned());
            role_arn.to_owned()
        } else {
            "other".to_owned()
        }
    }
}

/// Counts one open connection until it is dropped.
pub struct ConnectionGuard(IntGauge);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    family: Result<C, prometheus::Error>,
) -> Result<C, prometheus::Error> {
    let family = family?;
    registry.register(&family)?;
    Ok(family)
}

/// The version, which never changes while the agent lives.
fn register_version(registry: &Registry) -> Result<(), prometheus::Error> {
    let options = Opts::new("kube2iam_info", "The version, as labels; always 1.");
    let labels = ["version", "build_date", "commit_hash"];
    register(registry, IntGaugeVec::new(options, &labels))?
        .with_label_values(&[
            env!("CARGO_PKG_VERSION"),
            option_env!("PODIAM_BUILD_DATE").unwrap_or("unknown"),
            option_env!("PODIAM_COMMIT").unwrap_or("unknown"),
        ])
        .set(1);
    Ok(())
}

/// A status code's digits, without an allocation.
fn digits(status: u16) -> [u8; 3] {
    let digit = |value: u16| b'0' + u8::try_from(value % 10).unwrap_or(0);
    [digit(status / 100), digit(status / 10), digit(status)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render().unwrap()).unwrap()
    }

    #[test]
    fn the_families_keep_kube2iams_names_and_labels() {
        let metrics = Metrics::new().unwrap();
        metrics.request(
            Handler::Role,
            &hyper::Method::GET,
            200,
            Duration::from_millis(1),
        );
        metrics.request(
            Handler::SecurityCredentials,
            &hyper::Method::GET,
            404,
            Duration::ZERO,
        );
        metrics.assume_role(
            "arn:aws:iam::123456789012:role/r",
            "Success",
            Duration::from_millis(40),
        );
        metrics.cache_hits("arn:aws:iam::123456789012:role/r").inc();
        metrics.health(true);
        let text = text(&metrics);
        for line in [
            r#"kube2iam_http_request_duration_seconds_count{code="200",handler="roleHandler",method="GET"} 1"#,
            r#"kube2iam_http_request_duration_seconds_count{code="404",handler="securityCredentialsHandler",method="GET"} 1"#,
            r#"kube2iam_http_request_duration_seconds_bucket{code="200",handler="roleHandler",method="GET",le="8.192"} 1"#,
            r#"kube2iam_iam_request_duration_seconds_count{code="Success",role_arn="arn:aws:iam::123456789012:role/r"} 1"#,
            r#"kube2iam_iam_cache_hits_total{role_arn="arn:aws:iam::123456789012:role/r"} 1"#,
            "kube2iam_iam_k8s_dup_req_count 0",
            "kube2iam_iam_k8s_dup_req_success_count 0",
            "kube2iam_iam_k8s_pod_not_in_pod_cache 0",
            "kube2iam_healthcheck_status 1",
            "kube2iam_info{",
        ] {
            assert!(text.contains(line), "missing {line} in\n{text}");
        }
    }

    #[test]
    fn the_number_of_role_labels_is_bounded() {
        let metrics = Metrics::new().unwrap();
        for role in 0..2 * MAX_ROLES {
            metrics.cache_hits(&format!("role-{role}")).inc();
        }
        let series = text(&metrics)
            .lines()
            .filter(|line| line.starts_with("kube2iam_iam_cache_hits_total{"))
            .count();
        assert_eq!(series, MAX_ROLES + 1);
    }

    #[test]
    fn unknown_methods_share_one_label() {
        let metrics = Metrics::new().unwrap();
        let method = hyper::Method::from_bytes(b"ANYTHING").unwrap();
        metrics.request(Handler::None, &method, 405, Duration::ZERO);
        assert!(text(&metrics).contains(r#"method="other""#));
    }
}
