//! The rules of the index one by one; `model` checks them all together on random histories.

mod model;
mod support;

use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;

use super::*;
use support::{Pod, ip, namespace, owner, restricted, uid, unrestricted};

#[test]
fn a_pod_is_found_by_each_of_its_addresses() {
    let (mut index, reader) = unrestricted();
    index.apply(Event::PodApplied(
        Pod::new("a").at("10.0.0.1").at("2001:db8::1").build(),
    ));
    index.publish();
    for address in ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"] {
        assert_eq!(owner(&reader, address), Ok("a".into()), "{address}");
    }
    assert_eq!(owner(&reader, "10.0.0.2"), Err("unknown"));
}

#[test]
fn an_address_listed_twice_or_as_ipv4_mapped_makes_no_pod_its_own_rival() {
    let (mut index, reader) = unrestricted();
    let pod = Pod::new("a")
        .at("10.0.0.1")
        .at("10.0.0.1")
        .at("::ffff:10.0.0.1");
    index.apply(Event::PodApplied(pod.build()));
    index.publish();
    assert_eq!(owner(&reader, "10.0.0.1"), Ok("a".into()));
}

#[test]
fn nothing_is_seen_before_it_is_published() {
    let (mut index, reader) = unrestricted();
    index.apply(Event::PodApplied(Pod::new("a").at("10.0.0.1").build()));
    assert_eq!(owner(&reader, "10.0.0.1"), Err("unknown"));
    index.publish();
    assert_eq!(owner(&reader, "10.0.0.1"), Ok("a".into()));
}

#[test]
fn a_terminal_pod_owns_nothing_and_wants_nothing() {
    let (mut index, reader) = unrestricted();
    index.apply(Event::PodApplied(
        Pod::new("job").at("10.0.0.1").role("r").build(),
    ));
    index.apply(Event::PodApplied(
        Pod::new("job").at("10.0.0.1").role("r").terminal().build(),
    ));
    index.publish();
    assert_eq!(owner(&reader, "10.0.0.1"), Err("unknown"));
    assert_eq!(reader.snapshot().wanted().len(), 0);
    assert!(
        reader.snapshot().pod(&uid("job")).is_some(),
        "it is still known, for explanations"
    );
}

#[test]
fn a_host_network_pod_never_owns_the_nodes_address() {
    let (mut index, reader) = unrestricted();
    let pod = Pod::new("proxy").at("192.168.0.7").role("r").host_network();
    index.apply(Event::PodApplied(pod.build()));
    index.publish();
    assert_eq!(owner(&reader, "192.168.0.7"), Err("unknown"));
    assert_eq!(reader.snapshot().wanted().len(), 0);
}

#[test]
fn two_live_pods_on_one_address_are_both_refused_until_one_leaves() {
    let (mut index, reader) = unrestricted();
    index.apply(Event::PodApplied(Pod::new("old").at("10.0.0.1").build()));
    index.apply(Event::PodApplied(
        Pod::new("new").at("10.0.0.1").at("2001:db8::2").build(),
    ));
    index.publish();
    assert_eq!(owner(&reader, "10.0.0.1"), Err("ambiguous"));
    assert_eq!(
        owner(&reader, "2001:db8::2"),
        Ok("new".into()),
        "its other address is its own"
    );
    assert_eq!(reader.snapshot().claimants(ip("10.0.0.1")).len(), 2);

    index.apply(Event::PodDeleted(uid("old")));
    index.publish();
    assert_eq!(owner(&reader, "10.0.0.1"), Ok("new".into()));
}

#[test]
fn a_pod_that_moves_leaves_its_old_address() {
    let (mut index, reader) = unrestricted();
    index.apply(Event::PodApplied(Pod::new("a").at("10.0.0.1").build()));
    index.apply(Event::PodApplied(Pod::new("a").at("10.0.0.2").build()));
    index.publish();
    assert_eq!(owner(&reader, "10.0.0.1"), Err("unknown"));
    assert_eq!(owner(&reader, "10.0.0.2"), Ok("a".into()));
}

#[test]
fn a_relist_takes_out_what_it_does_not_list_in_one_step() {
    let (mut index, reader) = unrestricted();
    index.apply(Event::PodApplied(
        Pod::new("gone").at("10.0.0.1").role("r1").build(),
    ));
    index.apply(Event::PodApplied(
        Pod::new("stays").at("10.0.0.2").role("r2").build(),
    ));
    index.publish();
    let before = reader.snapshot();

    index.apply(Event::PodsReplaced(vec![
        Pod::new("stays").at("10.0.0.2").role("r2").build(),
        Pod::new("heir").at("10.0.0.1").role("r3").build(),
    ]));
    assert_eq!(
        owner(&reader, "10.0.0.1"),
        Ok("gone".into()),
        "not before it is published"
    );
    index.publish();
    assert_eq!(owner(&reader, "10.0.0.1"), Ok("heir".into()));
    assert!(
        Arc::ptr_eq(
            before.pod(&uid("stays")).unwrap(),
            reader.snapshot().pod(&uid("stays")).unwrap()
        ),
        "a pod that did not change is not decided again"
    );
}

