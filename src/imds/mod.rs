//! The face to the pods: it answers as the EC2 instance metadata service does, for the pod at the other end.
//!
//! [`server`] accepts, [`route`] reads the request line into an enum or refuses it, [`Imds`] answers, [`document`]
//! makes the bodies, [`token`] the IMDSv2 tokens; [`limits`] keeps one pod from having it all; [`allow`] lists what of the real service may be seen; `prompt` times
//! slow clients out. Nothing here decides a role or speaks to AWS.

pub mod allow;
pub mod document;
pub mod limits;
mod prompt;
pub mod route;
pub mod server;
pub mod token;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::{HeaderMap, Method, Request, Uri, Version};
use tokio::time::Instant;

use crate::authorize::{Grant, Policy};
use crate::clock::Clock;
use crate::config::{AccessLog, Imdsv2, Node};
use crate::credentials::{Credentials, audit};
use crate::events::Events;
use crate::identity::{Facts, Identity};
use crate::index::{Entry, Lookup, Reader};
use crate::metrics::{Handler, Metrics};
use crate::reason::Reason;
use crate::selftest::Prover;
use crate::telemetry::Chain;
use crate::upstream::Upstream;
use crate::workload::{PodUid, RoleSource};

use allow::AllowList;
use document::Reply;
use limits::Shares;
use route::{Rejection, Route};
use token::Tokens;

/// The longest a request is held back, so that its answer is with the client within 400 ms: the rest is the way there and
/// back. SDKs give up after half a second (Go v2), most after one.
const PATIENCE: Duration = Duration::from_millis(375);

/// Everything that answering a pod needs.
pub struct Imds {
    /// Who is asking.
    pub pods: Reader<Grant>,
    /// Whether a connection is the pod's.
    pub identity: Arc<Identity>,
    /// Which role it may have; here only to compare names.
    pub policy: Arc<Policy>,
    /// What the role's credentials are.
    pub credentials: Credentials,
    /// IMDSv2 tokens.
    pub tokens: Tokens,
    /// What proves to the self-test that this process answers.
    pub prover: Arc<Prover>,
    /// The real metadata service.
    pub upstream: Arc<Upstream>,
    /// What of it pods may see.
    pub allow: AllowList,
    /// Whether v1 is answered.
    pub imdsv2: Imdsv2,
    /// The node's own addresses.
    pub node: Node,
    /// How much of all this one pod may use.
    pub shares: Arc<Shares>,
    /// Which requests are logged.
    pub access_log: AccessLog,
    /// Where refusals are told, at the pod.
    pub events: Events,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
}

/// A connection, and the pod it belongs to.
pub struct Connection {
    /// What the kernel says about it.
    pub facts: Facts,
    /// The address the connection came from.
    pub peer: IpAddr,
    /// The address it arrived at.
    pub local: IpAddr,
    /// The pod that first spoke on it. A connection never changes hands, an address may.
    pub pod: OnceLock<PodUid>,
}

/// A request without its body: no request here has one.
struct Ask<'a> {
    method: &'a Method,
    target: &'a Uri,
    version: Version,
    headers: &'a HeaderMap,
    deadline: Instant,
}

/// Why there is no 200.
enum Refusal {
    Rejected(Rejection),
    Denied(Reason),
    /// The real metadata service has no such document.
    NoDocument,
}

/// What the metrics and the log want to know about a request.
struct Trail {
    handler: Handler,
    pod: Option<Arc<Entry<Grant>>>,
}

impl Imds {
    /// Answers one request. Never waits longer than 400 ms, or one second for the real metadata service.
    pub async fn answer<B>(&self, connection: &Connection, request: &Request<B>) -> Reply {
        let started = Instant::now();
        let ask = Ask {
            method: request.method(),
            target: request.uri(),
            version: request.version(),
            headers: request.headers(),
            deadline: started + PATIENCE,
        };
        let mut trail = Trail {
            handler: Handler::None,
            pod: None,
        };
        let outcome = self.respond(connection, &ask, &mut trail).await;
        let took = started.elapsed();
        if let Some(pod) = &trail.pod {
            pod.mark.count(matches!(outcome, Err(Refusal::Denied(_))));
        }
        let (reply, code) = match outcome {
            Ok(reply) => (reply, None),
            Err(refusal) => {
                self.metrics.refused(refusal.code());
                self.tell(&trail, &refusal);
                (refusal.reply(), Some(refusal.code()))
            }
        };
        self.metrics
            .request(trail.handler, ask.method, reply.status().as_u16(), took);
        let logged = match self.access_log {
            AccessLog::All => true,
            AccessLog::Refused => code.is_some(),
            AccessLog::None => false,
        };
        // Probes come every few seconds and say nothing.
        if logged && !matches!(trail.handler, Handler::Health | Handler::SelfTest) {
            log(
                connection,
                &ask,
                &trail,
                reply.status().as_u16(),
                code,
                took,
            );
        }
        reply
    }

