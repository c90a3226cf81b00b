//! The only file that knows everyone: it makes the parts, gives each what it needs, and ends them in order.

mod report;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use podiam_iam::{CompleteError, RoleArn};
use podiam_intercept::{METADATA_V4, Rules, probe};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch as channel;

use crate::admin::{self, Admin};
use crate::authorize::{self, Grant, Policy};
use crate::clock::Clock;
use crate::config::{Config, Discoverable, Interception, Limits, Listen, LogFormat};
use crate::credentials::{Credentials, Observer, Terms};
use crate::handover::{self, Port};
use crate::identity::{self, Identity};
use crate::imds::allow::AllowList;
use crate::imds::limits::Shares;
use crate::imds::token::{KeyError, Tokens};
use crate::imds::{Imds, server};
use crate::index::{Index, Reader};
use crate::interception;
use crate::lifecycle::{self, Condition, Drain, Readiness};
use crate::metrics::Metrics;
use crate::selftest::{self, NoRandom, Prover};
use crate::sts::{self, Sts};
use crate::taint;
use crate::telemetry::{self, Chain};
use crate::upstream::{Upstream, UpstreamError};
use crate::watch::{self, SourceStatus};

/// How long the agent waits for requests in flight before it leaves.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// Between two attempts at something that must succeed before the agent is ready.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks at whether it is this process's turn to answer pods.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Between two looks at whether the node's own credentials can be had.
const NODE_CREDENTIALS_CHECK: Duration = Duration::from_mins(1);

/// Files of the agent that are no pod's connection: a socket for each pod's namespace, watches, STS, logs.
const OTHER_FILES: usize = 640;

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

/// Runs the agent until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), AppError> {
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
        .block_on(control(config))
}

