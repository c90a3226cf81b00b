//! A server for tests: it answers each request by a function of it, or never, and remembers what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What the server does with a request.
pub(crate) enum Answer {
    /// It responds.
    With(Response<Full<Bytes>>),
    /// It leaves the client waiting.
    Never,
}

/// An answer of a status and a body.
pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Answer::With(response)
}

impl Answer {
    /// The same answer with one header more.
    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::With(response) = &mut self {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        self
    }
}

/// The server. It runs until the test's runtime ends.
pub(crate) struct Responder {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Responder {
    /// Listens on a free port of the loopback and answers every request by `respond`.
    pub(crate) async fn start<F>(respond: F) -> Self
    where
        F: Fn(&Received) -> Answer + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&received);
        let respond = Arc::new(respond);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, respond) = (Arc::clone(&log), Arc::clone(&respond));
                let service = service_fn(move |request| {
                    let (log, respond) = (Arc::clone(&log), Arc::clone(&respond));
                    async move {
                        let request = receive(request).await;
                        log.lock().unwrap().push(request.clone());
                        match respond(&request) {
                            Answer::With(response) => Ok::<_, Infallible>(response),
                            Answer::Never => std::future::pending().await,
                        }
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { address, received }
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Everything it was asked, in order.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// `METHOD path` of everything it was asked, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.received()
            .iter()
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }
}

async fn receive(request: Request<hyper::body::Incoming>) -> Received {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Received {
        method: parts.method,
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}