    /// Answers a request that is one too many. Costs as little as an answer can; the log has heard of it.
    pub fn turn_away(&self, reason: &Reason) -> Reply {
        self.metrics.refused(reason.code());
        document::closing(document::refusal(reason.status(), &reason.to_string()))
    }

    async fn respond(
        &self,
        connection: &Connection,
        ask: &Ask<'_>,
        trail: &mut Trail,
    ) -> Result<Reply, Refusal> {
        let route = route::parse(ask.method, ask.target, &self.allow)?;
        trail.handler = handler(&route);
        route::check_headers(ask.headers, ask.version, connection.local)?;
        match route {
            Route::Token => return self.token(connection, ask, trail).await,
            Route::Health => return self.health(connection).await,
            // Whoever asks: the answer says that it is this process, and nothing else.
            Route::SelfTest(nonce) => return Ok(document::text(self.prover.answer(nonce))),
            _ => {}
        }
        let pod = self.identify(connection, ask, trail).await?;
        self.check_token(connection, ask, &pod)?;
        match route {
            Route::RoleList => Ok(document::text(
                self.policy.presented(&self.grant(&pod)?.role),
            )),
            Route::Role(requested) => self.credentials(requested, &pod, ask).await,
            Route::IamInfo => Ok(document::text(document::iam_info(
                &self.grant(&pod)?.role,
                self.clock.now(),
            ))),
            Route::IamListing => Ok(document::text("info\nsecurity-credentials/")),
            Route::MetadataListing => Ok(document::text(self.allow.listing())),
            Route::Metadata(path) => match self.upstream.get(path.as_str()).await {
                Ok(Some(found)) => Ok(document::passed_on(found.body, found.content_type)),
                Ok(None) => Err(Refusal::NoDocument),
                Err(error) => {
                    tracing::warn!(
                        path = path.as_str(),
                        "metadata not passed on: {}",
                        Chain(&error)
                    );
                    Err(Reason::UpstreamUnavailable.into())
                }
            },
            Route::Token | Route::Health | Route::SelfTest(_) => Err(Rejection::NotFound.into()),
        }
    }

    /// The pod at the other end, waiting for the watch if it is not known yet.
    async fn identify(
        &self,
        connection: &Connection,
        ask: &Ask<'_>,
        trail: &mut Trail,
    ) -> Result<Arc<Entry<Grant>>, Reason> {
        if self.is_node(connection) {
            return Err(Reason::NodeAddress);
        }
        self.identity.expect_interception(&connection.facts)?;
        let mut found = self.pods.lookup(connection.peer);
        if !found.is_settled() {
            if matches!(found, Lookup::Unknown) {
                self.metrics.unknown_address();
            }
            found = self.pods.wait_for(connection.peer, ask.deadline).await;
        }
        let entry = match found {
            Lookup::Pod(entry) => entry,
            Lookup::Unknown => return Err(Reason::UnknownPod),
            Lookup::Ambiguous => {
                self.metrics.ambiguous_address();
                for claimant in self.pods.snapshot().claimants(connection.peer) {
                    self.events
                        .refused(&claimant.workload, &Reason::AmbiguousAddress);
                }
                return Err(Reason::AmbiguousAddress);
            }
        };
        trail.pod = Some(entry.clone());
        let pod = &entry.workload;
        if connection.pod.get().is_none() {
            let proof = self.identity.admit(&connection.facts, pod, ask.deadline);
            proof.await?;
        }
        if *connection.pod.get_or_init(|| pod.uid.clone()) == pod.uid {
            Ok(entry)
        } else {
            Err(Reason::PodChanged)
        }
    }

    fn check_token(
        &self,
        connection: &Connection,
        ask: &Ask<'_>,
        pod: &Entry<Grant>,
    ) -> Result<(), Reason> {
        let required = self.imdsv2 == Imdsv2::Required
            || pod.workload.annotations.imdsv2.as_deref() == Some("required");
        let mut tokens = ask.headers.get_all(document::TOKEN).iter();
        match (tokens.next(), tokens.next()) {
            (None, _) if !required => Ok(()),
            (Some(token), None)
                if self.tokens.is_valid(
                    token.as_bytes(),
                    &pod.workload,
                    connection.peer,
                    self.clock.now(),
                ) =>
            {
                Ok(())
            }
            _ => Err(Reason::TokenInvalid),
        }
    }

