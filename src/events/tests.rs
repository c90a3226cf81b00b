//! What is told, how, and how much of it.

use super::*;
use crate::index::{Event as Seen, Index};
use crate::workload::Namespace;

fn pod(name: &str) -> Workload {
    Workload::new(PodUid::new(name), "default", name)
}

fn forbidden(role: &str) -> Reason {
    Reason::NamespaceForbids {
        role: role.to_owned(),
        namespace: "default".to_owned(),
    }
}

fn scene() -> (Events, mpsc::Receiver<News>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let (events, inbox) = Events::queue(Arc::clone(&metrics));
    (events, inbox, metrics)
}

fn count(metrics: &Metrics, outcome: &str) -> String {
    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    let start = format!("podiam_events_total{{outcome=\"{outcome}\"}} ");
    let found = text.lines().find_map(|line| line.strip_prefix(&start));
    found.unwrap().to_owned()
}

#[tokio::test]
async fn an_event_names_the_pod_the_code_in_camel_case_why_and_what_to_do() {
    let (events, mut inbox, _) = scene();
    assert!(events.refused(&pod("app"), &forbidden("arn:aws:iam::1:role/admin")));
    let news = inbox.try_recv().unwrap();
    assert_eq!(
        (&*news.namespace, &*news.pod, news.uid.as_str()),
        ("default", "app", "app")
    );
    assert_eq!(
        (news.reason.as_str(), news.action),
        ("NamespaceForbids", "RefuseCredentials")
    );
    assert!(
        news.note
            .starts_with("the role arn:aws:iam::1:role/admin is not allowed"),
        "{}",
        news.note
    );
    let fix = forbidden("role").facts().fix;
    assert!(news.note.ends_with(fix), "{}", news.note);

    assert!(events.audited(&pod("app"), &forbidden("arn:aws:iam::1:role/admin")));
    let news = inbox.try_recv().unwrap();
    assert_eq!(news.action, "AuditCredentials");
    assert!(
        news.note.starts_with("audit: would be refused if"),
        "{}",
        news.note
    );

    assert!(events.refused_role(&pod("app"), &Reason::StsRefused, "arn:aws:iam::1:role/x"));
    let note = inbox.try_recv().unwrap().note;
    assert!(
        note.contains("role arn:aws:iam::1:role/x") && note.contains("trust policy"),
        "{note}"
    );
}

#[tokio::test]
async fn nothing_is_told_of_a_pod_that_asked_for_nothing_or_of_what_passes() {
    let (events, mut inbox, _) = scene();
    let nothing = Reason::NoRole {
        key: None,
        elsewhere: Vec::new(),
    };
    for reason in [
        nothing,
        Reason::UnknownPod,
        Reason::StsUnavailable,
        Reason::WrongLink,
    ] {
        assert!(events.refused(&pod("app"), &reason));
        assert!(inbox.try_recv().is_err(), "{reason:?}");
    }
}

#[tokio::test]
async fn a_note_is_as_long_as_the_api_server_takes_and_keeps_the_advice() {
    let (events, mut inbox, _) = scene();
    let reason = Reason::MalformedRole {
        value: "ü".repeat(2000),
        problem: "too long".to_owned(),
    };
    events.refused(&pod("app"), &reason);
    let note = inbox.try_recv().unwrap().note;
    assert!(
        note.len() <= LONGEST_NOTE && note.len() > 900,
        "{}",
        note.len()
    );
    let fix = reason.facts().fix;
    assert!(note.ends_with(&format!("... {fix}")), "{note}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_floods_takes_nothing_from_another_and_whoever_tells_never_waits() {
    let (events, mut inbox, metrics) = scene();
    let told = (0..10_000)
        .filter(|_| events.refused(&pod("loud"), &forbidden("r")))
        .count();
    assert_eq!(told, 5);
    assert_eq!(count(&metrics, "limited"), "9995");
    assert!(events.refused(&pod("quiet"), &forbidden("r")));
    let mut names = Vec::new();
    while let Ok(news) = inbox.try_recv() {
        names.push(news.pod.to_string());
    }
    assert_eq!(names, ["loud", "loud", "loud", "loud", "loud", "quiet"]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_writes_is_dropped_when_the_queue_is_full() {
    let (events, inbox, metrics) = scene();
    let mut told = 0;
    for number in 0..QUEUE + 10 {
        told += usize::from(events.refused(&pod(&number.to_string()), &forbidden("r")));
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
    }
    assert_eq!((told, inbox.len()), (QUEUE, QUEUE));
    assert_eq!(count(&metrics, "dropped"), "10");
}

#[tokio::test(start_paused = true)]
async fn each_decision_against_a_pod_is_told_once_also_those_that_were_too_many_at_first() {
    let (events, mut inbox, _) = scene();
    let (mut index, reader) = Index::<()>::new(|pod, _: Option<&Namespace>| {
        if pod.host_network || pod.annotations.role.as_deref() == Some("ok") {
            Ok(Arc::new(()))
        } else {
            Err(forbidden(pod.annotations.role.as_deref().unwrap_or("r")))
        }
    });
    tokio::spawn(follow(reader, events));
    for number in 0..60 {
        index.apply(Seen::PodApplied(pod(&number.to_string())));
    }
    index.publish();
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let news = tokio::time::timeout(std::time::Duration::from_mins(5), inbox.recv());
        assert!(names.insert(news.await.unwrap().unwrap().pod), "told twice");
    }
    // The same again is no news; another role is.
    index.apply(Seen::PodApplied(Workload {
        addresses: vec!["10.0.0.1".parse().unwrap()],
        ..pod("1")
    }));
    index.publish();
    let silence = tokio::time::timeout(std::time::Duration::from_mins(1), inbox.recv());
    assert!(silence.await.is_err());
    let mut other = pod("1");
    other.annotations.role = Some("other".into());
    index.apply(Seen::PodApplied(other));
    index.publish();
    let news = inbox.recv().await.unwrap();
    assert!(news.note.contains("the role other"), "{}", news.note);
}
