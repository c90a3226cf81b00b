//! Plain HTTP as a pod speaks it: one request on a connection of its own, from an address that the test chooses.

use std::net::{IpAddr, SocketAddr};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;

use super::PATIENCE;

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

/// The header of IMDSv2's token.
pub const TOKEN: &str = "X-aws-ec2-metadata-token";
/// The header of its life.
pub const TOKEN_TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";
/// The path of the role list.
pub const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// Sends one request from `source` (or from wherever the kernel chooses). The error is text: it is read by people only.
pub async fn send(
    source: Option<IpAddr>,
    target: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Reply, String> {
    let exchange = async {
        let socket = if target.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(target).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", target.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender
            .send_request(request.body(Empty::<Bytes>::new())?)
            .await?;
        let (head, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    };
    let reply = tokio::time::timeout(PATIENCE, exchange)
        .await
        .map_err(|_| format!("no reply within {PATIENCE:?}"))?;
    reply.map_err(|error| error.to_string())
}

/// A GET without headers.
pub async fn get(source: Option<IpAddr>, target: SocketAddr, path: &str) -> Result<Reply, String> {
    send(source, target, "GET", path, &[]).await
}
