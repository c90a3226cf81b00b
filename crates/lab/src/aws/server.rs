//! The HTTP side that both services share: accept, read a request whole, hand it to a [`Face`], send its reply.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A request, read whole.
pub(super) struct Received {
    pub(super) peer: SocketAddr,
    pub(super) method: Method,
    /// The request target as it was sent.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Received {
    /// A header as text; `None` where it is absent or no text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What becomes of a request.
pub(super) enum Outcome {
    /// An answer.
    Answer(Response<Full<Bytes>>),
    /// The connection is reset.
    Reset,
}

impl Outcome {
    /// An answer out of its parts. A header that is not one is left out: only the lab's own constants come here.
    pub(super) fn answer(
        status: u16,
        content_type: &'static str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Self {
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(*name), HeaderValue::try_from(*value))
            {
                response.headers_mut().insert(name, value);
            }
        }
        Self::Answer(response)
    }

    /// The answer's status; `None` where there is none.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Answer(response) => Some(response.status().as_u16()),
            Self::Reset => None,
        }
    }
}

/// One of the services, as the server sees it.
pub(super) trait Face: Send + Sync + 'static {
    /// Answers a request.
    fn answer(&self, request: Received) -> impl Future<Output = Outcome> + Send;
}

/// Accepts for ever, in the clear or by TLS. Dropping the future ends every connection.
pub(super) async fn serve<F: Face>(listener: TcpListener, tls: Option<TlsAcceptor>, face: Arc<F>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => { connections.spawn(connection(stream, tls.clone(), peer, Arc::clone(&face))); }
                // Out of descriptors, or a client that left at once: neither is helped by trying harder.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection to its end, however that comes.
async fn connection<F: Face>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    peer: SocketAddr,
    face: Arc<F>,
) {
    // A second handle on the socket, to reset it under hyper's hands.
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else {
        return;
    };
    let socket = Arc::new(socket);
    let _ = stream.set_nodelay(true);
    let service =
        service_fn(move |request| exchange(request, peer, Arc::clone(&face), Arc::clone(&socket)));
    let http = hyper::server::conn::http1::Builder::new();
    // A client that breaks off is no error of the lab's.
    match tls {
        None => drop(http.serve_connection(TokioIo::new(stream), service).await),
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                drop(http.serve_connection(TokioIo::new(stream), service).await);
            }
        }
    }
}

async fn exchange<F: Face>(
    request: Request<Incoming>,
    peer: SocketAddr,
    face: Arc<F>,
    socket: Arc<OwnedFd>,
) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let request = Received {
        peer,
        method: head.method,
        target: head.uri.to_string(),
        headers: head.headers,
        body,
    };
    match face.answer(request).await {
        Outcome::Answer(response) => Ok(response),
        Outcome::Reset => {
            SockRef::from(&*socket).set_linger(Some(Duration::ZERO))?;
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
}
