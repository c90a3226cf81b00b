//! Who the pod is, which sources and guards speak, and what a request of it would be refused for.

use serde::{Deserialize, Serialize};

use super::{Refusal, Sources};
use crate::authorize::{Finding, Grant, GuardStep, Says, SourceStep};
use crate::config::{Enforcement, Imdsv2};
use crate::credentials::SlotStatus;
use crate::index::Entry;
use crate::reason::Reason;
use crate::workload::RoleSource;

/// Who it is.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `spec.nodeName`, as far as it is known.
    pub node: Option<String>,
    /// `spec.serviceAccountName`.
    pub service_account: Option<String>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `status.phase` is Succeeded or Failed.
    pub finished: bool,
    /// Whether its requests need an IMDSv2 token.
    pub token_required: bool,
    /// `status.podIPs`, and what else the container runtime says it has.
    pub addresses: Vec<Address>,
}

/// One of its addresses.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// The address.
    pub ip: String,
    /// Whose it is.
    pub owner: Owner,
    /// The other live pods that claim it: `namespace/name`.
    pub others: Vec<String>,
}

/// Whose an address is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// This pod's alone.
    ThisPod,
    /// Several live pods claim it: nobody's.
    Disputed,
    /// Another pod's.
    AnotherPod,
    /// The node's.
    Node,
    /// Nobody's.
    Nobody,
}

/// One source of a role.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Its name in `--role-sources`.
    pub source: String,
    /// The annotation's key.
    pub key: Option<String>,
    /// `off`, `silent`, `no-role`, `role` or `unknown`.
    pub says: String,
    /// The role as written.
    pub value: Option<String>,
    /// Whether this is the source that counts.
    pub wins: bool,
}

/// One guard.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Guard {
    /// `ceiling`, `namespace-restrictions` or `namespace-permitted`.
    pub guard: String,
    /// `off`, `audit` or `enforce`.
    pub mode: String,
    /// The key of the annotation that it reads.
    pub key: Option<String>,
    /// What that annotation says.
    pub reads: Option<String>,
    /// What comes of it.
    pub verdict: Verdict,
    /// Why it refuses, or would.
    pub refusal: Option<Refusal>,
}

/// What a guard says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is off.
    Off,
    /// No role is named that it could judge.
    NotAsked,
    /// It does not hold for the default role.
    Exempt,
    /// It allows the role.
    Allows,
    /// It refuses the role.
    Refuses,
    /// It is in audit mode, and would refuse the role.
    WouldRefuse,
}

impl From<GuardStep> for Guard {
    fn from(step: GuardStep) -> Self {
        let audits = step.enforcement == Some(Enforcement::Audit);
        let (verdict, refusal) = match &step.finding {
            Finding::Off => (Verdict::Off, None),
            Finding::NotAsked => (Verdict::NotAsked, None),
            Finding::Exempt => (Verdict::Exempt, None),
            Finding::Allows => (Verdict::Allows, None),
            Finding::Refuses(reason) if audits => (Verdict::WouldRefuse, Some(reason.into())),
            Finding::Refuses(reason) => (Verdict::Refuses, Some(reason.into())),
        };
        Self {
            guard: step.guard.to_owned(),
            mode: match step.enforcement {
                None => "off",
                Some(Enforcement::Audit) => "audit",
                Some(Enforcement::Enforce) => "enforce",
            }
            .to_owned(),
            key: step.key,
            reads: step.reads,
            verdict,
            refusal,
        }
    }
}

/// The sources, and which of them counts.
pub(super) fn sources(steps: Vec<SourceStep>, winner: Option<RoleSource>) -> Vec<Source> {
    let source = |step: SourceStep| {
        let (says, value) = match step.says {
            Says::Off => ("off", None),
            Says::Silent => ("silent", None),
            Says::NoRole => ("no-role", None),
            Says::Role(value) => ("role", Some(value)),
            Says::Unknown(_) => ("unknown", None),
        };
        Source {
            source: step.source.name().to_owned(),
            key: step.key,
            says: says.to_owned(),
            value,
            wins: winner == Some(step.source),
        }
    };
    steps.into_iter().map(source).collect()
}

/// Who it is, and whose its addresses are.
pub(super) fn pod(sources: &Sources<'_>, entry: &Entry<Grant>) -> Pod {
    let pod = &entry.workload;
    let mut addresses = pod.addresses.clone();
    // Those that only the container runtime has told of.
    for address in &pod.sandbox_addresses {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    let asks_for_tokens = pod.annotations.imdsv2.as_deref() == Some("required");
    Pod {
        namespace: pod.namespace.to_string(),
        name: pod.name.to_string(),
        uid: pod.uid.to_string(),
        node: sources.node.name.clone(),
        service_account: pod.service_account.as_deref().map(str::to_owned),
        host_network: pod.host_network,
        finished: pod.terminal,
        token_required: sources.imdsv2 == Imdsv2::Required || asks_for_tokens,
        addresses: addresses
            .into_iter()
            .map(|address| sources.address(address, entry))
            .collect(),
    }
}

impl Sources<'_> {
    fn address(&self, address: std::net::IpAddr, entry: &Entry<Grant>) -> Address {
        let uid = &entry.workload.uid;
        let claimants = self.snapshot.claimants(address);
        let own = claimants.iter().any(|other| other.workload.uid == *uid);
        let others: Vec<String> = claimants
            .iter()
            .map(|other| &other.workload)
            .filter(|other| other.uid != *uid)
            .map(|other| format!("{}/{}", other.namespace, other.name))
            .collect();
        let owner = match (own, others.is_empty()) {
            _ if entry.workload.host_network || self.node.owns(address) => Owner::Node,
            (true, true) => Owner::ThisPod,
            (true, false) => Owner::Disputed,
            (false, false) => Owner::AnotherPod,
            (false, true) => Owner::Nobody,
        };
        Address {
            ip: address.to_string(),
            owner,
            others,
        }
    }

    /// What a request of the pod for its credentials would be refused for before any are looked for.
    pub(super) fn refusal(&self, entry: &Entry<Grant>) -> Option<Reason> {
        let pod = &entry.workload;
        if pod.host_network {
            return Some(Reason::NodeAddress);
        }
        let owned = pod.owned_addresses();
        if owned.is_empty() {
            return Some(Reason::UnknownPod);
        }
        if owned
            .iter()
            .all(|address| self.snapshot.claimants(*address).len() > 1)
        {
            return Some(Reason::AmbiguousAddress);
        }
        entry.decision.as_ref().err().cloned()
    }
}

/// What it would be refused for once its grant is known. Without a slot nobody has asked for the credentials yet.
pub(super) fn refusal_of_credentials(status: Option<&SlotStatus>) -> Option<Reason> {
    let Some(status) = status else {
        return Some(Reason::CredentialsPending);
    };
    if status.valid {
        return None;
    }
    let failure = status.failure.clone();
    Some(failure.unwrap_or(Reason::CredentialsPending))
}
