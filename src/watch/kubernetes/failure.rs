//! What can keep us from following the API server, sorted by what an operator has to do about it. Each is one line.

use std::error::Error;
use std::io;
use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher;
use thiserror::Error;
use tower::timeout::error::Elapsed;

use super::connect::REPLY_LIMIT;
use crate::watch::Resource;

/// Why a watch ended.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum Failure {
    #[error(
        "not in a cluster, and neither --kubeconfig, --api-server nor --workloads is given: {detail}"
    )]
    NotInCluster { detail: String },
    #[error("the kubeconfig {path:?} cannot be used: {detail}")]
    Kubeconfig { path: String, detail: String },
    #[error("no client for the API server can be made: {detail}")]
    Access { detail: String },
    #[error(
        "the API server {server} does not know us (401): the token or client certificate is wrong or has expired; it says: {detail}"
    )]
    Unauthorized { server: String, detail: String },
    #[error(
        "the API server refuses to let us {verb} {resource} (403): grant the verbs {} on {resource} in a ClusterRole bound to the agent's service account; it says: {detail}",
        verbs(*.resource)
    )]
    Forbidden {
        verb: &'static str,
        resource: Resource,
        detail: String,
    },
    #[error(
        "the API server {server} refuses connections: it is down or restarting, or the address is wrong"
    )]
    Refused { server: String },
    #[error("the name in {server} cannot be resolved: check the node's DNS or give an address")]
    Unresolved { server: String },
    #[error("the API server {server} cannot be reached ({detail}): check routes and firewalls")]
    Unreachable { server: String, detail: String },
    #[error(
        "the certificate of the API server {server} is not trusted ({detail}): check certificate-authority in the kubeconfig, or the address"
    )]
    Untrusted { server: String, detail: String },
    #[error("{server} does not speak TLS: is it the API server's port, or is the scheme http?")]
    NotTls { server: String },
    #[error("the API server {server} does not answer within {} s", REPLY_LIMIT.as_secs())]
    Silent { server: String },
    #[error("the API server {server} answers {code}: {detail}")]
    Status {
        server: String,
        code: u16,
        detail: String,
    },
    #[error("the watch is too old to be resumed (410)")]
    Expired,
    #[error("the answer of {server} is not the Kubernetes API's: {detail}")]
    Unintelligible { server: String, detail: String },
    #[error("the connection to the API server {server} failed: {detail}")]
    Broken { server: String, detail: String },
}

/// What the agent does with a resource: of two pods that claim one address it asks about each by name.
fn verbs(resource: Resource) -> &'static str {
    match resource {
        Resource::Pods => "get, list and watch",
        _ => "list and watch",
    }
}

