//! `podiam explain POD`: why a pod has its role and credentials, or none. Asks the agent that answers the pod (`ask`), or
//! computes what can be known from the Kubernetes API (`cluster`); what is told is `crate::explain`'s.
//!
//! Exit codes: 0 the pod has a role and nothing is known to keep its credentials from it, 3 it is refused, 4 there is no
//! such pod; 1 and 2 as everywhere.

mod ask;
mod cluster;
mod flags;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::agent_socket::Agent;
use super::{Failure, print};
use crate::config::{ApiAccess, ApiEndpoint};
use crate::explain::{Explanation, NoPod, Wanted, Width};
use ask::AskError;

/// The pod is refused.
const REFUSED: u8 = 3;
/// There is no such pod.
const NO_POD: u8 = 4;

/// The columns of the text.
const WIDTH: Width = Width(96);

/// What may be asked.
#[derive(Args)]
pub(super) struct ExplainArgs {
    /// The pod's name, or NAMESPACE/NAME
    #[arg(value_name = "POD")]
    pod: String,

    /// Its namespace [default: that of the only pod of that name]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Print JSON: all that is known, in a stable shape
    #[arg(long)]
    json: bool,

    /// Ask only the agent whose admin socket (its --metrics-port) this is, on the agent's own node
    #[arg(long, value_name = "URL", value_parser = agent, conflicts_with_all = ["kubeconfig", "flags"])]
    agent: Option<Agent>,

    /// Ask no agent but the Kubernetes API, by this kubeconfig
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,

    /// The agent's flags, after `--`: ask no agent but the Kubernetes API, and decide as an agent with these flags would
    /// [default: those of the agent on the pod's node]
    #[arg(last = true, value_name = "AGENT FLAGS")]
    flags: Vec<String>,
}

fn agent(text: &str) -> Result<Agent, String> {
    text.parse()
        .map_err(|problem| format!("{problem}; give http://HOST:PORT, without a path"))
}

/// What became of a question.
enum Outcome {
    Explained(Box<Explanation>),
    NoPod(String),
    /// There is more than one.
    Ambiguous(String),
}

impl Outcome {
    fn no_pod(problem: &NoPod) -> Self {
        match problem {
            NoPod::Unknown { .. } => Self::NoPod(problem.to_string()),
            NoPod::Ambiguous { .. } => Self::Ambiguous(problem.to_string()),
        }
    }
}

pub(super) fn run(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let (namespace, pod) = args.names().map_err(Failure::Usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match runtime.block_on(args.ask(namespace, pod))? {
        Outcome::Explained(explanation) => {
            let text = if args.json {
                format!("{}\n", serde_json::to_string_pretty(&explanation)?)
            } else {
                explanation.text(WIDTH)
            };
            print(text.as_bytes())?;
            Ok(match explanation.refusal {
                None => ExitCode::SUCCESS,
                Some(_) => REFUSED.into(),
            })
        }
        Outcome::NoPod(problem) => Err(Failure::Coded(NO_POD, anyhow::anyhow!(problem))),
        Outcome::Ambiguous(problem) => Err(Failure::Usage(anyhow::anyhow!(problem))),
    }
}

impl ExplainArgs {
    /// Namespace and name, whichever way they are given.
    fn names(&self) -> anyhow::Result<(Option<&str>, &str)> {
        let (namespace, pod) = match self.pod.split_once('/') {
            None => (self.namespace.as_deref(), self.pod.as_str()),
            Some((namespace, pod)) => match self.namespace.as_deref() {
                Some(other) if other != namespace => bail!(
                    "the pod {:?} is in the namespace {namespace:?}, and --namespace says {other:?}: give one of them",
                    self.pod
                ),
                _ => (Some(namespace), pod),
            },
        };
        for (what, name) in [("namespace", namespace), ("pod", Some(pod))] {
            if let Some(name) = name.filter(|name| !is_name(name)) {
                bail!(
                    "{name:?} is no {what}'s name: lower-case letters, digits, '-' and '.', a letter or digit at both ends, at most 253 characters"
                );
            }
        }
        Ok((namespace, pod))
    }

    /// With --agent that agent, with --kubeconfig or flags after `--` the Kubernetes API; with neither the agent of this
    /// node, and the API where there is none or it does not know the pod.
    async fn ask(&self, namespace: Option<&str>, pod: &str) -> Result<Outcome, Failure> {
        let wanted = Wanted { namespace, pod };
        if let Some(agent) = &self.agent {
            return match ask::explain(agent, namespace, pod).await {
                Err(AskError::NoPod(problem)) => Ok(Outcome::NoPod(problem)),
                Err(AskError::Ambiguous(problem)) => Ok(Outcome::Ambiguous(problem)),
                other => Ok(Outcome::Explained(Box::new(other?))),
            };
        }
        let endpoint = self
            .kubeconfig
            .clone()
            .map_or(ApiEndpoint::Inferred, ApiEndpoint::Kubeconfig);
        let access = ApiAccess {
            endpoint,
            insecure: false,
            resync: Duration::ZERO,
        };
        if self.kubeconfig.is_some() || !self.flags.is_empty() {
            return cluster::explain(&access, wanted, &self.flags).await;
        }
        let of_the_agent = match ask::explain(&Agent::local(), namespace, pod).await {
            Err(AskError::Ambiguous(problem)) => return Ok(Outcome::Ambiguous(problem)),
            Err(error @ (AskError::Unreachable(..) | AskError::NoPod(_))) => error,
            other => return Ok(Outcome::Explained(Box::new(other?))),
        };
        match cluster::explain(&access, wanted, &[]).await {
            // Neither could say: both are worth a word.
            Err(Failure::Other(error)) => Err(Failure::Other(
                error.context(format!("{of_the_agent}; and without it")),
            )),
            other => other,
        }
    }
}

/// What Kubernetes takes as a name of pods and namespaces (RFC 1123), or nearly: enough that it needs no escaping.
fn is_name(name: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let edges = [bytes.first(), bytes.last()];
    name.len() <= 253
        && edges
            .iter()
            .all(|byte| byte.is_some_and(|byte| edge(*byte)))
        && bytes.iter().all(|byte| edge(*byte) || b"-.".contains(byte))
}
