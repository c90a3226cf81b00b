//! `podiam doctor`: looks at everything that must be right, from AWS, the cluster and the node, and says of each thing
//! whether it is, by what it was seen, and what to do. `commands::doctor` calls it.
//!
//! `facts` asks once what several checks need, `ask` are the questions, `judge` what the answers mean (pure, a file for
//! each check). It changes nothing anywhere: of AWS it asks reads and sessions that it drops, of the cluster reads and
//! reviews, of the node reads. No secret is in what it says.

mod agents;
mod ask;
mod check;
mod facts;
mod finding;
mod judge;
mod of_aws;
mod of_cluster;
mod of_node;

use podiam_iam::RoleArn;

use crate::clock::Clock;
use crate::config::Config;
use ask::cluster::is_in_cluster;
use facts::ClusterFacts;

pub use ask::cluster::Access;
pub use check::{Check, Group, Selection, UnknownCheck};
pub use finding::{Finding, Report, Verdict};

/// Where the doctor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a node, on its own network: in an agent's pod, say.
    Node,
    /// On somebody's machine.
    Elsewhere,
}

impl Place {
    /// In a pod with a service account it is a node; the agent's pods are on the node's network.
    pub fn detect() -> Self {
        if is_in_cluster() {
            Self::Node
        } else {
            Self::Elsewhere
        }
    }
}

/// What to look at, and from where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where this is.
    pub place: Place,
    /// The cluster.
    pub access: Access,
    /// The agents' namespace.
    pub namespace: String,
    /// The labels of the agents' pods, as a selector.
    pub selector: String,
    /// The agent's configuration. `None`: that of the agents found.
    pub agent: Option<Config>,
    /// The profile of the shared AWS files.
    pub profile: Option<String>,
    /// The region of the STS endpoint. `None`: the agent's, else the SDK's.
    pub region: Option<String>,
    /// The nodes' role. `None`: that of the caller, if it is an instance's.
    pub node_role: Option<RoleArn>,
    /// Which checks.
    pub checks: Vec<Check>,
}

/// Reads an agent's flags, to be put into [`Options::agent`]. The error lists what is wrong with them.
pub fn agent_flags(words: Vec<String>) -> Result<Config, String> {
    facts::given(words)
}

/// Hears how far it is.
pub trait Progress: Sync {
    /// This is asked now.
    fn asks(&self, what: &str);
    /// One more check has ended.
    fn ended(&self, check: Check);
}

/// Makes the checks.
pub async fn examine(options: &Options, clock: &Clock, progress: &dyn Progress) -> Report {
    progress.asks("the cluster and its agents");
    let wants_cluster = options.checks.iter().any(|check| needs_cluster(*check));
    let cluster = if wants_cluster {
        ClusterFacts::ask(options).await
    } else {
        ClusterFacts::unasked(options)
    };
    let mut doctor = Doctor {
        options,
        clock,
        progress,
        cluster,
        findings: Vec::new(),
    };
    if doctor.wants_any(Group::Aws) {
        doctor.of_aws().await;
    }
    doctor.of_cluster().await;
    if doctor.wants_any(Group::Node) {
        doctor.of_node().await;
    }
    Report::new(doctor.findings)
}

/// Whether a check needs the agent's configuration or the API server.
fn needs_cluster(check: Check) -> bool {
    !matches!(check, Check::NodeIdentity | Check::ImdsTokens)
}

struct Doctor<'a> {
    options: &'a Options,
    clock: &'a Clock,
    progress: &'a dyn Progress,
    cluster: ClusterFacts,
    findings: Vec<Finding>,
}

impl Doctor<'_> {
    fn wants(&self, check: Check) -> bool {
        self.options.checks.contains(&check)
    }

    fn wants_any(&self, group: Group) -> bool {
        self.options.checks.iter().any(|it| it.group() == group)
    }

    fn found(&mut self, finding: Finding) {
        if self.wants(finding.check) {
            self.progress.ended(finding.check);
            self.findings.push(finding);
        }
    }
}
