//! Asks the agent's admin socket, and says what is wrong where it does not answer as an agent of this kind does.

use hyper::StatusCode;
use thiserror::Error;

use crate::admin::status::Status;
use crate::commands::agent_socket::{Agent, GetError, PATIENCE};

/// How an agent answers about what it does not have, whatever its version.
const AGENTS_CONTENTS: &str = "here are /healthz, /readyz, /metrics";

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

/// Asks for /status.json.
pub(super) async fn status(agent: &Agent) -> Result<Status, AskError> {
    let own = || agent.clone();
    let stranger = |what| AskError::Stranger { agent: own(), what };
    let answer = agent.get("/status.json").await;
    let (status, body) = answer.map_err(|error| match error {
        GetError::Unreachable(source) => AskError::Unreachable {
            agent: own(),
            source,
        },
        GetError::Silent => AskError::Silent { agent: own() },
        GetError::Stranger(what) => stranger(what),
    })?;
    let text = String::from_utf8_lossy(&body);
    match status {
        StatusCode::OK => serde_json::from_slice(&body)
            .map_err(|error| stranger(format!("it tells no status ({error})"))),
        StatusCode::NOT_FOUND if text.starts_with(AGENTS_CONTENTS) => {
            Err(AskError::TooOld { agent: own() })
        }
        StatusCode::FORBIDDEN => Err(AskError::Refused {
            agent: own(),
            why: first_line(&text),
        }),
        status if status.is_server_error() => Err(AskError::Failed {
            agent: own(),
            status,
            body: first_line(&text),
        }),
        status => Err(stranger(format!(
            "it answers {status} where an agent tells its status"
        ))),
    }
}

/// What somebody else wrote, as one line of bounded length without control characters.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}
