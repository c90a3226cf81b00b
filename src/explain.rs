//! Why does this pod have this role and these credentials, or none? Everything that decides about one pod, gathered into
//! one [`Explanation`]: for `podiam explain`, from the running agent or from the Kubernetes API. It asks the very code
//! that decides, changes nothing, and holds no secret; what AWS said is in it, so it is never shown to pods.
//!
//! | module | owns |
//! |---|---|
//! | `pod` | who it is, which sources and guards speak, what comes of it |
//! | `session` | what is asked of STS for it, and how its credentials stand |
//! | `diagnosis` | what an error of STS tells, what it does not, and what to do |
//! | `text` | all of it for people |

mod diagnosis;
mod pod;
mod session;
#[cfg(test)]
mod tests;
mod text;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::authorize::{Grant, Policy};
use crate::config::{Imdsv2, Node};
use crate::credentials::Credentials;
use crate::index::{Entry, Snapshot};
use crate::reason::Reason;

pub use diagnosis::{Cause, Diagnosis};
pub use pod::{Address, Guard, Owner, Pod, Source, Verdict};
pub use session::{CredentialsState, Failure, NextCall, Session};
pub use text::Width;

/// The version of the JSON document. Members may be added without a new one.
pub const VERSION: u32 = 1;

/// All about one pod. Serialised, it is the document of `podiam explain --json` and of /explain (docs/explain.md).
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// [`VERSION`].
    pub version: u32,
    /// Who tells it.
    pub told_by: Teller,
    /// When.
    pub told_at: String,
    /// Who it is.
    pub pod: Pod,
    /// What keeps it from its credentials, the first thing that a request meets; `None` where nothing is known to.
    pub refusal: Option<Refusal>,
    /// Every source of a role, in the order in which they are asked.
    pub sources: Vec<Source>,
    /// Every guard.
    pub guards: Vec<Guard>,
    /// What is asked of STS for it; `None` where it is granted nothing.
    pub session: Option<Session>,
    /// How its credentials stand; `None` where that is not known, or nothing is granted.
    pub credentials: Option<CredentialsState>,
    /// Where this is from, and what could not be known: sentences.
    pub notes: Vec<String>,
}

/// Who explains.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Teller {
    /// The agent that answers the pod.
    Agent,
    /// This command line, out of what the Kubernetes API says.
    Kubernetes,
}

/// A reason, and what there is to know of it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// [`Reason::code`].
    pub code: String,
    /// The HTTP status of the pod's requests.
    pub status: u16,
    /// What the pod reads.
    pub text: String,
    /// What mostly brings it about.
    pub cause: String,
    /// What to do about it.
    pub fix: String,
}

impl From<&Reason> for Refusal {
    fn from(reason: &Reason) -> Self {
        let facts = reason.facts();
        Self {
            code: facts.code.to_owned(),
            status: facts.status,
            text: reason.to_string(),
            cause: facts.cause.to_owned(),
            fix: facts.fix.to_owned(),
        }
    }
}

/// Which pod is meant.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its namespace; `None`: whichever has the only pod of that name.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub pod: &'a str,
}

/// Which pod is meant cannot be said.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoPod {
    /// There is none of that name.
    #[error("{}", unknown(pod, namespace.as_deref(), elsewhere))]
    Unknown {
        /// Its name.
        pod: String,
        /// The namespace that was given.
        namespace: Option<String>,
        /// The namespaces that do have one.
        elsewhere: Vec<String>,
    },
    /// There are several, and no namespace was given.
    #[error("pods named {pod:?} are in the namespaces {}: give one with -n", namespaces.join(", "))]
    Ambiguous {
        /// Their name.
        pod: String,
        /// Their namespaces.
        namespaces: Vec<String>,
    },
}

fn unknown(pod: &str, namespace: Option<&str>, elsewhere: &[String]) -> String {
    let place = namespace.map_or_else(String::new, |name| format!(" in the namespace {name:?}"));
    let hint = match elsewhere {
        [] => String::new(),
        [one] => format!("; there is one in {one:?}"),
        several => format!("; there are some in {}", several.join(", ")),
    };
    format!("no pod named {pod:?} is known{place}{hint}")
}

/// Everything that an explanation is made of.
pub struct Sources<'a> {
    /// Who tells it.
    pub teller: Teller,
    /// The pods, and what is around them.
    pub snapshot: &'a Snapshot<Grant>,
    /// What decides.
    pub policy: &'a Policy,
    /// The node.
    pub node: &'a Node,
    /// `--imdsv2`.
    pub imdsv2: Imdsv2,
    /// The credentials; `None` where only the agent could know.
    pub credentials: Option<&'a Credentials>,
    /// The time.
    pub now: jiff::Timestamp,
}

impl Sources<'_> {
    /// Explains one pod.
    pub fn explain(&self, wanted: Wanted<'_>) -> Result<Explanation, NoPod> {
        let entry = self.find(wanted)?;
        let trace = self
            .policy
            .trace(&entry.workload, self.snapshot.around(&entry.workload));
        let grant = entry.decision.as_ref().ok();
        let mut refusal = self.refusal(entry);
        let mut credentials = None;
        if let (Some(grant), Some(known)) = (grant, self.credentials) {
            let status = known.status_of(grant);
            refusal = refusal.or_else(|| pod::refusal_of_credentials(status.as_ref()));
            credentials =
                status.map(|status| CredentialsState::of(&status, grant, self.policy.base()));
        }
        Ok(Explanation {
            version: VERSION,
            told_by: self.teller,
            told_at: session::time(self.now),
            pod: pod::pod(self, entry),
            refusal: refusal.as_ref().map(Refusal::from),
            sources: pod::sources(trace.sources, entry.basis.source),
            guards: trace.guards.into_iter().map(Guard::from).collect(),
            session: grant.map(|grant| Session::of(grant, self.policy)),
            credentials,
            notes: self.notes(grant.is_some()),
        })
    }

    /// The pod that is meant. Of two of the same name, as while one replaces the other, the newer live one.
    fn find(&self, wanted: Wanted<'_>) -> Result<&Entry<Grant>, NoPod> {
        let named = || {
            let pods = self.snapshot.pods();
            pods.filter(|entry| &*entry.workload.name == wanted.pod)
        };
        let namespaces = || {
            let mut all: Vec<String> = named()
                .map(|entry| entry.workload.namespace.to_string())
                .collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        if wanted.namespace.is_none() && namespaces().len() > 1 {
            return Err(NoPod::Ambiguous {
                pod: wanted.pod.to_owned(),
                namespaces: namespaces(),
            });
        }
        named()
            .filter(|entry| {
                wanted
                    .namespace
                    .is_none_or(|name| name == &*entry.workload.namespace)
            })
            .max_by_key(|entry| (entry.workload.is_live(), entry.workload.created_at))
            .map(AsRef::as_ref)
            .ok_or_else(|| NoPod::Unknown {
                pod: wanted.pod.to_owned(),
                namespace: wanted.namespace.map(str::to_owned),
                elsewhere: namespaces(),
            })
    }

    fn notes(&self, granted: bool) -> Vec<String> {
        let mut notes = Vec::new();
        if self.teller == Teller::Kubernetes {
            notes.push(
                "Computed from what the Kubernetes API says now: what the agent knows may be older."
                    .to_owned(),
            );
            if granted {
                notes.push(
                    "Whether there are credentials, and what STS last said, only the agent on the pod's node knows: \
                     run this there."
                        .to_owned(),
                );
            }
        }
        notes
    }
}
