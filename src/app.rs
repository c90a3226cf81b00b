//! The only file that knows everyone: it makes the parts, gives each what it needs, and ends them in order.

mod admission;
mod capture;
mod ceiling;
mod discover;
mod ports;
mod report;
mod sessions;

pub(crate) use discover::decision_rules;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use podiam_iam::CompleteError;
use thiserror::Error;
use tokio::sync::watch as channel;

use crate::admin::About;
use crate::authorize::{Ceiling, Grant, Policy};
use crate::clock::Clock;
use crate::config::{Config, LogFormat, PodSource};
use crate::credentials::Credentials;
use crate::events::{self, Events};
use crate::imds::Imds;
use crate::imds::allow::AllowList;
use crate::imds::token::{KeyError, Tokens};
use crate::index::{Index, Reader};
use crate::lifecycle::{self, Condition, Drain, Readiness};
use crate::metrics::Metrics;
use crate::selftest::{NoRandom, Prover};
use crate::sts::Sts;
use crate::taint;
use crate::telemetry;
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
    /// The self-test has no key.
    #[error("the self-test cannot have a key")]
    SelfTestKey(#[from] NoRandom),
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
    tell_findings(&config, &readiness);
    let clock = Clock::system();
    let upstream = Arc::new(Upstream::new(&config.metadata.address)?);
    let tokens = Tokens::open(config.state_dir.as_deref())?;
    let prover = Arc::new(Prover::new()?);
    let answers = Arc::new(OnceLock::new());
    let ports = ports::bind(&config.listen)?;
    let (status, seen) = channel::channel(SourceStatus::expecting(&config.annotations));
    let about = About::new(&config, clock.clone(), seen.clone());
    ports::serve_admin(&config, about, &readiness, &metrics, &answers, &drain)?;

    // Registered before anything is waited for, so that /readyz never says "ok" too early.
    let pods_known = readiness.condition("pods");
    let node_credentials = readiness.condition("node-credentials");
    let listening = readiness.condition("pods-port");
    let rules_in_place = readiness.condition("interception");
    let instance_profile = readiness.condition("instance-profile");
    let told_apart = readiness.condition("identity");
    let self_test = config
        .startup
        .self_test_interval
        .map(|interval| (interval, readiness.condition("self-test")));

    if let Some(taint) = config.startup.taint.clone() {
        tokio::spawn(taint::remove_when_ready(taint, readiness.clone()));
    }

    let rules = discover::rules(&config, &upstream, &instance_profile).await?;
    let policy = Arc::new(Policy::new(rules));
    let rules_changed = follow_ceiling(&config, ceiling, &policy, &readiness);
    let deciding = Arc::clone(&policy);
    let (index, pods) = Index::judging(move |pod, around| deciding.judge(pod, around));

    let sts = sessions::client(&config, &clock);
    let credentials = sessions::engine(&config.sessions, &sts, &clock, &metrics, &pods);
    let events = tell_of(&config, &pods, &metrics);
    let identity = admission::identity(&config, pods.clone(), told_apart)?;
    let imds = Arc::new(Imds {
        pods: pods.clone(),
        identity,
        policy,
        credentials: credentials.clone(),
        tokens,
        prover: Arc::clone(&prover),
        upstream,
        allow: AllowList::new(&config.metadata),
        imdsv2: config.metadata.imdsv2,
        node: config.node.clone(),
        shares: admission::shares(config.limits),
        access_log: config.logs.access,
        events,
        metrics: Arc::clone(&metrics),
        clock: clock.clone(),
    });
    let _ = answers.set(Arc::clone(&imds));

    tokio::spawn(report::audited(pods.clone()));
    if let Some((interval, condition)) = self_test {
        let (config, pods, readiness, metrics) = (
            config.clone(),
            pods.clone(),
            readiness.clone(),
            Arc::clone(&metrics),
        );
        tokio::spawn(async move {
            capture::self_test(
                &config, interval, prover, pods, condition, readiness, metrics,
            )
            .await;
        });
    }
    tokio::spawn(follow_pods(
        pods.clone(),
        credentials.clone(),
        Arc::clone(&metrics),
    ));
    tokio::spawn(check_node_credentials(sts, node_credentials));
    tokio::spawn(report::source(
        seen.clone(),
        pods_known,
        Arc::clone(&metrics),
        clock.clone(),
    ));
    tokio::spawn(watch_pods(
        config.clone(),
        clock,
        index,
        status,
        rules_changed,
        Arc::clone(&metrics),
    ));

    ports::wait_for_turn(&ports, seen, &pods, &credentials, &listening).await;
    let workers = ports::start_workers(ports, config.listen.data_workers, &imds, &drain)?;
    listening.met();
    tokio::spawn(capture::intercept(
        config.interception,
        config.listen,
        rules_in_place,
        metrics,
    ));
    Ok(workers)
}

/// What of the configuration leaves a door open, in the log and in /readyz.
fn tell_findings(config: &Config, readiness: &Readiness) {
    for finding in config.findings() {
        tracing::warn!(finding = finding.code, "{}", finding.text);
        readiness.set_finding(finding.code, Some(finding.text.to_owned()));
    }
}

/// Where refusals are told: at the pods, where they are of a cluster.
fn tell_of(config: &Config, pods: &Reader<Grant>, metrics: &Arc<Metrics>) -> Events {
    match &config.pods {
        PodSource::Kubernetes(access) if config.logs.events => {
            let node = config.node.name.as_deref();
            let events = Events::start(access.clone(), node, Arc::clone(metrics));
            tokio::spawn(events::follow(pods.clone(), events.clone()));
            events
        }
        _ => Events::off(),
    }
}

async fn watch_pods(
    config: Config,
    clock: Clock,
    index: Index<Grant>,
    status: channel::Sender<SourceStatus>,
    rules: channel::Receiver<()>,
    metrics: Arc<Metrics>,
) {
    let Config {
        node,
        pods,
        annotations,
        cri_socket,
        ..
    } = config;
    let local = watch::Local {
        name: node.name.as_deref(),
        runtime: cri_socket.map(|socket| watch::Runtime { socket, metrics }),
    };
    watch::run(&pods, local, &annotations, &clock, index, status, rules).await;
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

/// Tells the credentials which grants are wanted, and which are worth another try, whenever the pods have changed.
async fn follow_pods(pods: Reader<Grant>, credentials: Credentials, metrics: Arc<Metrics>) {
    let mut generations = pods.generations();
    let mut last = pods.snapshot();
    while generations.changed().await.is_ok() {
        let snapshot = pods.snapshot();
        metrics.set_pods(snapshot.pods().len());
        credentials.set_wanted(snapshot.wanted().cloned());
        credentials.reconsider(snapshot.changed_since(&last));
        last = snapshot;
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