impl Failure {
    /// Sorts an error of kube's watcher.
    pub(super) fn of(error: &watcher::Error, resource: Resource, server: &str) -> Self {
        let server = server.to_owned();
        match error {
            watcher::Error::WatchError(status) => {
                Self::of_status(status, "watch", resource, server)
            }
            watcher::Error::InitialListFailed(error) => {
                Self::of_client_error(error, "list", resource, server)
            }
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                Self::of_client_error(error, "watch", resource, server)
            }
            watcher::Error::NoResourceVersion => Self::Unintelligible {
                server,
                detail: "no resourceVersion".into(),
            },
        }
    }

    fn of_client_error(
        error: &kube::Error,
        verb: &'static str,
        resource: Resource,
        server: String,
    ) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status, verb, resource, server),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::Unintelligible {
                server,
                detail: one_line(error),
            },
            kube::Error::Auth(_) => Self::Access {
                detail: one_line(error),
            },
            other => Self::of_transport(other, server),
        }
    }

    fn of_status(status: &Status, verb: &'static str, resource: Resource, server: String) -> Self {
        let detail = one_line(&status.message);
        match status.code {
            401 => Self::Unauthorized { server, detail },
            403 => Self::Forbidden {
                verb,
                resource,
                detail,
            },
            410 => Self::Expired,
            code => Self::Status {
                server,
                code,
                detail,
            },
        }
    }

    fn of_transport(error: &(dyn Error + 'static), server: String) -> Self {
        let chain = || causes(error);
        let kinds = || {
            chain()
                .filter_map(|error| error.downcast_ref())
                .map(io::Error::kind)
        };
        let says = |text: &str| chain().any(|error| error.to_string().contains(text));
        let detail = chain().last().map(one_line).unwrap_or_default();

        if chain().any(<dyn Error>::is::<Elapsed>)
            || kinds().any(|kind| kind == io::ErrorKind::TimedOut)
        {
            Self::Silent { server }
        } else if kinds().any(|kind| kind == io::ErrorKind::ConnectionRefused) {
            Self::Refused { server }
        // rustls and the resolver are behind boxed errors whose types are not ours to name.
        } else if says("invalid peer certificate") {
            Self::Untrusted { server, detail }
        } else if says("InvalidContentType") {
            Self::NotTls { server }
        } else if says("dns error") {
            Self::Unresolved { server }
        } else if kinds().any(|kind| {
            matches!(
                kind,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
            )
        }) {
            Self::Unreachable { server, detail }
        } else {
            Self::Broken { server, detail }
        }
    }

    /// The longest pause before trying again. What a person must change is not asked for twice a second; what comes
    /// back by itself is found within half a second.
    pub(super) fn longest_pause(&self) -> Duration {
        match self {
            Self::NotInCluster { .. }
            | Self::Kubeconfig { .. }
            | Self::Access { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::Untrusted { .. }
            | Self::NotTls { .. }
            | Self::Unintelligible { .. } => Duration::from_secs(5),
            Self::Refused { .. }
            | Self::Unresolved { .. }
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Status { .. }
            | Self::Expired
            | Self::Broken { .. } => Duration::from_millis(500),
        }
    }

    /// Whether the credentials or certificates in use may be outdated: they are read anew before the next try.
    pub(super) fn doubts_credentials(&self) -> bool {
        matches!(
            self,
            Self::Unauthorized { .. } | Self::Untrusted { .. } | Self::Access { .. }
        )
    }

    /// Whether this is how a server says that it has no streaming lists. Servers before 1.27 find `sendInitialEvents`
    /// or `resourceVersionMatch` invalid; a server whose etcd cannot report progress fails with 500.
    pub(super) fn refuses_streaming_list(&self) -> bool {
        matches!(
            self,
            Self::Status {
                code: 400 | 404 | 405 | 406 | 422 | 500 | 501,
                ..
            }
        )
    }
}

/// An error and what is behind it, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// Text from elsewhere, made fit for one line of a log: no control characters, no more than 300 characters.
pub(super) fn one_line(text: &(impl ToString + ?Sized)) -> String {
    const LONGEST: usize = 300;
    let text = text.to_string();
    let mut line: String = text
        .split(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str) -> Box<Status> {
        Status {
            code,
            message: message.into(),
            ..Status::default()
        }
        .boxed()
    }

    fn transport(error: impl Into<Box<dyn Error + Send + Sync>>) -> kube::Error {
        kube::Error::Service(error.into())
    }

    fn failure_of(error: kube::Error) -> Failure {
        Failure::of(
            &watcher::Error::WatchStartFailed(error),
            Resource::Pods,
            "10.0.0.1:443",
        )
    }

    #[test]
    fn each_failure_is_told_by_its_likely_cause() {
        let dns = || io::Error::other("dns error: failed to lookup address information");
        let cases: Vec<(kube::Error, &str)> = vec![
            (
                kube::Error::Api(status(401, "Unauthorized")),
                "does not know us (401): the token",
            ),
            (
                kube::Error::Api(status(503, "starting")),
                "answers 503: starting",
            ),
            (
                kube::Error::Api(status(410, "too old")),
                "too old to be resumed (410)",
            ),
            (
                transport(io::Error::from(io::ErrorKind::ConnectionRefused)),
                "refuses connections",
            ),
            (
                transport(io::Error::from(io::ErrorKind::TimedOut)),
                "does not answer within 10 s",
            ),
            (transport(Elapsed::new()), "does not answer within 10 s"),
            (transport(dns()), "cannot be resolved: check the node's DNS"),
            (
                transport(io::Error::from(io::ErrorKind::HostUnreachable)),
                "check routes",
            ),
            (
                transport(io::Error::other("invalid peer certificate: UnknownIssuer")),
                "is not trusted (invalid peer certificate: UnknownIssuer): check certificate-authority",
            ),
            (
                transport(io::Error::other(
                    "received corrupt message of type InvalidContentType",
                )),
                "does not speak TLS",
            ),
            (
                transport("reset by peer"),
                "the connection to the API server 10.0.0.1:443 failed: reset",
            ),
            (
                kube::Error::SerdeError(serde_json::from_str::<u8>("<html>").unwrap_err()),
                "is not the Kubernetes API's",
            ),
        ];
        for (error, expected) in cases {
            let message = failure_of(error).to_string();
            assert!(
                message.contains(expected),
                "{expected:?} is not in {message:?}"
            );
        }
    }

    #[test]
    fn a_refusal_by_rbac_names_the_verb_and_the_resource() {
        let says = "pods is forbidden: User \"podiam\" cannot list resource \"pods\"";
        let refused = || kube::Error::Api(status(403, says));
        let by_list = Failure::of(
            &watcher::Error::InitialListFailed(refused()),
            Resource::Pods,
            "10.0.0.1:443",
        );
        let message = by_list.to_string();
        assert!(
            message.starts_with("the API server refuses to let us list pods (403)"),
            "{message}"
        );
        assert!(message.ends_with(says), "{message}");
        let by_watch = Failure::of(
            &watcher::Error::WatchFailed(refused()),
            Resource::Namespaces,
            "10.0.0.1:443",
        );
        assert!(by_watch.to_string().contains("watch namespaces"));
    }

    #[test]
    fn what_a_person_must_change_is_retried_slowly_and_all_else_within_half_a_second() {
        for code in [401, 403] {
            let failure = failure_of(kube::Error::Api(status(code, "")));
            assert_eq!(failure.longest_pause(), Duration::from_secs(5), "{code}");
        }
        for code in [410, 429, 500, 503] {
            let failure = failure_of(kube::Error::Api(status(code, "")));
            assert_eq!(
                failure.longest_pause(),
                Duration::from_millis(500),
                "{code}"
            );
        }
        let refused = failure_of(transport(io::Error::from(io::ErrorKind::ConnectionRefused)));
        assert_eq!(refused.longest_pause(), Duration::from_millis(500));
    }

    #[test]
    fn whatever_a_server_says_stays_one_short_line() {
        let line = one_line(&format!("a\r\nlevel=error\u{2028}b{}", "x".repeat(1000)));
        assert!(line.starts_with("a level=error bxxx"), "{line}");
        assert_eq!(line.chars().count(), 301);
    }
}
