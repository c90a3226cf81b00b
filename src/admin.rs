//! The admin socket: /healthz, /readyz, /metrics, /status, /status.json, /explain, /debug/store. On a socket of its own, so that
//! nothing but metadata is ever served to pods, and on the control runtime, so that a scrape never delays a pod. What it
//! says of single pods it says to the node itself alone (`peer`), but for /debug/store, which somebody has asked for.

mod collect;
mod explain;
mod page;
mod peer;
pub mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;

use crate::imds::Imds;
use crate::lifecycle::Readiness;
use crate::metrics::Metrics;
use crate::workload::RoleSource;

pub use collect::About;
pub use peer::from_the_node;

/// What the admin socket shows.
pub struct Admin {
    /// What is missing before the agent is ready.
    pub readiness: Readiness,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The agent, once it has learnt enough to answer pods.
    pub imds: Arc<std::sync::OnceLock<Arc<Imds>>>,
    /// Whether /debug/store is served.
    pub debug_store: bool,
    /// What /status says of the configuration.
    pub about: About,
}

type Reply = Response<Full<Bytes>>;

/// What is said to whoever asks for something else. `podiam status` knows an older agent by how it begins.
const CONTENTS: &str = "here are /healthz, /readyz, /metrics, /status, /status.json, /explain, and with --debug /debug/store\n";

/// Serves the admin socket until it is dropped.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                tracing::warn!("cannot accept an admin connection: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let admin = admin.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let admin = admin.clone();
                async move { Ok::<_, Infallible>(admin.answer(peer, &request).await) }
            });
            // A scraper that breaks off is not our concern.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_mins(1))
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl Admin {
    async fn answer<B>(&self, peer: IpAddr, request: &Request<B>) -> Reply {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD here\n");
        }
        match request.uri().path() {
            "/healthz" => match self.imds.get() {
                Some(imds) => document(
                    StatusCode::OK,
                    "application/json",
                    imds.health_document().await,
                ),
                None => text(StatusCode::OK, "starting\n"),
            },
            "/readyz" => self.readyz(),
            "/metrics" => match self.metrics.render() {
                Ok(body) => document(StatusCode::OK, "text/plain; version=0.0.4", body),
                Err(error) => text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    format!("cannot render the metrics: {error}\n"),
                ),
            },
            "/status" | "/status.json" | explain::PATH if !from_the_node(peer) => {
                text(StatusCode::FORBIDDEN, peer::REFUSAL)
            }
            "/status" => page::reply(self.status(), request.uri().query()),
            "/status.json" => self.status_json(),
            explain::PATH => self.explain(request.uri().query()),
            "/debug/store" if self.debug_store => self.store(),
            _ => text(StatusCode::NOT_FOUND, CONTENTS),
        }
    }

    /// `ok`, or a line for each thing that is missing; then a line for each finding, which changes nothing of the status.
    fn readyz(&self) -> Reply {
        let missing = self.readiness.missing();
        let status = if missing.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let ok = missing.is_empty().then(|| "ok\n".to_owned());
        let missing = missing.iter().map(|(name, why)| format!("{name}: {why}\n"));
        let findings = self.readiness.findings();
        let findings = findings
            .iter()
            .map(|(code, text)| format!("finding {code}: {text}\n"));
        let lines: String = ok.into_iter().chain(missing).chain(findings).collect();
        text(status, lines)
    }

    fn status_json(&self) -> Reply {
        match serde_json::to_vec_pretty(&self.status()) {
            Ok(body) => document(StatusCode::OK, "application/json", body),
            Err(error) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("cannot write the status: {error}\n"),
            ),
        }
    }

    /// kube2iam's three maps: who is where, who has which role, which roles each namespace has. Beside them, who named each
    /// role, and what guards in audit mode would have refused. No secrets.
    fn store(&self) -> Reply {
        let Some(imds) = self.imds.get() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "starting\n");
        };
        let mut namespaces = BTreeMap::new();
        let mut roles = BTreeMap::new();
        let mut sources = BTreeMap::new();
        let mut audited = BTreeMap::new();
        let mut by_namespace: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for entry in imds.pods.snapshot().pods() {
            let namespace = entry.workload.namespace.to_string();
            let role = match &entry.decision {
                Ok(grant) => grant.role.to_string(),
                Err(reason) => format!("refused: {reason}"),
            };
            let pod = &entry.workload;
            for address in pod.addresses.iter().chain(&pod.sandbox_addresses) {
                namespaces.insert(address.to_string(), namespace.clone());
                roles.insert(address.to_string(), role.clone());
                let basis = &entry.basis;
                sources.insert(address.to_string(), basis.source.map(RoleSource::name));
                if !basis.overlooked.is_empty() {
                    let reasons = basis.overlooked.iter().map(ToString::to_string);
                    audited.insert(address.to_string(), reasons.collect::<Vec<_>>());
                }
            }
            by_namespace.entry(namespace).or_default().insert(role);
        }
        let store = json!({ "namespaceByIP": namespaces, "rolesByIP": roles, "rolesByNamespace": by_namespace,
            "roleSourcesByIP": sources, "auditedByIP": audited });
        document(StatusCode::OK, "application/json", store.to_string())
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    document(status, "text/plain; charset=utf-8", body)
}

fn document(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
