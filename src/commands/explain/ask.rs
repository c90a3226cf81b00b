//! Asks a running agent for an explanation, at its admin socket.

use hyper::StatusCode;
use serde::Deserialize;
use thiserror::Error;

use crate::commands::agent_socket::{Agent, GetError};
use crate::explain::{Explanation, VERSION};

/// Why there is no explanation.
#[derive(Debug, Error)]
pub(super) enum AskError {
    /// Nobody listens, or nobody answers.
    #[error(
        "no agent answers at {0}; give its admin socket with --agent, and run this on the agent's own node"
    )]
    Unreachable(Agent, #[source] GetError),
    /// It says no, as to everybody but its node.
    #[error(
        "the agent at {0} explains pods to its own node only: run this there, as with kubectl exec in the agent's pod"
    )]
    Forbidden(Agent),
    /// It knows no such pod, in its words.
    #[error("{0}")]
    NoPod(String),
    /// The question can have more than one answer, in its words.
    #[error("{0}")]
    Ambiguous(String),
    /// It says something else.
    #[error("the agent at {0} answers with {1}: {2}")]
    Refused(Agent, StatusCode, String),
    /// Not an agent, or one of another version.
    #[error("what answers at {0} is no agent that this version understands")]
    NotAnAgent(Agent, #[source] serde_json::Error),
    /// An agent of another version.
    #[error(
        "the agent at {0} speaks version {1} of this document, and this is version {VERSION}: use the agent's own program"
    )]
    Version(Agent, u64),
}

#[derive(Deserialize)]
struct Problem {
    error: String,
}

/// Asks about one pod; both names are such that they need no escaping.
pub(super) async fn explain(
    agent: &Agent,
    namespace: Option<&str>,
    pod: &str,
) -> Result<Explanation, AskError> {
    let own = || agent.clone();
    let namespace = namespace.map_or_else(String::new, |name| format!("&namespace={name}"));
    let answer = agent.get(&format!("/explain?pod={pod}{namespace}")).await;
    let (status, body) = answer.map_err(|error| AskError::Unreachable(own(), error))?;
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