/// Everything but the pods' requests: it runs on the main thread.
async fn control(config: Config) -> Result<(), AppError> {
    let (trigger, drain) = lifecycle::drain();
    let termination = lifecycle::termination();
    tokio::pin!(termination);
    let workers = tokio::select! {
        started = start(config, drain) => started?,
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
async fn start(config: Config, drain: Drain) -> Result<Vec<JoinHandle<()>>, AppError> {
    let metrics = Arc::new(Metrics::new()?);
    let readiness = Readiness::default();
    let clock = Clock::system();
    let upstream = Arc::new(Upstream::new(&config.metadata.address)?);
    let tokens = Tokens::open(config.state_dir.as_deref())?;
    let prover = Arc::new(Prover::new()?);
    let answers = Arc::new(OnceLock::new());
    let ports = bind(&config.listen)?;
    serve_admin(&config, &readiness, &metrics, &answers, &drain)?;

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

    let rules = discover(&config, &upstream, &instance_profile).await?;
    let policy = Arc::new(Policy::new(rules));
    let deciding = Arc::clone(&policy);
    let (index, pods) = Index::new(move |pod, namespace| deciding.decide(pod, namespace));

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
    let is_intercepted = config.interception.mode.writes_rules();
    let identity = Arc::new(Identity::new(config.identity, is_intercepted)?);
    let imds = Arc::new(Imds {
        pods: pods.clone(),
        identity: Arc::clone(&identity),
        policy,
        credentials: credentials.clone(),
        tokens,
        prover: Arc::clone(&prover),
        upstream,
        allow: AllowList::new(&config.metadata),
        imdsv2: config.metadata.imdsv2,
        node: config.node.clone(),
        shares: Arc::new(Shares::new(limits(config.limits))),
        access_log: config.logs.access,
        metrics: Arc::clone(&metrics),
        clock: clock.clone(),
    });
    let _ = answers.set(Arc::clone(&imds));

    if let Some((interval, condition)) = self_test {
        let setup = self_test_setup(&config, prover, pods.clone(), interval);
        let (readiness, metrics) = (readiness.clone(), Arc::clone(&metrics));
        tokio::spawn(async move {
            // Before that it could only find what is known: pods' requests do not get here yet.
            readiness.hold(&["pods-port", "interception"]).await;
            selftest::run(setup, condition, metrics).await;
        });
    }
    tokio::spawn(follow_pods(
        pods.clone(),
        credentials.clone(),
        Arc::clone(&metrics),
    ));
    tokio::spawn(identity::follow(identity, pods.clone(), told_apart));
    tokio::spawn(check_node_credentials(sts, node_credentials));
    let (status, seen) = channel::channel(SourceStatus::default());
    tokio::spawn(report::source(
        seen.clone(),
        pods_known,
        Arc::clone(&metrics),
        clock.clone(),
    ));
    tokio::spawn(watch_pods(config.clone(), clock, index, status));

    wait_for_turn(&ports, seen, &pods, &credentials, &listening).await;
    let workers = start_workers(ports, config.listen.data_workers, &imds, &drain)?;
    listening.met();
    tokio::spawn(intercept(
        config.interception,
        config.listen,
        rules_in_place,
        metrics,
    ));
    Ok(workers)
}

/// The limits, with no more connections than the process may have files: those left over are for everything else.
fn limits(asked: Limits) -> Limits {
    let files = lifecycle::raise_files().unwrap_or_else(|error| {
        tracing::warn!("how many files the process may have is not known: {error}");
        u64::MAX
    });
    let possible = usize::try_from(files)
        .unwrap_or(usize::MAX)
        .saturating_sub(OTHER_FILES)
        .max(OTHER_FILES);
    if possible < asked.connections {
        let asked = asked.connections;
        tracing::warn!(
            asked,
            possible,
            "--max-connections is more than the process's limit of files allows"
        );
    }
    Limits {
        connections: asked.connections.min(possible),
        ..asked
    }
}

fn self_test_setup(
    config: &Config,
    prover: Arc<Prover>,
    known: Reader<Grant>,
    interval: Duration,
) -> selftest::Setup {
    let (address, own) = (config.listen.pods, config.listen.data_workers);
    selftest::Setup {
        prover,
        is_pod: Arc::new(move |address| known.lookup(address).is_settled()),
        covers_own: covers(&config.interception, probe::OWN_INTERFACE),
        is_shared: Arc::new(move || handover::others(address, own) > 0),
        interval,
    }
}

async fn watch_pods(
    config: Config,
    clock: Clock,
    index: Index<Grant>,
    status: channel::Sender<SourceStatus>,
) {
    let Config {
        node,
        pods,
        annotations,
        ..
    } = config;
    let name = node.name.as_deref();
    watch::run(&pods, name, &annotations, &clock, index, status).await;
}

/// The pods' ports, one for each address family. They do not listen yet.
fn bind(listen: &Listen) -> Result<Vec<Port>, AppError> {
    let v6 = listen.pods_v6.map(SocketAddr::from);
    std::iter::once(listen.pods)
        .chain(v6)
        .map(|address| Port::bind(address, listen.data_workers).map_err(listen_failed(address)))
        .collect()
}

fn listen_failed(address: SocketAddr) -> impl Fn(io::Error) -> AppError {
    AppError::listen(address, "pods", "--app-port, --host-ip and --host-ip6")
}

/// Where nobody answers pods, at once: a pod that is not known yet is waited for on its request. Where another process
/// does, as in an upgrade, only when this one can answer as well: it knows the pods, and STS has answered about each.
async fn wait_for_turn(
    ports: &[Port],
    source: channel::Receiver<SourceStatus>,
    pods: &Reader<Grant>,
    credentials: &Credentials,
    listening: &Condition,
) {
    let is_warm = || {
        source.borrow().is_synced()
            && pods
                .snapshot()
                .wanted()
                .all(|grant| credentials.is_tried(grant))
    };
    while ports.iter().any(Port::is_taken) && !is_warm() {
        listening.missing(
            "another process answers pods until this one knows them and their credentials",
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn serve_admin(
    config: &Config,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
    answers: &Arc<OnceLock<Arc<Imds>>>,
    drain: &Drain,
) -> Result<(), AppError> {
    let address = config.listen.admin;
    let failed = AppError::listen(address, "administration", "--metrics-port");
    let port = Port::bind(address, 1).map_err(&failed)?;
    let admin = Arc::new(Admin {
        readiness: readiness.clone(),
        metrics: Arc::clone(metrics),
        imds: Arc::clone(answers),
        debug_store: config.listen.debug_store,
    });
    for listener in port.listen(drain.clone()).map_err(&failed)? {
        tracing::info!(address = %listener.local_addr().map_err(&failed)?, "the admin socket listens");
        let listener = TcpListener::from_std(listener).map_err(&failed)?;
        tokio::spawn(admin::serve(listener, Arc::clone(&admin)));
    }
    Ok(())
}

fn start_workers(
    ports: Vec<Port>,
    data_workers: usize,
    imds: &Arc<Imds>,
    drain: &Drain,
) -> Result<Vec<JoinHandle<()>>, AppError> {
    let mut workers: Vec<Vec<_>> = Vec::new();
    workers.resize_with(data_workers, Vec::new);
    for port in ports {
        let failed = listen_failed(port.address());
        let listeners = port.listen(drain.clone()).map_err(&failed)?;
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
    Ok(authorize::Rules {
        base,
        default_role,
        restrictions: config.roles.namespace_restrictions,
        naming: config.sessions.naming,
        session_duration: config.sessions.duration,
        host_ip: config.node.host_ip,
        keys: config.annotations.clone(),
    })
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

/// Keeps the rules, now that the port listens. They stay when the agent leaves.
async fn intercept(
    interception: Interception,
    listen: Listen,
    condition: Condition,
    metrics: Arc<Metrics>,
) {
    let Interception { mode, interfaces } = interception;
    if !mode.writes_rules() {
        return condition.met();
    }
    let SocketAddr::V4(target) = listen.pods else {
        return condition.missing("--intercept needs an IPv4 --host-ip to send pods to");
    };
    let rules = Rules {
        target_v6: listen.pods_v6,
        ..Rules::new(METADATA_V4, target, interfaces)
    };
    let backend = podiam_intercept::open(mode);
    interception::keep(backend, rules, condition, metrics).await;
}

/// Whether podiam's rules intercept what comes in on an interface of this name.
fn covers(interception: &Interception, interface: &str) -> bool {
    interception.mode.writes_rules() && interception.interfaces.contains(interface)
}

impl Observer for Metrics {
    fn assume_finished(&self, role: &RoleArn, code: &'static str, took: Duration) {
        self.assume_role(role.as_str(), code, took);
    }

    fn cache_hit(&self, role: &RoleArn) {
        self.cache_hits(role.as_str()).inc();
    }
}
