//! Asks the agent's admin socket, and says what is wrong where it does not answer as an agent of this kind does.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::admin::status::Status;
use crate::telemetry::Chain;

/// The longest wait for an answer: the agent computes it at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest answer that is read: thousands of pods.
const LARGEST: usize = 16 << 20;
/// The port that an agent has unless told otherwise.
const PORT: u16 = 9181;
/// How an agent answers about what it does not have, whatever its version.
const AGENTS_CONTENTS: &str = "here are /healthz, /readyz, /metrics";

/// Where an agent is: `http://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agent {
    host: String,
    port: u16,
}

/// Why there is no status.
#[derive(Debug, Error)]
pub(super) enum AskError {
    #[error(
        "no agent answers at {agent}; if it is elsewhere, give --agent=URL: its --host-ip and --metrics-port, or a forwarded port"
    )]
    Unreachable {
        agent: Agent,
        source: std::io::Error,
    },
    #[error("the agent at {agent} did not answer within {PATIENCE:?}")]
    Silent { agent: Agent },
    #[error(
        "what answers at {agent} is not a podiam agent: {what}; give the agent's admin socket with --agent=URL"
    )]
    Stranger { agent: Agent, what: String },
    #[error(
        "the agent at {agent} is older than this command and tells no status; upgrade it, or ask its /readyz and /metrics"
    )]
    TooOld { agent: Agent },
    #[error("the agent at {agent} refuses: {why}")]
    Refused { agent: Agent, why: String },
    #[error("the agent at {agent} answers {status}: {body}")]
    Failed {
        agent: Agent,
        status: StatusCode,
        body: String,
    },
}

impl AskError {
    /// The cause alone, for a line that names the agent already.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Unreachable { agent, source } => format!("{agent}: {source}"),
            other => other.to_string(),
        }
    }
}

impl Agent {
    /// Asks for /status.json.
    pub(super) async fn status(&self) -> Result<Status, AskError> {
        let asked = timeout(PATIENCE, self.get("/status.json")).await;
        let (status, body) = asked.map_err(|_| AskError::Silent {
            agent: self.clone(),
        })??;
        let text = String::from_utf8_lossy(&body);
        match status {
            StatusCode::OK => serde_json::from_slice(&body)
                .map_err(|error| self.stranger(format!("it tells no status ({error})"))),
            StatusCode::NOT_FOUND if text.starts_with(AGENTS_CONTENTS) => Err(AskError::TooOld {
                agent: self.clone(),
            }),
            StatusCode::FORBIDDEN => Err(AskError::Refused {
                agent: self.clone(),
                why: first_line(&text),
            }),
            status if status.is_server_error() => Err(AskError::Failed {
                agent: self.clone(),
                status,
                body: first_line(&text),
            }),
            status => Err(self.stranger(format!(
                "it answers {status} where an agent tells its status"
            ))),
        }
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), AskError> {
        let unreachable = |source| AskError::Unreachable {
            agent: self.clone(),
            source,
        };
        let host = self.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.port))
            .await
            .map_err(unreachable)?;
        let stranger = |error: hyper::Error| self.stranger(Chain(&error).to_string());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(stranger)?;
        tokio::spawn(connection);
        let request = Request::get(path)
            .header(HOST, format!("{}:{}", self.host, self.port))
            .body(Empty::<Bytes>::new())
            .map_err(|error| unreachable(std::io::Error::other(error)))?;
        let reply = sender.send_request(request).await.map_err(stranger)?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| self.stranger(error.to_string()))?;
        Ok((status, body.to_bytes()))
    }

    fn stranger(&self, what: String) -> AskError {
        AskError::Stranger {
            agent: self.clone(),
            what,
        }
    }
}

/// What somebody else wrote, as one line of bounded length without control characters.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl FromStr for Agent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let right = "write http://HOST:PORT, such as http://127.0.0.1:9181";
        let url: Uri = text.parse().map_err(|error| format!("{error}; {right}"))?;
        if url.scheme_str() != Some("http") {
            return Err(format!("only http is spoken there; {right}"));
        }
        if url.path() != "/" || url.query().is_some() {
            return Err(format!("the path is the command's business; {right}"));
        }
        let authority = url.authority().filter(|it| !it.as_str().contains('@'));
        let authority = authority.ok_or_else(|| format!("no user name is needed; {right}"))?;
        if authority.host().is_empty() {
            return Err(format!("there is no host in it; {right}"));
        }
        Ok(Self {
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(PORT),
        })
    }
}
