//! From a pod to its credentials: the index decides, and the engine fetches what live pods are granted, and nothing else.

use podiam_iam::BaseArn;

use super::*;
use crate::authorize::{Policy, Rules};
use crate::config::{Attribution, Enforcement, RestrictionFormat, SessionNaming};
use crate::index::{Event, Index, Reader};
use crate::workload::{AnnotationKeys, Namespace, PodAnnotations, PodUid, RoleSource, Workload};

/// An engine behind an index, as `app` joins them.
struct Node {
    bench: Bench,
    index: Index<Grant>,
    pods: Reader<Grant>,
}

impl Node {
    fn new() -> Self {
        let policy = Policy::new(Rules {
            base: Some(BaseArn::parse("arn:aws:iam::123456789012:role/").unwrap()),
            default_role: None,
            sources: vec![RoleSource::Pod],
            restrictions: Some(RestrictionFormat::Glob),
            enforcement: Enforcement::Enforce,
            permitted: None,
            naming: SessionNaming::Role,
            session_duration: HOUR,
            host_ip: None,
            attribution: Attribution::default(),
            keys: AnnotationKeys {
                role: "role".into(),
                external_id: "id".into(),
                allowed_roles: "allowed".into(),
                ..AnnotationKeys::default()
            },
        });
        let (index, pods) = Index::new(move |pod, namespace| policy.decide(pod, namespace));
        let mut node = Self {
            bench: Bench::new(ONE_HOUR),
            index,
            pods,
        };
        node.index
            .apply(Event::NamespaceApplied(namespace("[\"web\"]")));
        node
    }

    /// Folds an event, and lets the engine follow.
    async fn see(&mut self, event: Event) {
        let before = self.pods.snapshot();
        self.index.apply(event);
        self.index.publish();
        let snapshot = self.pods.snapshot();
        let credentials = &self.bench.credentials;
        credentials.set_wanted(snapshot.wanted().cloned());
        credentials.reconsider(snapshot.changed_since(&before));
        self.bench.pass(Duration::from_secs(2)).await;
    }

    fn slots(&self) -> usize {
        self.bench.credentials.status().len()
    }
}

fn namespace(allowed: &str) -> Namespace {
    Namespace {
        name: "default".into(),
        allowed_roles: Some(allowed.into()),
        ..Namespace::default()
    }
}

fn pod(name: &str, role: Option<&str>) -> Workload {
    Workload {
        annotations: PodAnnotations {
            role: role.map(Into::into),
            ..PodAnnotations::default()
        },
        ..Workload::new(PodUid::new(name), "default", name)
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_has_its_credentials_before_it_has_an_address() {
    let mut node = Node::new();
    node.see(Event::PodApplied(pod("a", Some("web")))).await;
    assert_eq!((node.slots(), node.bench.sts.count()), (1, 1));
    assert!(node.bench.credentials.status()[0].valid);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_pods_that_are_denied_ended_or_on_the_nodes_network() {
    let mut node = Node::new();
    let ended = Workload {
        terminal: true,
        ..pod("ended", Some("web"))
    };
    let host = Workload {
        host_network: true,
        ..pod("host", Some("web"))
    };
    for pod in [
        pod("forbidden", Some("admin")),
        pod("malformed", Some("no such role!")),
        pod("opted-out", Some("")),
        pod("without", None),
        ended,
        host,
    ] {
        node.see(Event::PodApplied(pod)).await;
    }
    assert_eq!((node.slots(), node.bench.sts.count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn credentials_retire_with_the_last_pod_that_needs_them_however_it_goes() {
    for last in [
        Event::PodDeleted(PodUid::new("b")),
        Event::PodsReplaced(Vec::new()),
        Event::PodApplied(Workload {
            terminal: true,
            ..pod("b", Some("web"))
        }),
        Event::PodApplied(pod("b", None)),
        Event::NamespaceApplied(namespace("[]")),
        Event::NamespaceDeleted("default".into()),
    ] {
        let mut node = Node::new();
        node.see(Event::PodApplied(pod("a", Some("web")))).await;
        node.see(Event::PodApplied(pod("b", Some("web")))).await;
        assert_eq!((node.slots(), node.bench.sts.count()), (1, 1));
        node.see(Event::PodDeleted(PodUid::new("a"))).await;
        assert_eq!(node.slots(), 1, "one pod still needs it");
        node.see(last.clone()).await;
        assert_eq!(node.slots(), 0, "{last:?}");
        node.bench.pass(HOUR * 2).await;
        assert_eq!(node.bench.sts.count(), 1, "{last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_forgotten_when_people_change_something_and_not_when_the_kubelet_does() {
    let mut node = Node::new();
    node.bench.sts.set(Mode::Fail(Kind::Final));
    node.see(Event::PodApplied(pod("a", Some("web")))).await;
    assert_eq!(node.bench.sts.count(), 1);
    let running = Workload {
        addresses: vec!["10.0.0.1".parse().unwrap()],
        ..pod("a", Some("web"))
    };
    node.see(Event::PodApplied(running.clone())).await;
    assert_eq!(node.bench.sts.count(), 1, "its address");
    let mut touched = running;
    touched.annotations.imdsv2 = Some("required".into());
    node.see(Event::PodApplied(touched)).await;
    assert_eq!(node.bench.sts.count(), 2, "its annotations");
    node.see(Event::NamespaceApplied(namespace("[\"*\"]")))
        .await;
    assert_eq!(node.bench.sts.count(), 3, "its namespace");
    node.see(Event::PodApplied(pod("b", Some("web")))).await;
    assert_eq!(node.bench.sts.count(), 4, "a new pod");
}
