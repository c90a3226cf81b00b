//! Which pod owns an address, and what was decided about it.
//!
//! One writer ([`Index`]) folds watch events, keyed by UID, and publishes a snapshot after each batch; any number of
//! [`Reader`]s look addresses up without a lock and are woken by the event they wait for. Decisions are made here, at
//! watch time, by the function that the index is given: it knows neither roles nor AWS. It never guesses: an address
//! that two live pods claim belongs to neither.

mod mark;
mod reader;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use crate::reason::Reason;
use crate::workload::{Namespace, PodUid, RoleSource, ServiceAccount, Surroundings, Workload};

pub use mark::{Counts, Mark};
pub use reader::Reader;
pub use snapshot::{Entry, Lookup, Snapshot};

use reader::Published;
use snapshot::AccountName;

/// What was decided about a pod: what it is granted, or why it gets nothing.
pub type Decision<G> = Result<Arc<G>, Reason>;

/// A decision and how it came about.
#[derive(Debug)]
pub struct Verdict<G> {
    /// What the pod is granted, or why it gets nothing.
    pub decision: Decision<G>,
    /// How that came about.
    pub basis: Basis,
}

/// How a decision came about, for those who must explain it. Nothing of it changes what is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// The source that named the role; `None` where none did.
    pub source: Option<RoleSource>,
    /// What guards in audit mode would have refused the pod for.
    pub overlooked: Vec<Reason>,
}

impl<G> From<Decision<G>> for Verdict<G> {
    fn from(decision: Decision<G>) -> Self {
        Self {
            decision,
            basis: Basis::default(),
        }
    }
}

/// Decides about a pod. Must depend on nothing but its arguments, unless whoever changes what else it depends on sends
/// [`Event::RulesChanged`]: it is asked again only then.
pub type Decide<G> = Box<dyn Fn(&Workload, Surroundings<'_>) -> Verdict<G> + Send>;

/// One observation of a source. What is folded twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// These are all the pods there are: any other is gone.
    PodsReplaced(Vec<Workload>),
    /// A pod is new or has changed.
    PodApplied(Workload),
    /// A pod is gone.
    PodDeleted(PodUid),
    /// These are all the namespaces there are: any other is gone.
    NamespacesReplaced(Vec<Namespace>),
    /// A namespace is new or has changed.
    NamespaceApplied(Namespace),
    /// A namespace is gone.
    NamespaceDeleted(Arc<str>),
    /// These are all the service accounts there are: any other is gone.
    ServiceAccountsReplaced(Vec<ServiceAccount>),
    /// A service account is new or has changed.
    ServiceAccountApplied(ServiceAccount),
    /// A service account is gone: its namespace and its name.
    ServiceAccountDeleted(Arc<str>, Arc<str>),
    /// These are the addresses of all sandboxes that the container runtime of the node holds ready, by the UIDs of their
    /// pods; what is said of an unknown UID counts once its pod is known, and never before.
    SandboxesReplaced(HashMap<PodUid, Vec<IpAddr>>),
    /// What decides has changed: every pod is decided about anew.
    RulesChanged,
}

/// The one writer. `G` is what a pod may be granted.
pub struct Index<G> {
    /// The state so far. Its maps are shared with the published snapshot and copied only when one of them changes.
    next: Snapshot<G>,
    /// What the container runtime says, also of pods that no source has shown.
    sandboxes: HashMap<PodUid, Vec<IpAddr>>,
    changed: bool,
    decide: Decide<G>,
    published: Arc<Published<G>>,
}

impl<G: Eq + Hash> Index<G> {
    /// An index that knows nothing yet, and the first of its readers; for decisions on pod and namespace alone.
    pub fn new(
        decide: impl Fn(&Workload, Option<&Namespace>) -> Decision<G> + Send + 'static,
    ) -> (Self, Reader<G>) {
        Self::judging(move |pod, around| decide(pod, around.namespace).into())
    }

