//! The status document: what /status.json says of the agent and of each pod of its node. `collect` fills it in, `page` and
//! `podiam status` show it. No secret is in it: access key IDs at most.
//!
//! Fields are added and never change their meaning; whoever reads it must bear with values that it does not know.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent itself.
    pub agent: AgentStatus,
    /// The node's pods, by namespace and name. Those that have ended are left out.
    pub pods: Vec<PodStatus>,
}

/// The agent itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its version.
    pub version: String,
    /// `--node`; `None`: it answers for every pod of the cluster.
    pub node: Option<String>,
    /// `--host-ip`.
    pub host_ip: Option<IpAddr>,
    /// When this was written.
    pub time: Timestamp,
    /// Seconds since the process began.
    pub uptime_seconds: u64,
    /// Whether every condition holds.
    pub ready: bool,
    /// What must hold for that, by name.
    pub conditions: Vec<ConditionStatus>,
    /// What an operator should know although the agent is ready.
    pub findings: Vec<Told>,
    /// The views of the cluster that are kept.
    pub sources: Vec<ViewStatus>,
    /// How pods' requests get here.
    pub interception: InterceptionStatus,
    /// `--identity`.
    pub identity: String,
    /// The node's budget for STS.
    pub sts: StsStatus,
}

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionStatus {
    /// Its name, as in /readyz.
    pub name: String,
    /// What is missing; `None`: it holds.
    pub missing: Option<String>,
}

/// A stable code, and the same in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The code.
    pub code: String,
    /// The words, one line.
    pub text: String,
}

/// One view: pods, namespaces or service accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewStatus {
    /// `pods`, `namespaces` or `serviceaccounts`.
    pub resource: String,
    /// Whether it is followed.
    pub synced: bool,
    /// Seconds since it was last up to date; 0 while it is followed, `None` until it was first read whole.
    pub age_seconds: Option<u64>,
    /// How often listing or watching has failed.
    pub failures: u64,
    /// Why it is not followed.
    pub error: Option<String>,
}

/// How pods' requests get to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterceptionStatus {
    /// `--intercept`.
    pub mode: String,
    /// Whether the rules are as they should be; `None` where podiam writes none.
    pub intact: Option<bool>,
    /// How often others have changed them, and they were repaired.
    pub repairs: u64,
    /// What the last self-test found: `intercepted`, `bypassed`, `closed` or `unknown`; `None` before the first.
    pub self_test: Option<String>,
}

/// The node's budget for STS, and its use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StsStatus {
    /// `--sts-rate`, calls a second; 0: no limit.
    pub rate: f64,
    /// `--sts-concurrency`; 0: no limit.
    pub concurrency: usize,
    /// Calls under way.
    pub running: usize,
    /// Calls that wait for the budget: for a request, for a new pod, to refresh.
    pub waiting: [usize; 3],
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its addresses, as the API server has them.
    pub addresses: Vec<IpAddr>,
    /// Its service account.
    pub service_account: Option<String>,
    /// Whether it is in the node's network, where it cannot be told from the node.
    pub host_network: bool,
    /// By what its connections are known to be its own: `link`, `namespace` or `address`; `None` where that is not known
    /// yet.
    pub known_by: Option<String>,
    /// What it gets.
    pub state: PodState,
    /// The role's ARN; `None` where it has none.
    pub role: Option<String>,
    /// The role's name, as the pod is told it.
    pub role_name: Option<String>,
    /// Who named the role: `pod`, `service-account`, `eks`, `namespace` or `default`.
    pub source: Option<String>,
    /// Why it gets nothing, in the words that it is told.
    pub reason: Option<Told>,
    /// What guards in audit mode would refuse it for.
    pub audited: Vec<Told>,
    /// The session that it is given; `None` without a role.
    pub credentials: Option<CredentialStatus>,
    /// Requests of it that were answered since this agent has known it, whatever the answer. Those that were turned away
    /// because there were too many are not among them.
    pub requests: u64,
    /// Those of them that were denied.
    pub denials: u64,
}

/// What a pod gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodState {
    /// Credentials.
    Served,
    /// Nothing yet: something is not known, or STS has not answered.
    Waiting,
    /// A no.
    Refused,
    /// Nothing, and it asks for nothing.
    NoRole,
    /// Another agent's word.
    #[serde(other)]
    Unknown,
}

/// A session, or what is being done for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialStatus {
    /// How it stands.
    pub state: CredentialState,
    /// `RoleSessionName`.
    pub session_name: String,
    /// `AccessKeyId` of the last session.
    pub access_key_id: Option<String>,
    /// When that was asked for.
    pub obtained_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Seconds until then; 0 once it has ended.
    pub left_seconds: Option<u64>,
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialState {
    /// Valid, and all is well.
    Fresh,
    /// Valid, and its successor is being fetched.
    Refreshing,
    /// Valid until it ends, but the last call for a successor failed.
    Stale,
    /// The first is being fetched.
    Fetching,
    /// The first waits for the budget.
    Waiting,
    /// There is none: the last call failed.
    Failed,
    /// Another agent's word.
    #[serde(other)]
    Unknown,
}