    /// A token for any pod, known or not: an SDK that is refused here falls back on v1 or gives up for good. It waits
    /// for the pod all the same, so that the requests that follow need not.
    async fn token(
        &self,
        connection: &Connection,
        ask: &Ask<'_>,
        trail: &mut Trail,
    ) -> Result<Reply, Refusal> {
        if ask.headers.contains_key(document::FORWARDED_FOR) {
            return Err(Rejection::ForwardedToken.into());
        }
        let mut values = ask.headers.get_all(document::TOKEN_TTL).iter();
        let ttl = match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok().and_then(|value| value.parse().ok()),
            _ => None,
        };
        let ttl = ttl
            .filter(|ttl| token::TTL_SECONDS.contains(ttl))
            .ok_or(Rejection::BadTokenTtl)?;
        let now = self.clock.now();
        let token = match self.identify(connection, ask, trail).await {
            Ok(pod) => self.tokens.issue(&pod.workload, now, ttl),
            Err(_) => self.tokens.issue_to_address(connection.peer, now, ttl),
        };
        Ok(document::token(token, ttl))
    }

    async fn credentials(
        &self,
        requested: &str,
        pod: &Entry<Grant>,
        ask: &Ask<'_>,
    ) -> Result<Reply, Refusal> {
        let grant = self.grant(pod)?;
        if !self.policy.names(requested, &grant.role) {
            return Err(Reason::NotThePodsRole {
                requested: requested.to_owned(),
            }
            .into());
        }
        let issued = self.credentials.obtain(grant, ask.deadline).await?;
        if pod.mark.set(issued.serial) {
            audit::handed_out(&pod.workload, grant, &issued);
        }
        Ok(document::text(issued.body()))
    }

    /// kube2iam's /healthz, for manifests that probe it on this port. Says nothing to pods.
    async fn health(&self, connection: &Connection) -> Result<Reply, Refusal> {
        if !self.is_node(connection) {
            return Err(Rejection::NotFound.into());
        }
        Ok(document::json(self.health_document().await))
    }

    /// `{"hostIP":"…","instanceId":"…"}`. An instance ID that cannot be had is empty: it is no reason for a restart.
    pub async fn health_document(&self) -> String {
        let instance_id = self.upstream.instance_id().await.ok().flatten();
        self.metrics.health(instance_id.is_some());
        let host_ip = self
            .node
            .host_ip
            .map(|address| address.to_string())
            .unwrap_or_default();
        serde_json::json!({ "hostIP": host_ip, "instanceId": instance_id.unwrap_or_default() })
            .to_string()
    }

    /// What the pod is granted. What a guard in audit mode would have refused is counted here, once a request.
    fn grant<'a>(&self, pod: &'a Entry<Grant>) -> Result<&'a Arc<Grant>, Reason> {
        for reason in &pod.basis.overlooked {
            self.metrics.audited(reason.code());
            self.events.audited(&pod.workload, reason);
        }
        pod.decision.as_ref().map_err(Clone::clone)
    }

    /// Tells the pod's author, again and again while the pod asks: the API server keeps an Event for an hour only.
    fn tell(&self, trail: &Trail, refusal: &Refusal) {
        let (Some(pod), Refusal::Denied(reason)) = (&trail.pod, refusal) else {
            return;
        };
        match &pod.decision {
            Ok(grant) => {
                let role = grant.role.as_str();
                self.events.refused_role(&pod.workload, reason, role)
            }
            Err(_) => self.events.refused(&pod.workload, reason),
        };
    }

    fn is_node(&self, connection: &Connection) -> bool {
        self.node.owns(connection.peer) || connection.peer == connection.local
    }
}

fn handler(route: &Route<'_>) -> Handler {
    match route {
        Route::Token => Handler::Token,
        Route::RoleList => Handler::SecurityCredentials,
        Route::Role(_) => Handler::Role,
        Route::IamInfo | Route::IamListing | Route::MetadataListing => Handler::Synthesised,
        Route::Metadata(_) => Handler::ReverseProxy,
        Route::Health => Handler::Health,
        Route::SelfTest(_) => Handler::SelfTest,
    }
}

/// kube2iam's access fields, and the reason. The path is the client's: it is quoted, so that it stays one line.
fn log(
    connection: &Connection,
    ask: &Ask<'_>,
    trail: &Trail,
    status: u16,
    code: Option<&str>,
    took: Duration,
) {
    let pod = trail.pod.as_deref();
    let role = pod
        .and_then(|entry| entry.decision.as_ref().ok())
        .map(|grant| grant.role.as_str());
    tracing::info!(
        req.method = ask.method.as_str(),
        req.path = ?ask.target.path(),
        req.remote = %connection.peer,
        res.status = status,
        res.duration = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        ns.name = pod.map(|entry| &*entry.workload.namespace),
        pod.name = pod.map(|entry| &*entry.workload.name),
        pod.iam.role = role,
        pod.iam.source = pod.and_then(|entry| entry.basis.source).map(RoleSource::name),
        reason = code,
        "request",
    );
}

impl Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Rejected(rejection) => rejection.code(),
            Self::Denied(reason) => reason.code(),
            Self::NoDocument => "no-document",
        }
    }

    fn reply(&self) -> Reply {
        match self {
            Self::Rejected(rejection @ Rejection::MethodNotAllowed(allowed)) => {
                document::method_not_allowed(&rejection.to_string(), allowed)
            }
            Self::Rejected(rejection) => {
                document::refusal(rejection.status(), &rejection.to_string())
            }
            Self::Denied(reason) => {
                let reply = document::refusal(reason.status(), &reason.to_string());
                // This connection is of no use to anybody any more; the next attempt must not be made on it.
                if *reason == Reason::PodChanged {
                    document::closing(reply)
                } else {
                    reply
                }
            }
            Self::NoDocument => document::refusal(404, "not found"),
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Denied(reason)
    }
}
