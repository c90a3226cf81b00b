//! Explains a pod without its agent: the same code decides, out of what the Kubernetes API says and the flags that the
//! agent runs with (`flags`). What only the agent knows is said to be unknown.

use std::sync::Arc;

use anyhow::Context;

use super::Outcome;
use super::flags::{self, Running};
use crate::app;
use crate::authorize::Policy;
use crate::clock::Clock;
use crate::commands::{Failure, admission};
use crate::config::{ApiAccess, Node};
use crate::explain::{NoPod, Sources, Teller, Wanted};
use crate::index::Index;
use crate::watch::{Candidate, Inquiry};

/// Explains a pod. `given` are the agent's flags from the command line; without any, those of a running agent count.
pub(super) async fn explain(
    access: &ApiAccess,
    wanted: Wanted<'_>,
    given: &[String],
) -> Result<Outcome, Failure> {
    let api = Inquiry::open(access).await?;
    let pod = match find(&api, wanted).await? {
        Ok(pod) => pod,
        Err(problem) => return Ok(Outcome::no_pod(&problem)),
    };
    let node = Node {
        name: pod.node().map(str::to_owned),
        host_ip: None,
        host_ip6: None,
    };
    let Running {
        config,
        ceiling,
        note,
    } = if given.is_empty() {
        flags::of_the_agent(api.client(), pod.node()).await?
    } else {
        flags::given(given)?
    };
    let (base, default_role) = admission::roles(&config)
        .context("the agent's flags, after --, have to say it")
        .map_err(Failure::Usage)?;
    let policy = Arc::new(Policy::new(app::decision_rules(
        &config,
        base,
        default_role,
    )));
    policy.set_ceiling(ceiling);
    let deciding = Arc::clone(&policy);
    let (mut index, pods) = Index::judging(move |pod, around| deciding.judge(pod, around));
    let namespace = pod.namespace().to_owned();
    let (events, notes) = api.around(pod, &config.annotations).await?;
    for event in events {
        index.apply(event);
    }
    index.publish();
    let sources = Sources {
        teller: Teller::Kubernetes,
        snapshot: &pods.snapshot(),
        policy: &policy,
        node: &node,
        imdsv2: config.metadata.imdsv2,
        credentials: None,
        now: Clock::system().now(),
    };
    let wanted = Wanted {
        namespace: Some(&namespace),
        ..wanted
    };
    Ok(match sources.explain(wanted) {
        Ok(mut explanation) => {
            explanation.notes.push(note);
            explanation.notes.extend(notes);
            Outcome::Explained(Box::new(explanation))
        }
        Err(problem) => Outcome::no_pod(&problem),
    })
}

/// The one pod that is meant.
async fn find(api: &Inquiry, wanted: Wanted<'_>) -> anyhow::Result<Result<Candidate, NoPod>> {
    let Wanted { namespace, pod } = wanted;
    let mut found = api.named(namespace, pod).await?;
    let namespaces = |found: &[Candidate]| {
        let mut names: Vec<String> = found.iter().map(|pod| pod.namespace().to_owned()).collect();
        names.sort_unstable();
        names
    };
    Ok(match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            found.push(last);
            Err(NoPod::Ambiguous {
                pod: pod.to_owned(),
                namespaces: namespaces(&found),
            })
        }
        (None, _) => {
            // A hint: who may not list every pod does without.
            let elsewhere = match namespace {
                Some(_) => api.named(None, pod).await.unwrap_or_default(),
                None => Vec::new(),
            };
            Err(NoPod::Unknown {
                pod: pod.to_owned(),
                namespace: namespace.map(str::to_owned),
                elsewhere: namespaces(&elsewhere),
            })
        }
    })
}
