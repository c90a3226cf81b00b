//! The index against a model too simple to be wrong: maps of pods, namespaces and service accounts, searched from
//! end to end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::support::{Pod, asking, decide_asking, namespace, uid};
use crate::index::{Event, Index, Lookup, Reader, Verdict};
use crate::workload::{Namespace, PodUid, ServiceAccount, Surroundings, Workload};

const PODS: [&str; 5] = ["a", "b", "c", "d", "e"];
const ADDRESSES: [&str; 4] = ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2", "2001:db8::1"];
const NAMESPACES: [&str; 2] = ["default", "other"];
const ROLES: [&str; 2] = ["reader", "writer"];
const ACCOUNTS: [&str; 2] = ["robot", "human"];

#[derive(Clone, Default)]
struct Model {
    pods: BTreeMap<PodUid, Workload>,
    namespaces: BTreeMap<Arc<str>, Namespace>,
    accounts: BTreeMap<(Arc<str>, Arc<str>), ServiceAccount>,
    sandboxes: HashMap<PodUid, Vec<IpAddr>>,
    strict: bool,
}

impl Model {
    fn apply(&mut self, event: Event) {
        match event {
            Event::PodsReplaced(pods) => {
                self.pods = pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect();
            }
            Event::PodApplied(pod) => drop(self.pods.insert(pod.uid.clone(), pod)),
            Event::PodDeleted(uid) => drop(self.pods.remove(&uid)),
            Event::NamespacesReplaced(all) => {
                self.namespaces = all
                    .into_iter()
                    .map(|one| (Arc::clone(&one.name), one))
                    .collect();
            }
            Event::NamespaceApplied(one) => {
                self.namespaces.insert(Arc::clone(&one.name), one);
            }
            Event::NamespaceDeleted(name) => drop(self.namespaces.remove(&name)),
            Event::ServiceAccountsReplaced(all) => {
                self.accounts = all.into_iter().map(|one| (named(&one), one)).collect();
            }
            Event::ServiceAccountApplied(one) => drop(self.accounts.insert(named(&one), one)),
            Event::ServiceAccountDeleted(namespace, name) => {
                self.accounts.remove(&(namespace, name));
            }
            Event::SandboxesReplaced(all) => self.sandboxes = all,
            Event::RulesChanged => self.strict = !self.strict,
        }
    }

    /// The pods that a source has shown, with what the runtime says of them.
    fn pods(&self) -> impl Iterator<Item = Workload> {
        self.pods.values().map(|pod| Workload {
            sandbox_addresses: self.sandboxes.get(&pod.uid).cloned().unwrap_or_default(),
            ..pod.clone()
        })
    }

    fn live(&self) -> impl Iterator<Item = Workload> {
        self.pods().filter(|pod| !pod.terminal && !pod.host_network)
    }

    fn owners(&self, address: IpAddr) -> Vec<Workload> {
        let owns = |pod: &Workload| {
            let mut all = pod.addresses.iter().chain(&pod.sandbox_addresses);
            all.any(|own| own.to_canonical() == address.to_canonical())
        };
        self.live().filter(owns).collect()
    }

    fn decide(&self, pod: &Workload) -> Verdict<String> {
        let account = pod.service_account.clone();
        let around = Surroundings {
            namespace: self.namespaces.get(&pod.namespace),
            service_account: account
                .and_then(|name| self.accounts.get(&(Arc::clone(&pod.namespace), name))),
        };
        decide_asking(pod, around, self.strict)
    }

    fn wanted(&self) -> BTreeSet<String> {
        self.live()
            .filter_map(|pod| self.decide(&pod).decision.ok())
            .map(|grant| grant.to_string())
            .collect()
    }
}

fn named(account: &ServiceAccount) -> (Arc<str>, Arc<str>) {
    (Arc::clone(&account.namespace), Arc::clone(&account.name))
}

/// Lets the index see an event so often; what the rules are changes once.
fn deliver(index: &mut Index<String>, strict: &AtomicBool, event: &Event, deliveries: usize) {
    if *event == Event::RulesChanged {
        strict.fetch_xor(true, Ordering::Relaxed);
    }
    for _ in 0..deliveries {
        index.apply(event.clone());
    }
}

/// Everything that a reader can see is what the model says.
fn assert_agree(reader: &Reader<String>, model: &Model) -> Result<(), TestCaseError> {
    for address in ADDRESSES.map(super::ip) {
        let owners = model.owners(address);
        match (reader.lookup(address), owners.as_slice()) {
            (Lookup::Unknown, []) | (Lookup::Ambiguous, [_, _, ..]) => {}
            (Lookup::Pod(entry), [owner]) => {
                prop_assert_eq!(&entry.workload, owner);
                let verdict = model.decide(owner);
                prop_assert_eq!(&entry.decision, &verdict.decision);
                prop_assert_eq!(&entry.basis, &verdict.basis);
            }
            (answer, owners) => {
                prop_assert!(false, "{address}: {answer:?}, but it belongs to {owners:?}");
            }
        }
    }
    let snapshot = reader.snapshot();
    let known: BTreeMap<_, _> = snapshot
        .pods()
        .map(|entry| (entry.workload.uid.clone(), entry.workload.clone()))
        .collect();
    let expected: BTreeMap<_, _> = model.pods().map(|pod| (pod.uid.clone(), pod)).collect();
    prop_assert_eq!(known, expected);
    let wanted: BTreeSet<String> = snapshot.wanted().map(ToString::to_string).collect();
    prop_assert_eq!(wanted, model.wanted());
    Ok(())
}