    /// The same, for decisions on everything around the pod, which say how they came about.
    pub fn judging(
        decide: impl Fn(&Workload, Surroundings<'_>) -> Verdict<G> + Send + 'static,
    ) -> (Self, Reader<G>) {
        let published = Arc::new(Published::new());
        let reader = Reader::new(Arc::clone(&published));
        let index = Self {
            next: Snapshot::default(),
            sandboxes: HashMap::new(),
            changed: false,
            decide: Box::new(decide),
            published,
        };
        (index, reader)
    }

    /// Another of its readers.
    pub fn reader(&self) -> Reader<G> {
        Reader::new(Arc::clone(&self.published))
    }

    /// Folds one event. Readers see nothing of it before [`Index::publish`].
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::PodsReplaced(pods) => self.replace_pods(pods),
            Event::PodApplied(pod) => self.put_pod(pod),
            Event::PodDeleted(uid) => self.remove_pod(&uid),
            Event::NamespacesReplaced(namespaces) => self.replace_namespaces(namespaces),
            Event::NamespaceApplied(namespace) => self.put_namespace(namespace),
            Event::NamespaceDeleted(name) => self.remove_namespace(&name),
            Event::ServiceAccountsReplaced(accounts) => self.replace_service_accounts(accounts),
            Event::ServiceAccountApplied(account) => self.put_service_account(account),
            Event::ServiceAccountDeleted(namespace, name) => {
                self.remove_service_account(&(namespace, name));
            }
            Event::SandboxesReplaced(sandboxes) => self.replace_sandboxes(sandboxes),
            Event::RulesChanged => self.decide_again(|_| true),
        }
    }

    /// Shows readers everything applied so far, as one change, and wakes those who wait.
    pub fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.published.store(self.next.clone());
        }
    }

    fn replace_pods(&mut self, pods: Vec<Workload>) {
        let listed: HashSet<&PodUid> = pods.iter().map(|pod| &pod.uid).collect();
        let gone: Vec<PodUid> = self
            .next
            .pods
            .keys()
            .filter(|uid| !listed.contains(uid))
            .cloned()
            .collect();
        for uid in &gone {
            self.remove_pod(uid);
        }
        for pod in pods {
            self.put_pod(pod);
        }
    }

    fn replace_namespaces(&mut self, namespaces: Vec<Namespace>) {
        let new: HashMap<Arc<str>, Namespace> = namespaces
            .into_iter()
            .map(|namespace| (Arc::clone(&namespace.name), namespace))
            .collect();
        let old = std::mem::replace(&mut self.next.namespaces, Arc::new(new));
        if old != self.next.namespaces {
            self.changed = true;
            let new = Arc::clone(&self.next.namespaces);
            self.decide_again(|pod| old.get(&pod.namespace) != new.get(&pod.namespace));
        }
    }

    fn put_namespace(&mut self, namespace: Namespace) {
        let name = Arc::clone(&namespace.name);
        if self.next.namespaces.get(&name) != Some(&namespace) {
            Arc::make_mut(&mut self.next.namespaces).insert(Arc::clone(&name), namespace);
            self.changed = true;
            self.decide_again(|pod| pod.namespace == name);
        }
    }

    fn remove_namespace(&mut self, name: &Arc<str>) {
        if self.next.namespaces.contains_key(name) {
            Arc::make_mut(&mut self.next.namespaces).remove(name);
            self.changed = true;
            self.decide_again(|pod| pod.namespace == *name);
        }
    }

    fn replace_sandboxes(&mut self, sandboxes: HashMap<PodUid, Vec<IpAddr>>) {
        let old = std::mem::replace(&mut self.sandboxes, sandboxes);
        let new = self.sandboxes.keys().filter(|uid| !old.contains_key(*uid));
        let changed = old
            .keys()
            .chain(new)
            .filter(|uid| old.get(*uid) != self.sandboxes.get(*uid));
        let known = changed.filter_map(|uid| self.next.pods.get(uid));
        let pods: Vec<Workload> = known.map(|entry| entry.workload.clone()).collect();
        for pod in pods {
            self.put_pod(pod);
        }
    }

    fn put_pod(&mut self, mut pod: Workload) {
        pod.sandbox_addresses = self.sandboxes.get(&pod.uid).cloned().unwrap_or_default();
        let known = self.next.pods.get(&pod.uid);
        if known.is_some_and(|known| known.workload == pod) {
            return;
        }
        let mark = known.map(|known| known.mark.clone()).unwrap_or_default();
        self.remove_pod(&pod.uid);
        let verdict = (self.decide)(&pod, self.next.around(&pod));
        self.next.insert(pod, verdict, mark);
        self.changed = true;
    }

    fn remove_pod(&mut self, uid: &PodUid) {
        self.changed |= self.next.remove(uid).is_some();
    }

    fn replace_service_accounts(&mut self, accounts: Vec<ServiceAccount>) {
        let new: HashMap<AccountName, ServiceAccount> = accounts
            .into_iter()
            .map(|account| (name_of(&account), account))
            .collect();
        let old = std::mem::replace(&mut self.next.service_accounts, Arc::new(new));
        if old != self.next.service_accounts {
            self.changed = true;
            let new = Arc::clone(&self.next.service_accounts);
            self.decide_again(|pod| {
                account_of(pod).is_some_and(|name| old.get(&name) != new.get(&name))
            });
        }
    }

    fn put_service_account(&mut self, account: ServiceAccount) {
        let name = name_of(&account);
        if self.next.service_accounts.get(&name) != Some(&account) {
            Arc::make_mut(&mut self.next.service_accounts).insert(name.clone(), account);
            self.changed = true;
            self.decide_again(|pod| account_of(pod).as_ref() == Some(&name));
        }
    }

    fn remove_service_account(&mut self, name: &AccountName) {
        if self.next.service_accounts.contains_key(name) {
            Arc::make_mut(&mut self.next.service_accounts).remove(name);
            self.changed = true;
            self.decide_again(|pod| account_of(pod).as_ref() == Some(name));
        }
    }

    /// Decides again about the pods that are affected.
    fn decide_again(&mut self, affected: impl Fn(&Workload) -> bool) {
        let pods: Vec<Arc<Entry<G>>> = self
            .next
            .pods
            .values()
            .filter(|entry| affected(&entry.workload))
            .map(Arc::clone)
            .collect();
        for entry in pods {
            let pod = &entry.workload;
            let verdict = (self.decide)(pod, self.next.around(pod));
            if verdict.decision != entry.decision || verdict.basis != entry.basis {
                self.next.remove(&pod.uid);
                self.next.insert(pod.clone(), verdict, entry.mark.clone());
                self.changed = true;
            }
        }
    }
}

fn name_of(account: &ServiceAccount) -> AccountName {
    (Arc::clone(&account.namespace), Arc::clone(&account.name))
}

/// The service account that a pod runs as.
fn account_of(pod: &Workload) -> Option<AccountName> {
    let name = pod.service_account.as_ref()?;
    Some((Arc::clone(&pod.namespace), Arc::clone(name)))
}
