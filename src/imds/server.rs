//! The pods' connections: accept, read the two ends of the connection, serve HTTP/1, drain. Each data worker is a thread
//! with a runtime and listeners of its own (`SO_REUSEPORT`), one for each address family, so that a request never changes
//! threads.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future::join_all;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::limits::Seat;
use super::prompt::PromptStream;
use super::{Connection, Imds, document};
use crate::identity::Facts;
use crate::lifecycle::Drain;

/// How long a client may take to send a request's headers, from their first byte on or from the connection's start.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// How long a connection may stay idle between requests: SDKs keep theirs in a pool, and one that is closed just as it
/// is used again is an error to them.
const IDLE_TIME: Duration = Duration::from_mins(1);
/// How long what was answered may wait to be read.
const UNREAD_TIME: Duration = Duration::from_secs(10);
/// How long a request that is one too many waits for its refusal: less than SDKs wait, more than a flood can use.
const TURNED_AWAY: Duration = Duration::from_millis(250);
/// The most that a request's headers may take.
const HEADER_BYTES: usize = 8 << 10;
/// While the agent is leaving: the silence after which no connection is on its way any more, and the longest wait for it.
const QUIET: Duration = Duration::from_millis(50);
const LAST_CONNECTIONS: Duration = Duration::from_secs(1);
/// A socket filter (classic BPF) that drops what would begin a connection and lets begun handshakes end: whatever has
/// SYN set in the flags of its TCP header. The client tries again after a second.
const NO_NEW_CONNECTIONS: [SockFilter; 4] = [
    // BPF_LD | BPF_B | BPF_ABS: the flags.
    SockFilter::new(0x30, 0, 0, 13),
    // BPF_JMP | BPF_JSET | BPF_K: SYN.
    SockFilter::new(0x45, 0, 1, 0x02),
    // BPF_RET | BPF_K: nothing of the packet, or all of it.
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];
/// While the agent is leaving: how long a kept connection may still ask its last question.
const LAST_REQUEST: Duration = Duration::from_secs(2);

/// Starts a data worker: a thread that serves `listeners` until `drain` is told and the last request is answered.
pub fn start_worker(
    number: usize,
    listeners: Vec<std::net::TcpListener>,
    imds: Arc<Imds>,
    drain: Drain,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name(format!("pods-{number}"))
        .spawn(move || {
            let serve = async |listener| match TcpListener::from_std(listener) {
                Ok(listener) => serve(listener, imds.clone(), drain.clone()).await,
                Err(error) => tracing::error!("the pods' listener cannot be used: {error}"),
            };
            runtime.block_on(join_all(listeners.into_iter().map(serve)));
        })
}

async fn serve(listener: TcpListener, imds: Arc<Imds>, mut drain: Drain) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Some(seat) = seat(&stream, peer, &imds) {
                        connections.spawn(serve_connection(stream, seat, imds.clone(), drain.clone()));
                    }
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
        if let Some(seat) = seat(&stream, peer, &imds) {
            connections.spawn(serve_connection(stream, seat, imds.clone(), drain.clone()));
        }
    })
    .await;
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Accepts what waits at the listener: closing it would reset those connections. Nothing new comes any more: a newer
/// process has taken over, or new connections wait for one until they are refused.
async fn accept_the_last(listener: &TcpListener, mut serve: impl FnMut(TcpStream, SocketAddr)) {
    if let Err(error) = SockRef::from(listener).attach_filter(&NO_NEW_CONNECTIONS) {
        tracing::debug!("new connections come until the end: {error}");
    }
    let end = Instant::now() + LAST_CONNECTIONS;
    while Instant::now() < end
        && let Ok(Ok((stream, peer))) = tokio::time::timeout(QUIET, listener.accept()).await
    {
        serve(stream, peer);
    }
}

/// Room for a connection. Where there is none, the client is told so, as far as it can be told without waiting, and the
/// connection ends when the caller drops it.
fn seat(stream: &TcpStream, peer: SocketAddr, imds: &Imds) -> Option<(SocketAddr, Seat)> {
    match imds.shares.seat(peer.ip().to_canonical()) {
        Ok(seat) => Some((peer, seat)),
        Err(reason) => {
            imds.metrics.refused(reason.code());
            let answer = format!(
                "HTTP/1.1 {} Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{reason}\n",
                reason.status(),
                reason.to_string().len() + 1
            );
            let _ = stream.try_write(answer.as_bytes());
            None
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    (peer, seat): (SocketAddr, Seat),
    imds: Arc<Imds>,
    mut drain: Drain,
) {
    let _open = imds.metrics.connection();
    let Ok(facts) = Facts::of(&stream, peer) else {
        return;
    };
    // Replies are one write each; waiting to fill a segment only delays them. An error leaves it as it was.
    let _ = stream.set_nodelay(true);
    // A client that asks and never reads would hold its connection for ever: no other timer sees it.
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_TIME));
    let connection = Connection {
        facts,
        peer: facts.peer.ip(),
        local: facts.local.ip(),
        pod: OnceLock::new(),
    };
    let leaving = drain.clone();
    let stream = PromptStream::new(stream, HEADER_TIME);
    let pending = stream.pending();
    let service = service_fn(|request: Request<Incoming>| {
        pending.end();
        let (imds, connection, leaving, seat) = (&imds, &connection, &leaving, &seat);
        async move {
            let reply = match seat.turn(connection.peer) {
                Ok(_turn) => imds.answer(connection, &request).await,
                Err(reason) => {
                    tokio::time::sleep(TURNED_AWAY).await;
                    imds.turn_away(&reason)
                }
            };
            // No body is ever read, so nothing that stands behind one is read as a request either.
            let is_last = leaving.is_requested() || !request.body().is_end_stream();
            let reply = if is_last {
                document::closing(reply)
            } else {
                reply
            };
            Ok::<_, Infallible>(reply)
        }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIME)
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
