//! The only file that knows everyone: it makes the parts, gives each what it needs, and ends them in order.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use podiam_iam::{BaseArn, RoleArn};
use podiam_intercept::{Rules, nftables};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch as channel;

use crate::admin::{self, Admin};
use crate::authorize::{self, Grant, Policy};
use crate::clock::Clock;
use crate::config::{Config, Discoverable, Interception, LogFormat, Metadata};
use crate::credentials::{Credentials, Observer, Terms};
use crate::imds::allow::AllowList;
use crate::imds::token::{KeyError, Tokens};
use crate::imds::{Imds, server};
use crate::index::{Index, Reader};
use crate::lifecycle::{self, Condition, Readiness};
use crate::metrics::Metrics;
use crate::sts::{self, Sts};
use crate::telemetry::{self, Chain};
use crate::upstream::{Upstream, UpstreamError};
use crate::watch::{self, Resource, SourceStatus, SyncState};

/// How long the agent waits for requests in flight before it leaves.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// Between two attempts at something that must succeed before the agent is ready.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks at whether the node's own credentials can be had.
const NODE_CREDENTIALS_CHECK: Duration = Duration::from_secs(60);

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
    /// The default role, completed by the base ARN that was discovered, is not a role.
    #[error("--default-role={value} cannot be used")]
    DefaultRole {
        /// What was given or discovered.
        value: String,
        /// What is wrong with it.
        source: podiam_iam::ArnError,
    },
    /// A default role by name, and no base ARN to complete it.
    #[error("--default-role={value} is a name; it needs --base-role-arn or --auto-discover-base-arn to complete it")]
    DefaultRoleWithoutBase {
        /// What was given or discovered.
        value: String,
    },
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
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(control(config))
}

/// Everything but the pods' requests: it runs on the main thread.
async fn control(config: Config) -> Result<(), AppError> {
    let termination = lifecycle::termination()?;
    let metrics = Arc::new(Metrics::new()?);
    let readiness = Readiness::default();
    let clock = Clock::system();
    let upstream = Arc::new(Upstream::new(&config.metadata.address)?);
    let tokens = Tokens::open(config.state_dir.as_deref())?;

    let answers = Arc::new(OnceLock::new());
    serve_admin(&config, &readiness, &metrics, &answers).await?;
    let serving = serve(config, readiness, metrics, clock, upstream, tokens, answers);
    tokio::pin!(serving);
    let (trigger, drain) = lifecycle::drain();
    tokio::select! {
        ended = &mut serving => return ended.map(|_| ()),
        signal = termination => tracing::info!("{signal}: leaving; the interception rules stay"),
    }
    Ok(())
}
