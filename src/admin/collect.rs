//! Fills in the status document from the parts of the running agent, when somebody asks for it: nothing is kept for it
//! beside the counts at each pod's entry.

use std::collections::{HashMap, HashSet};

use podiam_intercept::Mode;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Admin;
use super::status::{
    AgentStatus, ConditionStatus, CredentialState, CredentialStatus, InterceptionStatus, PodState,
    PodStatus, Status, StsStatus, Told, ViewStatus,
};
use crate::authorize::Grant;
use crate::clock::Clock;
use crate::config::Config;
use crate::credentials::SlotStatus;
use crate::imds::Imds;
use crate::index::Entry;
use crate::reason::Reason;
use crate::watch::{SourceStatus, SyncState};
use crate::workload::{PodUid, RoleSource};

/// What the status document says of the agent's configuration, and where it asks for the rest.
pub struct About {
    node: crate::config::Node,
    identity: &'static str,
    interception: Mode,
    sts: (f64, usize),
    began: Instant,
    clock: Clock,
    sources: watch::Receiver<SourceStatus>,
}

impl About {
    /// The process begins now.
    pub fn new(config: &Config, clock: Clock, sources: watch::Receiver<SourceStatus>) -> Self {
        Self {
            node: config.node.clone(),
            identity: config.identity.mode.name(),
            interception: config.interception.mode,
            sts: (config.sessions.sts_rate, config.sessions.sts_concurrency),
            began: Instant::now(),
            clock,
            sources,
        }
    }
}

impl Admin {
    /// How the agent and its pods stand now. Before the agent has begun to answer pods there are none.
    pub fn status(&self) -> Status {
        let imds = self.imds.get();
        Status {
            agent: self.agent(imds.map(AsRef::as_ref)),
            pods: imds.map(|imds| self.pods(imds)).unwrap_or_default(),
        }
    }

    fn agent(&self, imds: Option<&Imds>) -> AgentStatus {
        let about = &self.about;
        let conditions: Vec<_> = self
            .readiness
            .conditions()
            .into_iter()
            .map(|(name, missing)| ConditionStatus {
                name: name.to_owned(),
                missing,
            })
            .collect();
        let findings = self.readiness.findings().into_iter();
        let (rate, concurrency) = about.sts;
        let budget = imds.map(|imds| imds.credentials.budget());
        let budget = budget.unwrap_or_default();
        let interception = &self.metrics.interception;
        AgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: about.node.name.clone(),
            host_ip: about.node.host_ip,
            time: about.clock.now(),
            uptime_seconds: about.began.elapsed().as_secs(),
            ready: conditions.iter().all(|it| it.missing.is_none()),
            conditions,
            findings: findings
                .map(|(code, text)| Told {
                    code: code.to_owned(),
                    text,
                })
                .collect(),
            sources: about.views(),
            interception: InterceptionStatus {
                mode: about.interception.name().to_owned(),
                intact: about
                    .interception
                    .writes_rules()
                    .then(|| interception.is_intact()),
                repairs: interception.repairs(),
                self_test: interception.state(),
            },
            identity: about.identity.to_owned(),
            sts: StsStatus {
                rate,
                concurrency,
                running: budget.running,
                waiting: budget.waiting,
            },
        }
    }

    fn pods(&self, imds: &Imds) -> Vec<PodStatus> {
        let snapshot = imds.pods.snapshot();
        let slots = imds.credentials.status();
        let slots: HashMap<&Grant, &SlotStatus> =
            slots.iter().map(|slot| (&*slot.grant, slot)).collect();
        let disputed: HashSet<&PodUid> = snapshot
            .disputed()
            .map(|entry| &entry.workload.uid)
            .collect();
        let pods = snapshot.pods().filter(|entry| !entry.workload.terminal);
        let mut pods: Vec<PodStatus> = pods
            .map(|entry| {
                let is_disputed = disputed.contains(&entry.workload.uid);
                let slot = entry.decision.as_ref().ok();
                let slot = slot.and_then(|grant| slots.get(&**grant)).copied();
                self.pod(imds, entry, is_disputed, slot)
            })
            .collect();
        pods.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        pods
    }

    fn pod(
        &self,
        imds: &Imds,
        entry: &Entry<Grant>,
        is_disputed: bool,
        slot: Option<&SlotStatus>,
    ) -> PodStatus {
        let pod = &entry.workload;
        let (state, reason) = verdict(entry, is_disputed, slot);
        let grant = entry.decision.as_deref().ok();
        let counts = entry.mark.counts();
        // A pod that cannot be told from the node is given nothing, whatever is held for others of its role.
        let slot = slot.filter(|_| !pod.host_network);
        PodStatus {
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            uid: pod.uid.to_string(),
            addresses: pod.addresses.clone(),
            service_account: pod.service_account.as_deref().map(str::to_owned),
            host_network: pod.host_network,
            known_by: imds.identity.known_by(&pod.uid).map(str::to_owned),
            state,
            role: grant.map(|grant| grant.role.to_string()),
            role_name: grant.map(|grant| imds.policy.presented(&grant.role)),
            source: entry.basis.source.map(RoleSource::name).map(str::to_owned),
            reason: reason.as_ref().map(told),
            audited: entry.basis.overlooked.iter().map(told).collect(),
            credentials: slot.map(|slot| self.credentials(slot)),
            requests: counts.requests,
            denials: counts.denials,
        }
    }

    fn credentials(&self, slot: &SlotStatus) -> CredentialStatus {
        let now = self.about.clock.now();
        let left = |end: jiff::Timestamp| u64::try_from(end.duration_since(now).as_secs());
        CredentialStatus {
            state: standing(slot),
            session_name: slot.grant.session_name.to_string(),
            access_key_id: slot.access_key_id.clone(),
            obtained_at: slot.obtained_at,
            expires_at: slot.expires_at,
            left_seconds: slot.expires_at.map(|end| left(end).unwrap_or(0)),
        }
    }
}

