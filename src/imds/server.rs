//! The pods' connections: accept, read the two ends of the connection, serve HTTP/1, drain. Each data worker is a thread
//! with a runtime and listeners of its own (`SO_REUSEPORT`), one for each address family, so that a request never changes
//! threads.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future::join_all;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use podiam_intercept::connection::ask_for_interfaces;
use socket2::{SockFilter, SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::limits::Seat;
use super::prompt::{Patience, PromptStream};
use super::{Connection, Imds, document};
use crate::identity::Facts;
use crate::lifecycle::Drain;

/// How long a client may take. SDKs keep idle connections in a pool, and one that is closed just as it is used again is an
/// error to them.
const PATIENCE: Patience = Patience {
    headers: Duration::from_secs(5),
    idle: Duration::from_mins(1),
};
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

/// What the connections of one listener share.
#[derive(Clone)]
struct Door {
    imds: Arc<Imds>,
    drain: Drain,
    /// The listener's address, where it is that of every connection.
    local: Option<SocketAddr>,
    /// Kept by every open connection; nothing is ever sent.
    open: mpsc::Sender<Infallible>,
}

async fn serve(listener: TcpListener, imds: Arc<Imds>, mut drain: Drain) {
    let (open, mut all_closed) = mpsc::channel(1);
    let door = Door {
        imds,
        drain: drain.clone(),
        local: listener
            .local_addr()
            .ok()
            .filter(|address| !address.ip().is_unspecified()),
        open,
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => door.admit(stream, peer),
                Err(error) => {
                    tracing::warn!("cannot accept a pod's connection: {error}");
                    // Out of descriptors, most likely: wait for some to close instead of spinning.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            () = drain.requested() => break,
        }
    }
    accept_the_last(&listener, |stream, peer| door.admit(stream, peer)).await;
    drop((listener, door));
    let _ = all_closed.recv().await;
}

/// Sets what every connection inherits from its listener: three system calls less for each. To be called before the
/// socket listens: a connection that waits already has inherited nothing. An error leaves it as it was.
pub fn set_up(socket: &Socket) {
    // Replies are one write each; waiting to fill a segment only delays them.
    let _ = socket.set_tcp_nodelay(true);
    // A client that asks and never reads would hold its connection for ever: no other timer sees it.
    let _ = socket.set_tcp_user_timeout(Some(UNREAD_TIME));
    if let Err(error) = ask_for_interfaces(socket) {
        tracing::warn!("the kernel does not tell where connections come in: {error}");
    }
}

impl Door {
    /// Serves a new connection, if there is room for it.
    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        if let Some(seat) = seat(&stream, peer, &self.imds) {
            tokio::spawn(serve_connection(stream, seat, self.clone()));
        }
    }
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

async fn serve_connection(stream: TcpStream, (peer, seat): (SocketAddr, Seat), door: Door) {
    let Door {
        imds,
        mut drain,
        local,
        open: _open,
    } = door;
    let _counted = imds.metrics.connection();
    let Some(local) = local.or_else(|| stream.local_addr().ok()) else {
        return;
    };
    let facts = Facts::of(&stream, peer, local);
    let connection = Connection {
        facts,
        peer: facts.peer.ip(),
        local: facts.local.ip(),
        pod: OnceLock::new(),
    };
    let leaving = drain.clone();
    let stream = PromptStream::new(stream, PATIENCE);
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
    let mut http = pin!(
        http1::Builder::new()
            .max_header_size(HEADER_BYTES)
            .max_buf_size(2 * HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut last_request_over = pin!(async {
        drain.requested().await;
        tokio::time::sleep(LAST_REQUEST).await;
    });
    let mut is_watched = false;
    let ended = poll_fn(|cx| {
        // A client that breaks off, or sends what is not HTTP, has been told by hyper; there is nobody else to tell.
        if http.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        // Looked at once, the drain wakes this task; until it has begun there is no need to look again.
        if is_watched && !leaving.is_requested() {
            return Poll::Pending;
        }
        is_watched = true;
        last_request_over.as_mut().poll(cx).map(|()| false)
    });
    if !ended.await {
        // A kept connection is not closed under a request that is on its way: the next answer says that it is the last.
        http.as_mut().graceful_shutdown();
        let _ = http.await;
    }
}
