//! One consistent state of the index: pods by UID, owners by address, namespaces, and the grants that are wanted.
//!
//! The index edits its own copy and publishes clones of it. The maps are shared between the two and copied when one is
//! written to: for 10,000 pods about a millisecond a batch in a debug build, for the pods of one node nothing to speak of.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Basis, Decision, Mark, Verdict};
use crate::reason::Reason;
use crate::workload::{Namespace, PodUid, ServiceAccount, Surroundings, Workload};

/// A pod and what was decided about it.
#[derive(Debug)]
pub struct Entry<G> {
    /// The pod.
    pub workload: Workload,
    /// What it is granted, or why it gets nothing.
    pub decision: Decision<G>,
    /// How that came about.
    pub basis: Basis,
    /// What of the decision the pod has been given last, and how often it has asked; for those who give.
    pub mark: Mark,
}

/// Who owns an address.
#[derive(Debug)]
pub enum Lookup<G> {
    /// One live pod.
    Pod(Arc<Entry<G>>),
    /// More than one live pod claims it: nobody's until only one is left.
    Ambiguous,
    /// No live pod.
    Unknown,
}

impl<G> Lookup<G> {
    /// Whether waiting for further watch events cannot be expected to change the answer.
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Pod(entry) => !entry.decision.as_ref().is_err_and(Reason::is_unsettled),
            Self::Ambiguous | Self::Unknown => false,
        }
    }
}

/// One state of the index. Cheap to clone.
#[derive(Debug)]
pub struct Snapshot<G> {
    pub(super) pods: Arc<HashMap<PodUid, Arc<Entry<G>>>>,
    pub(super) namespaces: Arc<HashMap<Arc<str>, Namespace>>,
    pub(super) service_accounts: Arc<HashMap<AccountName, ServiceAccount>>,
    owners: Arc<HashMap<IpAddr, Claim<G>>>,
    /// Each grant with the number of live pods that have it.
    wanted: Arc<HashMap<Arc<G>, usize>>,
}

/// A service account's namespace and name.
pub(super) type AccountName = (Arc<str>, Arc<str>);

/// The live pods that claim one address; never none.
#[derive(Debug)]
enum Claim<G> {
    One(Arc<Entry<G>>),
    Many(Vec<Arc<Entry<G>>>),
}

impl<G> Snapshot<G> {
    /// Who owns `address`. An IPv4-mapped IPv6 address is the IPv4 address in it.
    pub fn lookup(&self, address: IpAddr) -> Lookup<G> {
        match self.owners.get(&address.to_canonical()) {
            Some(Claim::One(entry)) => Lookup::Pod(Arc::clone(entry)),
            Some(Claim::Many(_)) => Lookup::Ambiguous,
            None => Lookup::Unknown,
        }
    }

    /// Every live pod that claims `address`, for those who must say why it is nobody's.
    pub fn claimants(&self, address: IpAddr) -> &[Arc<Entry<G>>] {
        match self.owners.get(&address.to_canonical()) {
            Some(Claim::One(entry)) => std::slice::from_ref(entry),
            Some(Claim::Many(entries)) => entries,
            None => &[],
        }
    }

    /// Every live pod of which another claims an address too; one with two such addresses comes twice.
    pub fn disputed(&self) -> impl Iterator<Item = &Arc<Entry<G>>> {
        let many = self.owners.values().filter_map(|claim| match claim {
            Claim::One(_) => None,
            Claim::Many(entries) => Some(entries),
        });
        many.flatten()
    }

    /// The pod of this UID, also one that owns no address.
    pub fn pod(&self, uid: &PodUid) -> Option<&Arc<Entry<G>>> {
        self.pods.get(uid)
    }

    /// Every known pod, also those that own no address, in no order.
    pub fn pods(&self) -> impl ExactSizeIterator<Item = &Arc<Entry<G>>> {
        self.pods.values()
    }

    /// Every known namespace, in no order.
    pub fn namespaces(&self) -> impl ExactSizeIterator<Item = &Namespace> {
        self.namespaces.values()
    }

    /// What is known around a pod.
    pub fn around(&self, pod: &Workload) -> Surroundings<'_> {
        let account = super::account_of(pod);
        Surroundings {
            namespace: self.namespaces.get(&pod.namespace),
            service_account: account.and_then(|name| self.service_accounts.get(&name)),
        }
    }

    /// The distinct grants of all live pods, also of those without an address yet, in no order.
    pub fn wanted(&self) -> impl ExactSizeIterator<Item = &Arc<G>> {
        self.wanted.keys()
    }

    /// The live pods with this grant, in no order.
    pub fn pods_granted<'a>(&'a self, grant: &'a G) -> impl Iterator<Item = &'a Workload>
    where
        G: PartialEq,
    {
        self.pods
            .values()
            .filter(|entry| entry.workload.is_live())
            .filter(move |entry| entry.decision.as_deref().is_ok_and(|it| it == grant))
            .map(|entry| &entry.workload)
    }

    /// What is granted to the live pods that people have changed since `earlier`: the pod is new, or its annotations,
    /// labels, namespace or service account are not what they were. What the kubelet reports of a pod does not count.
    pub fn changed_since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = &'a Arc<G>> {
        let has_changed = |entry: &&'a Arc<Entry<G>>| {
            let pod = &entry.workload;
            let before = earlier.pods.get(&pod.uid);
            before.is_none_or(|before| {
                let before = &before.workload;
                before.annotations != pod.annotations || before.labels != pod.labels
            }) || self.around(pod) != earlier.around(pod)
        };
        self.pods
            .values()
            .filter(|entry| entry.workload.is_live())
            .filter(has_changed)
            .filter_map(|entry| entry.decision.as_ref().ok())
    }
}

