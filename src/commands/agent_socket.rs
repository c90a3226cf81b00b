//! The admin socket of a running agent, for the commands that ask there: where it is, and one bounded GET. What an answer
//! means is the command's own.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::telemetry::Chain;

/// The longest wait for an answer: the agent computes it at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The largest answer that is read: thousands of pods.
const LARGEST: usize = 16 << 20;
/// The port that an agent has unless told otherwise.
const PORT: u16 = 9181;

/// Where an agent is: `http://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agent {
    host: String,
    port: u16,
}

/// Why nothing was answered that could be read.
#[derive(Debug, Error)]
pub(super) enum GetError {
    /// Nobody listens there.
    #[error("nobody listens")]
    Unreachable(#[source] io::Error),
    /// Whoever listens there says nothing.
    #[error("no answer within {PATIENCE:?}")]
    Silent,
    /// Whoever listens there does not speak HTTP as an agent does.
    #[error("{0}")]
    Stranger(String),
}

impl Agent {
    /// The agent of this node, as it listens unless told otherwise.
    pub(super) fn local() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: PORT,
        }
    }

    /// Asks for a path with its query, and reads the answer whole.
    pub(super) async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), GetError> {
        timeout(PATIENCE, self.exchange(path))
            .await
            .unwrap_or(Err(GetError::Silent))
    }

    async fn exchange(&self, path: &str) -> Result<(StatusCode, Bytes), GetError> {
        let host = self.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.port))
            .await
            .map_err(GetError::Unreachable)?;
        let stranger = |error: hyper::Error| GetError::Stranger(Chain(&error).to_string());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(stranger)?;
        tokio::spawn(connection);
        let request = Request::get(path)
            .header(HOST, format!("{}:{}", self.host, self.port))
            .body(Empty::<Bytes>::new())
            .map_err(|error| GetError::Unreachable(io::Error::other(error)))?;
        let reply = sender.send_request(request).await.map_err(stranger)?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| GetError::Stranger(error.to_string()))?;
        Ok((status, body.to_bytes()))
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl FromStr for Agent {
    /// What is wrong with the URL; what would be right is the command's to say.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
        if url.scheme_str() != Some("http") {
            return Err("only http is spoken there".to_owned());
        }
        if url.path() != "/" || url.query().is_some() {
            return Err("the path is the command's business".to_owned());
        }
        let authority = url.authority().filter(|it| !it.as_str().contains('@'));
        let authority = authority.ok_or("no user name is needed")?;
        if authority.host().is_empty() {
            return Err("there is no host in it".to_owned());
        }
        Ok(Self {
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(PORT),
        })
    }
}
