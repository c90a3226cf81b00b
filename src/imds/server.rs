//! The pods' connections: accept, read the two ends of the connection, serve HTTP/1, drain. Each data worker is a thread with
//! a runtime and a listener of its own (`SO_REUSEPORT`), so that a request never changes threads.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Connection, Imds};
use crate::lifecycle::Drain;

/// How long a client may take to send its request's headers; also how long a connection may stay idle.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// What tells a client that its connection ends with this answer.
const CLOSE: HeaderValue = HeaderValue::from_static("close");
/// The most that a request's headers may take.
const HEADER_BYTES: usize = 8 << 10;
/// While the agent is leaving: the silence after which no connection is on its way any more, and the longest wait for it.
const QUIET: Duration = Duration::from_millis(50);
const LAST_CONNECTIONS: Duration = Duration::from_secs(1);
/// While the agent is leaving: how long a kept connection may still ask its last question.
const LAST_REQUEST: Duration = Duration::from_secs(2);

/// Starts a data worker: a thread that serves `listener` until `drain` is told and the last request is answered.
pub fn start_worker(
    number: usize,
    listener: std::net::TcpListener,
    imds: Arc<Imds>,
    drain: Drain,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name(format!("pods-{number}"))
        .spawn(move || {
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener, imds, drain).await,
                    Err(error) => tracing::error!("the pods' listener cannot be used: {error}"),
                }
            });
        })
}

async fn serve(listener: TcpListener, imds: Arc<Imds>, mut drain: Drain) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve_connection(stream, peer, imds.clone(), drain.clone()));
                }
                Err(error) => {
                    tracing::warn!("cannot accept a pod's connection: {error}");
                    // Out of descriptors, most likely: wait for some to close instead of spinning.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = drain.requested() => break,
        }
    }
    accept_the_last(&listener, |stream, peer| {
        connections.spawn(serve_connection(stream, peer, imds.clone(), drain.clone()));
    })
    .await;
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Accepts what waits at the listener: closing it would reset those connections. Nothing new comes where a newer process
/// has taken over; else this ends all the same.
async fn accept_the_last(listener: &TcpListener, mut serve: impl FnMut(TcpStream, SocketAddr)) {
    let end = Instant::now() + LAST_CONNECTIONS;
    while Instant::now() < end
        && let Ok(Ok((stream, peer))) = tokio::time::timeout(QUIET, listener.accept()).await
    {
        serve(stream, peer);
    }
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, imds: Arc<Imds>, mut drain: Drain) {
    let _open = imds.metrics.connection();
    let Ok(local) = stream.local_addr() else {
        return;
    };
    // Replies are one write each; waiting to fill a segment only delays them. An error leaves it as it was.
    let _ = stream.set_nodelay(true);
    let connection = Connection {
        peer: peer.ip().to_canonical(),
        local: local.ip().to_canonical(),
        pod: OnceLock::new(),
    };
    let leaving = drain.clone();
    let service = service_fn(|request| {
        let (imds, connection, leaving) = (&imds, &connection, &leaving);
        async move {
            let mut reply = imds.answer(connection, &request).await;
            if leaving.is_requested() {
                reply.headers_mut().insert(CONNECTION, CLOSE);
            }
            Ok::<_, Infallible>(reply)
        }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_header_size(HEADER_BYTES)
        .max_buf_size(2 * HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(http);
    tokio::select! {
        // A client that breaks off, or sends what is not HTTP, has been told by hyper; there is nobody else to tell.
        _ = &mut http => return,
        // A kept connection is not closed under a request that is on its way: the next answer says that it is the last.
        () = async {
            drain.requested().await;
            tokio::time::sleep(LAST_REQUEST).await;
        } => http.as_mut().graceful_shutdown(),
    }
    let _ = http.await;
}
