//! Asks a running agent for an explanation, at its admin socket.

use std::error::Error;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use thiserror::Error;

use crate::explain::{Explanation, VERSION};

/// How long an agent on the same node may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const MAX_BODY: usize = 1 << 20;

/// Where an agent's admin socket is.
#[derive(Clone, Debug)]
pub(super) struct Agent(Uri);

/// Where an agent's admin socket is, seen from its own node.
pub(super) const LOCAL: &str = "http://127.0.0.1:9181";

impl Agent {
    /// The agent of this node.
    pub(super) fn local() -> Self {
        Self(Uri::from_static(LOCAL))
    }
}

impl FromStr for Agent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url: Uri = text
            .parse()
            .map_err(|error| format!("not a URL: {error}"))?;
        let is_whole = url.scheme_str() == Some("http")
            && url.authority().is_some()
            && matches!(url.path(), "" | "/")
            && url.query().is_none();
        if is_whole {
            Ok(Self(url))
        } else {
            Err("give http://HOST:PORT, without a path".to_owned())
        }
    }
}

/// Why there is no explanation.
#[derive(Debug, Error)]
pub(super) enum AskError {
    /// Nobody listens, or nobody answers.
    #[error(
        "no agent answers at {0}; give its admin socket with --agent, and run this on the agent's own node"
    )]
    Unreachable(Uri, #[source] Box<dyn Error + Send + Sync>),
    /// It says no, as to everybody but its node.
    #[error(
        "the agent at {0} explains pods to its own node only: run this there, as with kubectl exec in the agent's pod"
    )]
    Forbidden(Uri),
    /// It knows no such pod, in its words.
    #[error("{0}")]
    NoPod(String),
    /// The question can have more than one answer, in its words.
    #[error("{0}")]
    Ambiguous(String),
    /// It says something else.
    #[error("the agent at {0} answers with {1}: {2}")]
    Refused(Uri, StatusCode, String),
    /// Not an agent, or one of another version.
    #[error("what answers at {0} is no agent that this version understands")]
    NotAnAgent(Uri, #[source] serde_json::Error),
    /// An agent of another version.
    #[error(
        "the agent at {0} speaks version {1} of this document, and this is version {VERSION}: use the agent's own program"
    )]
    Version(Uri, u64),
}

#[derive(Deserialize)]
struct Problem {
    error: String,
}

impl Agent {
    /// Asks about one pod; both names are such that they need no escaping.
    pub(super) async fn explain(
        &self,
        namespace: Option<&str>,
        pod: &str,
    ) -> Result<Explanation, AskError> {
        let own = || self.0.clone();
        let authority = self
            .0
            .authority()
            .map_or("", |authority| authority.as_str());
        let namespace = namespace.map_or_else(String::new, |name| format!("&namespace={name}"));
        let question = format!("http://{authority}/explain?pod={pod}{namespace}");
        let answer = tokio::time::timeout(LIMIT, get(&question)).await;
        let (status, body) = answer
            .map_err(|elapsed| AskError::Unreachable(own(), elapsed.into()))?
            .map_err(|error| AskError::Unreachable(own(), error))?;
        let problem = || {
            let problem = serde_json::from_slice::<Problem>(&body);
            problem.map(|problem| problem.error)
        };
        match status {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN => return Err(AskError::Forbidden(own())),
            StatusCode::NOT_FOUND => {
                let problem = problem().map_err(|error| AskError::NotAnAgent(own(), error))?;
                return Err(AskError::NoPod(problem));
            }
            StatusCode::CONFLICT => {
                let problem = problem().map_err(|error| AskError::NotAnAgent(own(), error))?;
                return Err(AskError::Ambiguous(problem));
            }
            other => {
                let text =
                    problem().unwrap_or_else(|_| String::from_utf8_lossy(&body).trim().to_owned());
                return Err(AskError::Refused(own(), other, text));
            }
        }
        let not_an_agent = |error| AskError::NotAnAgent(own(), error);
        let document: serde_json::Value = serde_json::from_slice(&body).map_err(not_an_agent)?;
        match document["version"].as_u64() {
            Some(other) if other != u64::from(VERSION) => Err(AskError::Version(own(), other)),
            _ => serde_json::from_value(document).map_err(not_an_agent),
        }
    }
}

async fn get(url: &str) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let response: Response<Incoming> = client
        .request(Request::get(url).body(Empty::new())?)
        .await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_BODY)
        .collect()
        .await?;
    Ok((status, body.to_bytes()))
}