fn pod() -> impl Strategy<Value = Workload> {
    (
        select(&PODS[..]),
        select(&NAMESPACES[..]),
        subsequence(&ADDRESSES[..], 0..=2),
        proptest::option::of(select(&ROLES[..])),
        proptest::option::of(select(&ACCOUNTS[..])),
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.15),
    )
        .prop_map(
            |(name, namespace, addresses, role, account, terminal, host_network)| {
                let pod = addresses.into_iter().fold(Pod::new(name), Pod::at);
                let mut pod = role.into_iter().fold(pod, Pod::role).build();
                pod.namespace = namespace.into();
                pod.service_account = account.map(Into::into);
                pod.terminal = terminal;
                pod.host_network = host_network;
                pod
            },
        )
}

fn a_namespace() -> impl Strategy<Value = Namespace> {
    (
        select(&NAMESPACES[..]),
        proptest::option::of(select(&ROLES[..])),
    )
        .prop_map(|(name, role)| namespace(name, role))
}

fn an_account() -> impl Strategy<Value = ServiceAccount> {
    (
        select(&NAMESPACES[..]),
        select(&ACCOUNTS[..]),
        proptest::option::of(select(&ROLES[..])),
    )
        .prop_map(|(namespace, name, role)| ServiceAccount {
            namespace: namespace.into(),
            name: name.into(),
            role: role.map(Into::into),
            eks_role: None,
        })
}

/// What the runtime says, also of pods that are not there.
fn sandboxes() -> impl Strategy<Value = HashMap<PodUid, Vec<IpAddr>>> {
    let one = (select(&PODS[..]), subsequence(&ADDRESSES[..], 1..=2));
    vec(one, 0..4).prop_map(|all| {
        let parsed = all.into_iter().map(|(name, addresses)| {
            let addresses = addresses.into_iter().map(super::ip).collect();
            (uid(name), addresses)
        });
        parsed.collect()
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => pod().prop_map(Event::PodApplied),
        3 => select(&PODS[..]).prop_map(|name| Event::PodDeleted(uid(name))),
        1 => vec(pod(), 0..5).prop_map(Event::PodsReplaced),
        2 => a_namespace().prop_map(Event::NamespaceApplied),
        1 => select(&NAMESPACES[..]).prop_map(|name| Event::NamespaceDeleted(name.into())),
        1 => vec(a_namespace(), 0..3).prop_map(Event::NamespacesReplaced),
        2 => an_account().prop_map(Event::ServiceAccountApplied),
        1 => (select(&NAMESPACES[..]), select(&ACCOUNTS[..]))
            .prop_map(|(namespace, name)| Event::ServiceAccountDeleted(namespace.into(), name.into())),
        1 => vec(an_account(), 0..4).prop_map(Event::ServiceAccountsReplaced),
        3 => sandboxes().prop_map(Event::SandboxesReplaced),
        1 => Just(Event::RulesChanged),
    ]
}

/// Events, each delivered one to three times, with a publish after some of them.
fn history() -> impl Strategy<Value = Vec<(Event, usize, bool)>> {
    vec((event(), 1..=3_usize, any::<bool>()), 0..40)
}

proptest! {
    #[test]
    fn after_any_history_every_answer_is_what_the_events_so_far_say(history in history()) {
        let strict = Arc::new(AtomicBool::new(false));
        let (mut index, reader) = asking(Arc::clone(&strict));
        let mut model = Model::default();
        let mut published = Model::default();
        for (event, deliveries, publish) in history {
            deliver(&mut index, &strict, &event, deliveries);
            model.apply(event);
            if publish {
                index.publish();
                published = model.clone();
            }
            // Between two batches readers see the last one whole, never a part of the next.
            assert_agree(&reader, &published)?;
        }
    }

    #[test]
    fn a_relist_after_any_history_leaves_nothing_of_it(
        history in history(),
        pods in vec(pod(), 0..5),
        namespaces in vec(a_namespace(), 0..3),
        accounts in vec(an_account(), 0..4),
        turn in 0..3_usize,
    ) {
        let strict = Arc::new(AtomicBool::new(false));
        let (mut index, reader) = asking(Arc::clone(&strict));
        let mut model = Model::default();
        for (event, deliveries, _) in history {
            deliver(&mut index, &strict, &event, deliveries);
            model.strict ^= event == Event::RulesChanged;
            // A relist is of the API's objects: what the runtime says stays.
            if let Event::SandboxesReplaced(_) = &event {
                model.apply(event);
            }
        }
        let mut relist = [
            Event::PodsReplaced(pods),
            Event::NamespacesReplaced(namespaces),
            Event::ServiceAccountsReplaced(accounts),
        ];
        relist.rotate_left(turn);
        for event in relist {
            index.apply(event.clone());
            model.apply(event);
        }
        index.publish();
        assert_agree(&reader, &model)?;
    }
}