impl<G: Eq + Hash> Snapshot<G> {
    /// Adds a pod that is not in the snapshot.
    pub(super) fn insert(&mut self, workload: Workload, verdict: Verdict<G>, mark: Mark) {
        let Verdict { decision, basis } = verdict;
        let decision = match decision {
            Ok(grant) if workload.is_live() => Ok(self.want(grant)),
            other => other,
        };
        let entry = Arc::new(Entry {
            workload,
            decision,
            basis,
            mark,
        });
        let addresses = entry.workload.owned_addresses();
        if !addresses.is_empty() {
            let owners = Arc::make_mut(&mut self.owners);
            for address in addresses {
                claim(owners, address, &entry);
            }
        }
        Arc::make_mut(&mut self.pods).insert(entry.workload.uid.clone(), entry);
    }

    /// Takes a pod out.
    pub(super) fn remove(&mut self, uid: &PodUid) -> Option<Arc<Entry<G>>> {
        if !self.pods.contains_key(uid) {
            return None;
        }
        let entry = Arc::make_mut(&mut self.pods).remove(uid)?;
        if let Ok(grant) = &entry.decision
            && entry.workload.is_live()
        {
            self.unwant(grant);
        }
        let addresses = entry.workload.owned_addresses();
        if !addresses.is_empty() {
            let owners = Arc::make_mut(&mut self.owners);
            for address in addresses {
                release(owners, address, uid);
            }
        }
        Some(entry)
    }

    /// Counts one more pod with this grant, and returns the copy that all of them share.
    fn want(&mut self, grant: Arc<G>) -> Arc<G> {
        let wanted = Arc::make_mut(&mut self.wanted);
        let shared = wanted
            .get_key_value(&grant)
            .map_or(grant, |(known, _)| Arc::clone(known));
        *wanted.entry(Arc::clone(&shared)).or_default() += 1;
        shared
    }

    fn unwant(&mut self, grant: &Arc<G>) {
        let wanted = Arc::make_mut(&mut self.wanted);
        if let Some(pods) = wanted.get_mut(grant) {
            *pods -= 1;
            if *pods == 0 {
                wanted.remove(grant);
            }
        }
    }
}

fn claim<G>(owners: &mut HashMap<IpAddr, Claim<G>>, address: IpAddr, entry: &Arc<Entry<G>>) {
    let mut claimants = owners
        .remove(&address)
        .map_or_else(Vec::new, Claim::into_entries);
    claimants.push(Arc::clone(entry));
    if let Some(claim) = Claim::from_entries(claimants) {
        owners.insert(address, claim);
    }
}

fn release<G>(owners: &mut HashMap<IpAddr, Claim<G>>, address: IpAddr, uid: &PodUid) {
    let mut claimants = owners
        .remove(&address)
        .map_or_else(Vec::new, Claim::into_entries);
    claimants.retain(|entry| entry.workload.uid != *uid);
    if let Some(claim) = Claim::from_entries(claimants) {
        owners.insert(address, claim);
    }
}

impl<G> Claim<G> {
    fn into_entries(self) -> Vec<Arc<Entry<G>>> {
        match self {
            Self::One(entry) => vec![entry],
            Self::Many(entries) => entries,
        }
    }

    fn from_entries(mut entries: Vec<Arc<Entry<G>>>) -> Option<Self> {
        match entries.len() {
            0 | 1 => entries.pop().map(Self::One),
            _ => Some(Self::Many(entries)),
        }
    }
}

// Written out because a derive would ask for `G: Clone`.
impl<G> Clone for Snapshot<G> {
    fn clone(&self) -> Self {
        Self {
            pods: Arc::clone(&self.pods),
            namespaces: Arc::clone(&self.namespaces),
            service_accounts: Arc::clone(&self.service_accounts),
            owners: Arc::clone(&self.owners),
            wanted: Arc::clone(&self.wanted),
        }
    }
}

impl<G> Default for Snapshot<G> {
    fn default() -> Self {
        Self {
            pods: Arc::default(),
            namespaces: Arc::default(),
            service_accounts: Arc::default(),
            owners: Arc::default(),
            wanted: Arc::default(),
        }
    }
}

impl<G> Clone for Claim<G> {
    fn clone(&self) -> Self {
        match self {
            Self::One(entry) => Self::One(Arc::clone(entry)),
            Self::Many(entries) => Self::Many(entries.clone()),
        }
    }
}