impl PodState {
    /// All that there are, in the order in which people want to know of them.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Waiting, Self::Served, Self::NoRole];

    /// As the document and people have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::NoRole => "no role",
            Self::Unknown => "unknown",
        }
    }
}

impl CredentialState {
    /// As the document and people have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Refreshing => "refreshing",
            Self::Stale => "stale",
            Self::Fetching => "fetching",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl Status {
    /// The pods that a reader wants: of one namespace, and only those that are refused.
    pub fn keep(&mut self, namespace: Option<&str>, only_refused: bool) {
        self.pods.retain(|pod| {
            namespace.is_none_or(|wanted| pod.namespace == wanted)
                && (!only_refused || pod.state == PodState::Refused)
        });
    }

    /// How many pods are in this state.
    pub fn count(&self, state: PodState) -> usize {
        self.pods.iter().filter(|pod| pod.state == state).count()
    }

    /// By what how many pods are told apart, in a few words. Those of the node's network are not.
    pub fn identity_in_words(&self) -> String {
        let pods = self.pods.iter().filter(|pod| !pod.host_network);
        let known: Vec<&str> = pods.filter_map(|pod| pod.known_by.as_deref()).collect();
        let ways = ["link", "namespace", "address"]
            .into_iter()
            .filter_map(|way| {
                let count = known.iter().filter(|known| **known == way).count();
                (count > 0).then(|| format!("{count} by {way}"))
            });
        let ways: Vec<String> = ways.collect();
        let mode = &self.agent.identity;
        if ways.is_empty() {
            mode.clone()
        } else {
            format!("{mode}, pods known: {}", ways.join(", "))
        }
    }
}

impl PodStatus {
    /// Why it gets nothing, unless its other fields say as much: credentials are on their way, or it is a pod of the node's
    /// network that asks for none.
    pub fn why(&self) -> Option<&Told> {
        let says_more = |reason: &&Told| match self.state {
            PodState::Waiting => reason.code != "credentials-pending" || self.role.is_none(),
            PodState::NoRole => !self.host_network,
            PodState::Served | PodState::Refused | PodState::Unknown => true,
        };
        self.reason.as_ref().filter(says_more)
    }
}

impl AgentStatus {
    /// The age in seconds of the oldest view; `None` while one was never read.
    pub fn view_age(&self) -> Option<u64> {
        let ages = self.sources.iter().map(|view| view.age_seconds);
        ages.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// The conditions that do not hold, each with what is missing.
    pub fn missing(&self) -> impl Iterator<Item = (&str, &str)> {
        let conditions = self.conditions.iter();
        conditions.filter_map(|it| Some((it.name.as_str(), it.missing.as_deref()?)))
    }

    /// The rules and the self-test in a few words.
    pub fn interception_in_words(&self) -> String {
        let InterceptionStatus {
            mode,
            intact,
            repairs,
            self_test,
        } = &self.interception;
        let rules = match intact {
            Some(true) => ", rules intact",
            Some(false) => ", rules not in place",
            None => "",
        };
        let repaired = match repairs {
            0 => String::new(),
            1 => ", repaired once".to_owned(),
            times => format!(", repaired {times} times"),
        };
        let tested = self_test.as_ref().map(|it| format!(", self-test: {it}"));
        format!("{mode}{rules}{repaired}{}", tested.unwrap_or_default())
    }

    /// The budget's use in a few words.
    pub fn sts_in_words(&self) -> String {
        let StsStatus {
            rate,
            concurrency,
            running,
            waiting,
        } = &self.sts;
        let waiting: usize = waiting.iter().sum();
        let under_way = match concurrency {
            0 => format!("{running} under way"),
            most => format!("{running} of {most} under way"),
        };
        let limit = if *rate > 0.0 {
            format!(", at most {rate} a second")
        } else {
            String::new()
        };
        format!("{under_way}, {waiting} waiting{limit}")
    }
}

/// A span in its two largest units: `47 s`, `12 min 5 s`, `3 h 12 min`, `8 d 1 h`.
pub fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: u64, unit: &str, small: u64, sub: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {sub}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => pair(minutes, "min", seconds % 60, "s"),
        3600..86_400 => pair(hours, "h", minutes % 60, "min"),
        _ => pair(days, "d", hours % 24, "h"),
    }
}

/// What is left of a life, without the seconds as long as there are minutes: they change with every look.
pub fn minutes(seconds: u64) -> String {
    match seconds {
        0..60 => span(seconds),
        _ => span(seconds / 60 * 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_its_two_largest_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (725, "12 min 5 s"),
            (3600, "1 h"),
            (11_520, "3 h 12 min"),
            (86_400, "1 d"),
            (694_861, "8 d 1 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn states_of_a_newer_agent_do_not_make_the_document_unreadable() {
        let state: PodState = serde_json::from_str("\"half-served\"").unwrap();
        assert_eq!(state, PodState::Unknown);
        let state: CredentialState = serde_json::from_str("\"borrowed\"").unwrap();
        assert_eq!(state, CredentialState::Unknown);
        let state: PodState = serde_json::from_str("\"no-role\"").unwrap();
        assert_eq!(state, PodState::NoRole);
    }
}
