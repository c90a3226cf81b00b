//! `podiam explain POD`: why a pod has its role and credentials, or none. Asks the agent that answers the pod (`ask`), or
//! computes what can be known from the Kubernetes API (`cluster`); what is told is `crate::explain`'s.
//!
//! Exit codes: 0 the pod has a role and nothing is known to keep its credentials from it, 3 it is refused, 4 there is no
//! such pod; 1 and 2 as everywhere.

mod ask;

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::{Failure, print};
use crate::explain::{Explanation, Width};
use ask::{Agent, AskError};

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
    #[arg(long, value_name = "URL")]
    agent: Option<Agent>,
}

/// What became of a question.
enum Outcome {
    Explained(Box<Explanation>),
    NoPod(String),
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
                    "{name:?} is no {what}'s name: lower-case letters, digits, '-' and '.', at most 253 characters"
                );
            }
        }
        Ok((namespace, pod))
    }

    async fn ask(&self, namespace: Option<&str>, pod: &str) -> anyhow::Result<Outcome> {
        let agent = self.agent.clone().unwrap_or_else(Agent::local);
        match agent.explain(namespace, pod).await {
            Ok(explanation) => Ok(Outcome::Explained(Box::new(explanation))),
            Err(AskError::NoPod(problem)) => Ok(Outcome::NoPod(problem)),
            Err(error) => Err(error.into()),
        }
    }
}

/// What Kubernetes takes as a name of pods and namespaces (RFC 1123), or nearly: enough that it needs no escaping.
fn is_name(name: &str) -> bool {
    let legal =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    (1..=253).contains(&name.len()) && name.bytes().all(legal)
}
