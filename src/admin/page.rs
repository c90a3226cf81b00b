//! The status page: the status document as HTML, for people who would rather look. Rendered here, whole, on each request:
//! no script, nothing from elsewhere, and whatever comes from the cluster is escaped (by askama, in `templates/status.html`).

use std::sync::LazyLock;

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use super::status::{AgentStatus, CredentialState, PodState, PodStatus, Status, minutes, span};
use super::{Reply, document, text};

/// The page's only style. It stands in the page, and the policy names it by its digest.
const CSS: &str = include_str!("../../templates/status.css");
/// Between two readings, for those who asked for it.
const REFRESH_SECONDS: u32 = 5;

/// Nothing may be loaded or run, and nobody may frame the page: were something injected after all, it would do nothing.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = ring::digest::digest(&ring::digest::SHA256, CSS.as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        STANDARD.encode(digest)
    )
});

/// What a reader has asked to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct View {
    only_refused: bool,
    refreshes: bool,
}

#[derive(Template)]
#[template(path = "status.html")]
struct Page<'a> {
    agent: &'a AgentStatus,
    node: &'a str,
    time: String,
    view: String,
    identity: String,
    missing: Vec<(&'a str, &'a str)>,
    counts: Counts,
    /// By namespace.
    groups: Vec<(&'a str, &'a [PodStatus])>,
    only_refused: bool,
    refreshes: bool,
    link_all: &'static str,
    link_refused: &'static str,
    link_refresh: &'static str,
}

struct Counts {
    refused: usize,
    waiting: usize,
    served: usize,
    no_role: usize,
}

/// The page, with what the request's query asks for: `refused` for those pods alone, `refresh` to read it again and again.
pub(super) fn reply(status: Status, query: Option<&str>) -> Reply {
    match render(status, View::of(query)) {
        Ok(page) => guarded(document(StatusCode::OK, "text/html; charset=utf-8", page)),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot render the page: {error}\n"),
        ),
    }
}

fn render(mut status: Status, view: View) -> Result<String, askama::Error> {
    let counts = Counts {
        refused: status.count(PodState::Refused),
        waiting: status.count(PodState::Waiting),
        served: status.count(PodState::Served),
        no_role: status.count(PodState::NoRole),
    };
    let identity = status.identity_in_words();
    status.keep(None, view.only_refused);
    let Status { agent, pods } = &status;
    let groups = pods.chunk_by(|a, b| a.namespace == b.namespace);
    Page {
        agent,
        node: agent.node.as_deref().unwrap_or("every node"),
        time: agent.time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        view: view_of_the_cluster(agent),
        identity,
        missing: agent.missing().collect(),
        counts,
        groups: groups
            .filter_map(|pods| Some((pods.first()?.namespace.as_str(), pods)))
            .collect(),
        only_refused: view.only_refused,
        refreshes: view.refreshes,
        link_all: View {
            only_refused: false,
            ..view
        }
        .link(),
        link_refused: View {
            only_refused: true,
            ..view
        }
        .link(),
        link_refresh: View {
            refreshes: !view.refreshes,
            ..view
        }
        .link(),
    }
    .render()
}

impl View {
    fn of(query: Option<&str>) -> Self {
        let has = |word| query.is_some_and(|query| query.split('&').any(|part| part == word));
        Self {
            only_refused: has("refused"),
            refreshes: has("refresh"),
        }
    }

    fn link(self) -> &'static str {
        match (self.only_refused, self.refreshes) {
            (false, false) => "/status",
            (true, false) => "/status?refused",
            (false, true) => "/status?refresh",
            (true, true) => "/status?refused&refresh",
        }
    }
}

fn view_of_the_cluster(agent: &AgentStatus) -> String {
    match agent.view_age() {
        None => "not read yet".to_owned(),
        Some(0) => "up to date".to_owned(),
        Some(age) => format!("{} old", span(age)),
    }
}

/// The headers that keep a page to itself.
fn guarded(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}

// What the template calls for single words.

/// The sign that stands before a state's name, so that it is seen without colour too.
fn sign(state: PodState) -> &'static str {
    match state {
        PodState::Served => "✓",
        PodState::Waiting => "…",
        PodState::Refused => "✕",
        PodState::NoRole | PodState::Unknown => "–",
    }
}

fn class(state: PodState) -> &'static str {
    match state {
        PodState::NoRole => "no-role",
        other => other.name(),
    }
}

fn tone(state: CredentialState) -> &'static str {
    match state {
        CredentialState::Fresh | CredentialState::Refreshing => "ok",
        CredentialState::Failed => "bad",
        CredentialState::Stale
        | CredentialState::Fetching
        | CredentialState::Waiting
        | CredentialState::Unknown => "warn",
    }
}

/// Who named the role, from the stable name of a source.
fn whose(source: &str) -> &str {
    match source {
        "pod" => "named by the pod",
        "service-account" => "named by its service account",
        "eks" => "named by its service account, for IRSA",
        "namespace" => "named by its namespace",
        "default" => "the default role",
        other => other,
    }
}

#[cfg(test)]
mod tests;
