//! Which pod owns an address, and what was decided about it.
//!
//! One writer ([`Index`]) folds watch events, keyed by UID, and publishes a snapshot after each batch; any number of
//! [`Reader`]s look addresses up without a lock and are woken by the event they wait for. Decisions are made here, at
//! watch time, by the function that the index is given: it knows neither roles nor AWS. It never guesses: an address
//! that two live pods claim belongs to neither.

mod reader;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use crate::reason::Reason;
use crate::workload::{Namespace, PodUid, Workload};

pub use reader::Reader;
pub use snapshot::{Entry, Lookup, Snapshot};

use reader::Published;

/// What was decided about a pod: what it is granted, or why it gets nothing.
pub type Decision<G> = Result<Arc<G>, Reason>;

/// Decides about a pod. Must depend on nothing but its arguments: it is asked again only when one of them changes.
pub type Decide<G> = Box<dyn Fn(&Workload, Option<&Namespace>) -> Decision<G> + Send>;

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
}

/// The one writer. `G` is what a pod may be granted.
pub struct Index<G> {
    /// The state so far. Its maps are shared with the published snapshot and copied only when one of them changes.
    next: Snapshot<G>,
    changed: bool,
    decide: Decide<G>,
    published: Arc<Published<G>>,
}

impl<G: Eq + Hash> Index<G> {
    /// An index that knows nothing yet, and the first of its readers.
    pub fn new(
        decide: impl Fn(&Workload, Option<&Namespace>) -> Decision<G> + Send + 'static,
    ) -> (Self, Reader<G>) {
        let published = Arc::new(Published::new());
        let reader = Reader::new(Arc::clone(&published));
        let index = Self {
            next: Snapshot::default(),
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
            self.decide_again(|name| old.get(name) != new.get(name));
        }
    }

    fn put_namespace(&mut self, namespace: Namespace) {
        let name = Arc::clone(&namespace.name);
        if self.next.namespaces.get(&name) != Some(&namespace) {
            Arc::make_mut(&mut self.next.namespaces).insert(Arc::clone(&name), namespace);
            self.changed = true;
            self.decide_again(|affected| *affected == name);
        }
    }

    fn remove_namespace(&mut self, name: &Arc<str>) {
        if self.next.namespaces.contains_key(name) {
            Arc::make_mut(&mut self.next.namespaces).remove(name);
            self.changed = true;
            self.decide_again(|affected| affected == name);
        }
    }

    fn put_pod(&mut self, pod: Workload) {
        if self
            .next
            .pods
            .get(&pod.uid)
            .is_some_and(|known| known.workload == pod)
        {
            return;
        }
        self.remove_pod(&pod.uid);
        let decision = (self.decide)(&pod, self.next.namespaces.get(&pod.namespace));
        self.next.insert(pod, decision);
        self.changed = true;
    }

    fn remove_pod(&mut self, uid: &PodUid) {
        self.changed |= self.next.remove(uid).is_some();
    }

    /// Decides again about the pods whose namespace is among `affected`.
    fn decide_again(&mut self, affected: impl Fn(&Arc<str>) -> bool) {
        let pods: Vec<Arc<Entry<G>>> = self
            .next
            .pods
            .values()
            .filter(|entry| affected(&entry.workload.namespace))
            .map(Arc::clone)
            .collect();
        for entry in pods {
            let pod = &entry.workload;
            let decision = (self.decide)(pod, self.next.namespaces.get(&pod.namespace));
            if decision != entry.decision {
                self.next.remove(&pod.uid);
                self.next.insert(pod.clone(), decision);
                self.changed = true;
            }
        }
    }
}
