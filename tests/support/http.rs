//! Plain HTTP as a pod speaks it: one request on a connection of its own.

use std::net::{IpAddr, SocketAddr};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};

use super::PATIENCE;

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

/// The path of the role list.
pub const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// Connects to `target` from the address `source`.
pub async fn connect(source: IpAddr, target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if target.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(target).await
}

/// GETs `path` on a fresh connection. The error is text: it is read by people only.
pub async fn get(stream: std::io::Result<TcpStream>, path: &str) -> Result<Reply, String> {
    let exchange = async {
        let stream = stream?;
        let host = stream.peer_addr()?.to_string();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::get(path)
            .header("Host", host)
            .body(Empty::<Bytes>::new())?;
        let (head, body) = sender.send_request(request).await?.into_parts();
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
