//! The floor: the least that an HTTP answer costs with the HTTP library that podiam uses. One fixed body, no routing,
//! no look-up. What podiam needs beyond this is podiam's own.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// The one answer of a floor.
#[derive(Clone, Debug)]
pub struct Floor {
    /// The body.
    pub body: Bytes,
    /// The headers, besides `Content-Length` and `Date`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Floor {
    /// Answers every request on `listener` for ever, on the caller's runtime: a single-threaded one for measurements.
    pub async fn serve(self, listener: TcpListener) -> io::Result<Infallible> {
        let headers: HeaderMap = self.headers.into_iter().collect();
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(connection(stream, self.body.clone(), headers.clone()));
        }
    }
}

async fn connection(stream: TcpStream, body: Bytes, headers: HeaderMap) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|_: hyper::Request<Incoming>| {
        let mut response = Response::new(Full::new(body.clone()));
        response.headers_mut().clone_from(&headers);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    // A client that breaks off is no error of the floor's.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
