//! The only file that knows everyone: it makes the parts, gives each what it needs, and ends them in order.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use podiam_iam::{BaseArn, RoleArn};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::admin::{self, Admin};
use crate::authorize::{self, Policy};
use crate::clock::Clock;
use crate::config::{Config, Discoverable, Interception};
use crate::credentials::Credentials;
use crate::imds::allow::AllowList;
use crate::imds::token::{KeyError, Tokens};
use crate::imds::{Imds, server};
use crate::index::{Index, Reader};
use crate::lifecycle::{self, Condition, Drain, Readiness};
use crate::metrics::Metrics;
use crate::sts::Sts;
use crate::telemetry::{self, Chain};
use crate::upstream::{Upstream, UpstreamError};
use crate::watch::{SourceStatus, Sync};

/// How long the agent waits for requests in flight before it leaves.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// Between two attempts at something that must succeed before the agent is ready.
const RETRY: Duration = Duration::from_secs(2);
/// Between two looks at whether the node's own credentials can be had.
const NODE_CREDENTIALS_CHECK: Duration = Duration::from_secs(60);

/// Why the agent cannot run.
#[derive(Debug, Error)]
pub enum AppError {
    /// A socket cannot be opened.
    #[error("cannot listen on {address} (--{flag})")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that names the port.
        flag: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The token key cannot be used.
    #[error("--state-dir")]
    TokenKey(#[from] KeyError),
    /// The metadata service's address is not one.
    #[error("--metadata-addr")]
    Upstream(#[from] UpstreamError),
    /// The metrics cannot be registered.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// The system refuses something every process may have.
    #[error("the system refuses a runtime, a thread or a signal handler")]
    System(#[from] io::Error),
}

/// Runs the agent until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), AppError> {
    telemetry::init(config.logs.format == crate::config::LogFormat::Json, config.logs.level);
    if let Err(error) = lifecycle::seal_memory() {
        tracing::warn!("core dumps cannot be turned off: {error}");
    }
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(control(config))
}
