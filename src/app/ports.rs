//! The agent's sockets: bound at the start, so that a conflict is told at once; listening when it is this process's turn.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::AppError;
use crate::admin::{self, About, Admin};
use crate::authorize::Grant;
use crate::config::{Config, Listen};
use crate::credentials::Credentials;
use crate::handover::Port;
use crate::imds::{Imds, server};
use crate::index::Reader;
use crate::lifecycle::{Condition, Drain, Readiness};
use crate::metrics::Metrics;
use crate::watch::SourceStatus;

/// Between two looks at whether it is this process's turn to answer pods.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The finding that the admin socket is not on loopback.
const LOOPBACK_TAKEN: &str = "admin-loopback-taken";

/// The pods' ports, one for each address family. They do not listen yet.
pub(super) fn bind(listen: &Listen) -> Result<Vec<Port>, AppError> {
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
pub(super) async fn wait_for_turn(
    ports: &[Port],
    source: watch::Receiver<SourceStatus>,
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

/// Serves the admin socket from now on. Its address is one that somebody else may not have; that the same port of
/// loopback is another program's is a finding and not the end: whoever asks there can ask here.
pub(super) fn serve_admin(
    config: &Config,
    about: About,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
    answers: &Arc<OnceLock<Arc<Imds>>>,
    drain: &Drain,
) -> Result<(), AppError> {
    let listen = &config.listen;
    let admin = Arc::new(Admin {
        readiness: readiness.clone(),
        metrics: Arc::clone(metrics),
        imds: Arc::clone(answers),
        debug_store: listen.debug_store,
        about,
    });
    let failed = AppError::listen(listen.admin, "administration", "--metrics-port");
    listen_for_admin(listen.admin, &admin, drain).map_err(failed)?;
    if let Some(address) = listen.admin_loopback
        && let Err(error) = listen_for_admin(address, &admin, drain)
    {
        let text = format!(
            "{address} cannot be listened at ({error}), so `podiam status` needs --agent=http://{}; see --metrics-port",
            listen.admin
        );
        tracing::warn!(finding = LOOPBACK_TAKEN, "{text}");
        readiness.set_finding(LOOPBACK_TAKEN, Some(text));
    }
    Ok(())
}

fn listen_for_admin(address: SocketAddr, admin: &Arc<Admin>, drain: &Drain) -> io::Result<()> {
    for listener in Port::bind(address, 1)?.listen(drain.clone())? {
        tracing::info!(address = %listener.local_addr()?, "the admin socket listens");
        let listener = TcpListener::from_std(listener)?;
        tokio::spawn(admin::serve(listener, Arc::clone(admin)));
    }
    Ok(())
}

/// Listens for pods, with a thread for each data worker.
pub(super) fn start_workers(
    ports: Vec<Port>,
    data_workers: usize,
    imds: &Arc<Imds>,
    drain: &Drain,
) -> Result<Vec<JoinHandle<()>>, AppError> {
    let mut workers: Vec<Vec<_>> = Vec::new();
    workers.resize_with(data_workers, Vec::new);
    for port in ports {
        let failed = listen_failed(port.address());
        port.sockets().iter().for_each(server::set_up);
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