impl About {
    fn views(&self) -> Vec<ViewStatus> {
        let now = self.clock.now();
        let sources = self.sources.borrow();
        let views = sources.views().map(|(resource, view)| ViewStatus {
            resource: resource.to_string(),
            synced: view.is_synced(),
            age_seconds: view.age(now).map(|age| age.as_secs()),
            failures: view.failures,
            error: match &view.state {
                SyncState::Failing { error, .. } => Some(error.clone()),
                SyncState::Starting | SyncState::Synced { .. } => None,
            },
        });
        views.collect()
    }
}

fn told(reason: &Reason) -> Told {
    Told {
        code: reason.code().to_owned(),
        text: reason.to_string(),
    }
}

/// What a request of the pod for its credentials would get now, and why nothing.
fn verdict(
    entry: &Entry<Grant>,
    is_disputed: bool,
    slot: Option<&SlotStatus>,
) -> (PodState, Option<Reason>) {
    let names_none =
        |reason: &Reason| matches!(reason, Reason::NoRole { .. } | Reason::OptedOut { .. });
    if entry.workload.host_network {
        // Most of them want nothing: only one that names a role itself is refused something.
        let asks = matches!(
            entry.basis.source,
            Some(RoleSource::Pod | RoleSource::ServiceAccount | RoleSource::Eks)
        );
        let state = match &entry.decision {
            _ if !asks => PodState::NoRole,
            Err(reason) if names_none(reason) => PodState::NoRole,
            _ => PodState::Refused,
        };
        return (state, Some(Reason::NodeAddress));
    }
    match &entry.decision {
        Err(reason) if names_none(reason) => (PodState::NoRole, Some(reason.clone())),
        Err(reason) if reason.is_unsettled() => (PodState::Waiting, Some(reason.clone())),
        Err(reason) => (PodState::Refused, Some(reason.clone())),
        Ok(_) if is_disputed => (PodState::Refused, Some(Reason::AmbiguousAddress)),
        Ok(_) => match slot {
            Some(slot) if slot.valid => (PodState::Served, None),
            Some(SlotStatus {
                failure: Some(Reason::StsRefused),
                ..
            }) => (PodState::Refused, Some(Reason::StsRefused)),
            Some(SlotStatus {
                failure: Some(reason),
                ..
            }) => (PodState::Waiting, Some(reason.clone())),
            _ => (PodState::Waiting, Some(Reason::CredentialsPending)),
        },
    }
}

fn standing(slot: &SlotStatus) -> CredentialState {
    match (slot.valid, &slot.failure) {
        (true, Some(_)) => CredentialState::Stale,
        (true, None) if slot.asking => CredentialState::Refreshing,
        (true, None) => CredentialState::Fresh,
        (false, Some(_)) => CredentialState::Failed,
        (false, None) if slot.asking && !slot.queued => CredentialState::Fetching,
        (false, None) => CredentialState::Waiting,
    }
}
