//! The only file that knows everyone: it makes the parts, gives each what it needs, and ends them in order.

mod ceiling;
mod report;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use podiam_iam::{BaseArn, CompleteError, RoleArn};
use podiam_intercept::{METADATA_V4, Rules, nftables};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch as channel;

use crate::admin::{self, Admin};
use crate::authorize::{self, Ceiling, Grant, Policy};
use crate::clock::Clock;
use crate::config::{Config, Discoverable, Interception, Listen, LogFormat};
use crate::credentials::{Credentials, Observer, Terms};
use crate::imds::allow::AllowList;
use crate::imds::token::{KeyError, Tokens};
use crate::imds::{Imds, server};
use crate::index::{Index, Reader};
use crate::lifecycle::{self, Condition, Drain, Readiness};
use crate::metrics::Metrics;
use crate::sts::{self, Sts};
use crate::telemetry::{self, Chain};
use crate::upstream::{Upstream, UpstreamError};
use crate::watch::{self, SourceStatus};

/// How long the agent waits for requests in flight before it leaves.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// Between two attempts at something that must succeed before the agent is ready.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks at whether the node's own credentials can be had.
const NODE_CREDENTIALS_CHECK: Duration = Duration::from_mins(1);

/// Why the agent cannot run.
#[derive(Debug, Error)]
pub enum AppError {
    /// A socket cannot be opened.
    #[error("cannot listen on {address} for {what}; see {flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Who would have been served.
        what: &'static str,
        /// The flag that names the port.
        flag: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The token key cannot be used.
    #[error("--state-dir cannot be used")]
    TokenKey(#[from] KeyError),
    /// The metadata service's address is not one.
    #[error("--metadata-addr cannot be used")]
    Upstream(#[from] UpstreamError),
    /// The metrics cannot be registered.
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The system refuses a runtime, a thread or a signal handler.
    #[error("the system refuses a runtime, a thread or a signal handler")]
    System(#[from] io::Error),
    /// The default role, completed by the base ARN that was given or discovered, is not a role.
    #[error("--default-role={value} cannot be used")]
    DefaultRole {
        /// What was given or discovered.
        value: String,
        /// What is wrong with it.
        source: CompleteError,
    },
}

impl AppError {
    /// Blames a failure on the socket at `address`, which serves `what` and is moved by `flag`.
    fn listen(
        address: SocketAddr,
        what: &'static str,
        flag: &'static str,
    ) -> impl Fn(io::Error) -> Self {
        move |source| Self::Listen {
            address,
            what,
            flag,
            source,
        }
    }
}

/// Runs the agent until SIGTERM or SIGINT. `ceiling` is what `config` names as such, read.
pub fn run(config: Config, ceiling: Option<Ceiling>) -> Result<(), AppError> {
    telemetry::init(config.logs.format == LogFormat::Json, config.logs.level);
    if let Err(error) = lifecycle::seal_memory() {
        tracing::warn!("core dumps cannot be turned off: {error}");
    }
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    for finding in config.findings() {
        tracing::warn!(finding = finding.code, "{}", finding.text);
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(control(config, ceiling))
}

/// Everything but the pods' requests: it runs on the main thread.
async fn control(config: Config, ceiling: Option<Ceiling>) -> Result<(), AppError> {
    let (trigger, drain) = lifecycle::drain();
    let termination = lifecycle::termination();
    tokio::pin!(termination);
    let workers = tokio::select! {
        started = start(config, ceiling, drain) => started?,
        signal = &mut termination => {
            tracing::info!("{}: leaving before anything was served", signal?);
            return Ok(());
        }
    };
    let signal = termination.await?;
    tracing::info!("{signal}: leaving; the interception rules stay");
    trigger.start();
    let finished = tokio::task::spawn_blocking(move || {
        workers.into_iter().all(|worker| worker.join().is_ok())
    });
    if tokio::time::timeout(DRAIN_TIME, finished).await.is_err() {
        tracing::warn!("requests are still in flight after {DRAIN_TIME:?}: leaving all the same");
    }
    Ok(())
}

/// Starts every part, in the order in which they need each other, and gives the data workers.
async fn start(
    config: Config,
    ceiling: Option<Ceiling>,
    drain: Drain,
) -> Result<Vec<JoinHandle<()>>, AppError> {
    let metrics = Arc::new(Metrics::new()?);
    let readiness = Readiness::default();
    for finding in config.findings() {
        readiness.set_finding(finding.code, Some(finding.text.to_owned()));
    }
    let clock = Clock::system();
    let upstream = Arc::new(Upstream::new(&config.metadata.address)?);
    let tokens = Tokens::open(config.state_dir.as_deref())?;
    let answers = Arc::new(OnceLock::new());
    serve_admin(&config, &readiness, &metrics, &answers).await?;

    // Registered before anything is waited for, so that /readyz never says "ok" too early.
    let pods_known = readiness.condition("pods");
    let node_credentials = readiness.condition("node-credentials");
    let rules_in_place = readiness.condition("interception");

    let rules = discover(&config, &upstream, &readiness.condition("instance-profile")).await?;
    let policy = Arc::new(Policy::new(rules));
    let rules_changed = follow_ceiling(&config, ceiling, &policy, &readiness);
    let deciding = Arc::clone(&policy);
    let (index, pods) = Index::judging(move |pod, around| deciding.judge(pod, around));

    let sts = Arc::new(Sts::new(
        sts::Settings {
            region: config.sessions.region.clone(),
            metadata_address: Some(config.metadata.address.clone()),
        },
        clock.clone(),
    ));
    let credentials = Credentials::new(
        Arc::clone(&sts) as _,
        clock.clone(),
        Terms {
            refresh_age: config.sessions.refresh_age,
            error_ttl: config.sessions.error_ttl,
        },
        Arc::clone(&metrics) as _,
        Handle::current(),
    );
    let imds = Arc::new(Imds {
        pods: pods.clone(),
        policy,
        credentials: credentials.clone(),
        tokens,
        upstream,
        allow: AllowList::new(&config.metadata),
        imdsv2: config.metadata.imdsv2,
        node: config.node.clone(),
        access_log: config.logs.access,
        metrics: Arc::clone(&metrics),
        clock: clock.clone(),
    });
    let _ = answers.set(Arc::clone(&imds));

    tokio::spawn(report::audited(pods.clone()));
    tokio::spawn(follow_pods(pods, credentials, Arc::clone(&metrics)));
    tokio::spawn(check_node_credentials(sts, node_credentials));
    let workers = start_workers(&config, &imds, &drain)?;
    tokio::spawn(intercept(
        config.interception.clone(),
        config.listen.clone(),
        rules_in_place,
    ));

    let (status, seen) = channel::channel(SourceStatus::expecting(&config.annotations));
    tokio::spawn(report::source(seen, pods_known, metrics, clock.clone()));
    tokio::spawn(async move {
        let Config {
            node,
            pods,
            annotations,
            ..
        } = config;
        watch::run(
            &pods,
            node.name.as_deref(),
            &annotations,
            &clock,
            index,
            status,
            rules_changed,
        )
        .await;
    });
    Ok(workers)
}

/// Puts the ceiling in force and follows its file. The channel's changes are those of the ceiling.
fn follow_ceiling(
    config: &Config,
    ceiling: Option<Ceiling>,
    policy: &Arc<Policy>,
    readiness: &Readiness,
) -> channel::Receiver<()> {
    let (rules, changed) = channel::channel(());
    if let Some((path, ceiling)) = config.roles.ceiling.clone().zip(ceiling) {
        policy.set_ceiling(Some(ceiling.clone()));
        let (policy, readiness) = (Arc::clone(policy), readiness.clone());
        tokio::spawn(ceiling::follow(path, ceiling, policy, readiness, rules));
    }
    changed
}

async fn serve_admin(
    config: &Config,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
    answers: &Arc<OnceLock<Arc<Imds>>>,
) -> Result<(), AppError> {
    let address = config.listen.admin;
    let failed = AppError::listen(address, "administration", "--metrics-port");
    let listener = TcpListener::bind(address).await.map_err(&failed)?;
    tracing::info!(address = %listener.local_addr().map_err(&failed)?, "the admin socket listens");
    let admin = Arc::new(Admin {
        readiness: readiness.clone(),
        metrics: Arc::clone(metrics),
        imds: Arc::clone(answers),
        debug_store: config.listen.debug_store,
    });
    tokio::spawn(admin::serve(listener, admin));
    Ok(())
}

fn start_workers(
    config: &Config,
    imds: &Arc<Imds>,
    drain: &Drain,
) -> Result<Vec<JoinHandle<()>>, AppError> {
    let mut workers: Vec<Vec<_>> = Vec::new();
    workers.resize_with(config.listen.data_workers, Vec::new);
    let v4 = (config.listen.pods, "--app-port and --host-ip");
    let v6 = config
        .listen
        .pods_v6
        .map(|address| (address.into(), "--app-port and --host-ip6"));
    for (address, flag) in std::iter::once(v4).chain(v6) {
        let failed = AppError::listen(address, "pods", flag);
        let listeners = server::bind(address, workers.len()).map_err(&failed)?;
        for (worker, listener) in workers.iter_mut().zip(listeners) {
            tracing::info!(address = %listener.local_addr().map_err(&failed)?, "the pods' socket listens");
            worker.push(listener);
        }
    }
    let start = |(number, listeners)| {
        server::start_worker(number, listeners, Arc::clone(imds), drain.clone())
    };
    Ok(workers
        .into_iter()
        .enumerate()
        .map(start)
        .collect::<Result<_, _>>()?)
}

/// The rules of decision, with what the real metadata service has to be asked for. Asks until it answers.
async fn discover(
    config: &Config,
    upstream: &Upstream,
    condition: &Condition,
) -> Result<authorize::Rules, AppError> {
    let base = match &config.roles.base {
        Discoverable::Absent => None,
        Discoverable::Given(base) => Some(base.clone()),
        Discoverable::Discover => Some(insist(condition, "base ARN", || upstream.base_arn()).await),
    };
    let default_role = match &config.roles.default_role {
        Discoverable::Absent => None,
        Discoverable::Given(role) => Some(role.clone()),
        Discoverable::Discover => {
            Some(insist(condition, "default role", || upstream.node_role_name()).await)
        }
    };
    let default_role = default_role
        .map(|value| {
            RoleArn::complete(&value, base.as_ref())
                .map_err(|source| AppError::DefaultRole { value, source })
        })
        .transpose()?;
    condition.met();
    Ok(rules(config, base, default_role))
}

/// The rules of decision, once it is known what has to be discovered.
pub(crate) fn rules(
    config: &Config,
    base: Option<BaseArn>,
    default_role: Option<RoleArn>,
) -> authorize::Rules {
    authorize::Rules {
        base,
        default_role,
        sources: config.roles.sources.clone(),
        restrictions: config.roles.namespace_restrictions,
        enforcement: config.roles.enforcement,
        permitted: config.roles.permitted,
        naming: config.sessions.naming,
        session_duration: config.sessions.duration,
        host_ip: config.node.host_ip,
        keys: config.annotations.clone(),
    }
}

/// Asks until there is an answer, and says meanwhile what is missing.
async fn insist<T, F>(condition: &Condition, what: &str, ask: impl Fn() -> F) -> T
where
    F: Future<Output = Result<Option<T>, UpstreamError>>,
{
    loop {
        match ask().await {
            Ok(Some(answer)) => return answer,
            Ok(None) => condition.missing(format!(
                "no {what} to discover: the instance has no instance profile; attach one or give it by its flag"
            )),
            Err(error) => condition.missing(format!("the {what} is not discovered: {}", Chain(&error))),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Tells the credentials which grants are wanted, whenever the pods have changed.
async fn follow_pods(pods: Reader<Grant>, credentials: Credentials, metrics: Arc<Metrics>) {
    let mut generations = pods.generations();
    while generations.changed().await.is_ok() {
        let snapshot = pods.snapshot();
        metrics.set_pods(snapshot.pods().len());
        credentials.set_wanted(snapshot.wanted().cloned());
    }
}

/// Looks whether the node's own credentials can be had: often until they can, then once a minute.
async fn check_node_credentials(sts: Arc<Sts>, condition: Condition) {
    loop {
        let pause = match sts.node_identity_usable().await {
            Ok(()) => {
                condition.met();
                NODE_CREDENTIALS_CHECK
            }
            Err(error) => {
                condition.missing(error.to_string());
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Writes the rules, now that the port listens, until the kernel takes them. They stay when the agent leaves.
async fn intercept(interception: Interception, listen: Listen, condition: Condition) {
    let interfaces = match interception {
        Interception::None => return condition.met(),
        Interception::Nftables(interfaces) => interfaces,
    };
    let SocketAddr::V4(target) = listen.pods else {
        return condition.missing("--intercept=nftables needs an IPv4 --host-ip to send pods to");
    };
    let rules = Rules {
        target_v6: listen.pods_v6,
        ..Rules::new(METADATA_V4, target, interfaces)
    };
    loop {
        let rules = rules.clone();
        match tokio::task::spawn_blocking(move || nftables::install(&rules)).await {
            Ok(Ok(outcome)) => {
                tracing::info!(?outcome, "interception rules");
                return condition.met();
            }
            Ok(Err(error)) => {
                condition.missing(format!("the rules are not in place: {}", Chain(&error)));
            }
            Err(error) => {
                condition.missing(format!("the rules are not in place: {error}"));
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

impl Observer for Metrics {
    fn assume_finished(&self, role: &RoleArn, code: &'static str, took: Duration) {
        self.assume_role(role.as_str(), code, took);
    }

    fn cache_hit(&self, role: &RoleArn) {
        self.cache_hits(role.as_str()).inc();
    }
}