#[test]
fn the_pods_of_a_namespace_are_decided_again_when_it_arrives_changes_and_goes() {
    let (mut index, reader) = restricted();
    let decision = |reader: &Reader<String>| {
        reader
            .snapshot()
            .pod(&uid("a"))
            .unwrap()
            .decision
            .clone()
            .map_err(|reason| reason.code())
    };
    index.apply(Event::PodApplied(
        Pod::new("a").at("10.0.0.1").role("r").build(),
    ));
    index.publish();
    assert_eq!(decision(&reader), Err("unknown-namespace"));

    index.apply(Event::NamespaceApplied(namespace("default", Some("r"))));
    index.publish();
    assert_eq!(decision(&reader), Ok(Arc::new("r".into())));
    assert_eq!(reader.snapshot().wanted().len(), 1);

    index.apply(Event::NamespaceApplied(namespace("default", Some("other"))));
    index.publish();
    assert_eq!(decision(&reader), Err("namespace-forbids"));
    assert_eq!(reader.snapshot().wanted().len(), 0);

    index.apply(Event::NamespacesReplaced(vec![namespace(
        "default",
        Some("r"),
    )]));
    index.publish();
    assert_eq!(decision(&reader), Ok(Arc::new("r".into())));

    index.apply(Event::NamespaceDeleted("default".into()));
    index.publish();
    assert_eq!(decision(&reader), Err("unknown-namespace"));
}

#[test]
fn a_grant_is_wanted_as_long_as_any_live_pod_has_it_even_without_an_address() {
    let (mut index, reader) = unrestricted();
    let wanted = |reader: &Reader<String>| -> Vec<String> {
        reader
            .snapshot()
            .wanted()
            .map(ToString::to_string)
            .collect()
    };
    index.apply(Event::PodApplied(Pod::new("a").role("shared").build()));
    index.apply(Event::PodApplied(
        Pod::new("b").role("shared").at("10.0.0.1").build(),
    ));
    index.apply(Event::PodDeleted(uid("b")));
    index.publish();
    assert_eq!(wanted(&reader), ["shared"]);

    index.apply(Event::PodDeleted(uid("a")));
    index.publish();
    assert!(wanted(&reader).is_empty());
}

#[test]
fn pods_with_an_equal_grant_share_one_copy_of_it() {
    let (mut index, reader) = unrestricted();
    index.apply(Event::PodApplied(Pod::new("a").role("shared").build()));
    index.apply(Event::PodApplied(Pod::new("b").role("shared").build()));
    index.publish();
    let snapshot = reader.snapshot();
    let grant = |name| Arc::clone(snapshot.pod(&uid(name)).unwrap().decision.as_ref().unwrap());
    assert!(Arc::ptr_eq(&grant("a"), &grant("b")));
}

#[test]
fn what_changes_nothing_wakes_nobody() {
    let (mut index, reader) = unrestricted();
    let pod = Pod::new("a").at("10.0.0.1").build();
    index.apply(Event::PodApplied(pod.clone()));
    index.publish();
    let generations = reader.generations();
    index.apply(Event::PodApplied(pod.clone()));
    index.apply(Event::PodsReplaced(vec![pod]));
    index.apply(Event::PodDeleted(uid("never seen")));
    index.apply(Event::NamespacesReplaced(Vec::new()));
    index.apply(Event::NamespaceDeleted("never seen".into()));
    index.publish();
    assert!(!generations.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_woken_by_the_event_that_settles_its_address_and_by_no_other() {
    let (mut index, reader) = restricted();
    let deadline = Instant::now() + Duration::from_millis(400);
    let mut waiting = Box::pin(reader.wait_for(ip("10.0.0.1"), deadline));
    assert!(waiting.as_mut().now_or_never().is_none());

    // Another pod's event, and then the pod without its namespace, settle nothing.
    index.apply(Event::PodApplied(Pod::new("other").at("10.0.0.2").build()));
    index.publish();
    assert!(waiting.as_mut().now_or_never().is_none());
    index.apply(Event::PodApplied(
        Pod::new("a").at("10.0.0.1").role("r").build(),
    ));
    index.publish();
    assert!(waiting.as_mut().now_or_never().is_none());

    index.apply(Event::NamespaceApplied(namespace("default", Some("r"))));
    index.publish();
    let before = Instant::now();
    let Lookup::Pod(entry) = waiting.await else {
        panic!("the pod is there")
    };
    assert_eq!(entry.workload.uid, uid("a"));
    assert_eq!(
        Instant::now(),
        before,
        "no time passed: the event itself woke it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiter_gets_things_as_they_stand_at_its_deadline() {
    let (mut index, reader) = unrestricted();
    let start = Instant::now();
    let limit = Duration::from_millis(400);
    assert!(matches!(
        reader.wait_for(ip("10.0.0.1"), start + limit).await,
        Lookup::Unknown
    ));
    assert_eq!(Instant::now() - start, limit);

    index.apply(Event::PodApplied(Pod::new("a").at("10.0.0.1").build()));
    index.apply(Event::PodApplied(Pod::new("b").at("10.0.0.1").build()));
    index.publish();
    let answer = reader
        .wait_for(ip("10.0.0.1"), Instant::now() + limit)
        .await;
    assert!(matches!(answer, Lookup::Ambiguous));
}

#[tokio::test(start_paused = true)]
async fn a_known_pod_is_answered_without_waiting_even_past_the_deadline() {
    let (mut index, reader) = unrestricted();
    index.apply(Event::PodApplied(Pod::new("a").at("10.0.0.1").build()));
    index.publish();
    let answer = reader
        .wait_for(ip("10.0.0.1"), Instant::now())
        .now_or_never();
    assert!(matches!(answer, Some(Lookup::Pod(_))));
}
