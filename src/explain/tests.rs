//! Situations of a pod, and what is said of each: the sources, the guards, the refusal and the text.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use podiam_iam::{BaseArn, RoleArn};

use super::*;
use crate::authorize::{Ceiling, Rules};
use crate::config::{Attribution, Enforcement, RestrictionFormat, SessionNaming};
use crate::index::{Event, Index};
use crate::workload::{
    AnnotationKeys, Namespace, PodAnnotations, PodUid, RoleSource, ServiceAccount, Workload,
};

fn rules() -> Rules {
    let base = BaseArn::parse("arn:aws:iam::123456789012:role/").unwrap();
    Rules {
        default_role: Some(RoleArn::complete("default", Some(&base)).unwrap()),
        base: Some(base),
        sources: RoleSource::ALL.to_vec(),
        restrictions: Some(RestrictionFormat::Glob),
        enforcement: Enforcement::Enforce,
        permitted: Some(Enforcement::Audit),
        naming: SessionNaming::Pod,
        session_duration: Duration::from_hours(1),
        host_ip: None,
        attribution: Attribution::default(),
        keys: AnnotationKeys {
            role: "role".into(),
            allowed_roles: "allowed".into(),
            service_account_role: Some("account-role".into()),
            eks_role: true,
            namespace_role: Some("namespace-role".into()),
            permitted: Some("permitted".into()),
            ..AnnotationKeys::default()
        },
    }
}

fn pod(name: &str, role: Option<&str>) -> Workload {
    Workload {
        service_account: Some("robot".into()),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        annotations: PodAnnotations {
            role: role.map(Into::into),
            ..PodAnnotations::default()
        },
        ..Workload::new(PodUid::new(&format!("uid-{name}")), "team", name)
    }
}

fn namespace() -> Namespace {
    Namespace {
        name: "team".into(),
        allowed_roles: Some(r#"["app"]"#.into()),
        permitted: Some("web".into()),
        role: None,
    }
}

fn account(role: Option<&str>) -> ServiceAccount {
    ServiceAccount {
        namespace: "team".into(),
        name: "robot".into(),
        role: role.map(Into::into),
        eks_role: None,
    }
}

fn explain(rules: Rules, ceiling: Option<&str>, events: Vec<Event>, name: &str) -> Explanation {
    let policy = Arc::new(Policy::new(rules));
    let parse = |text| Ceiling::parse("c".as_ref(), text).unwrap();
    policy.set_ceiling(ceiling.map(parse));
    let deciding = Arc::clone(&policy);
    let (mut index, pods) = Index::judging(move |pod, around| deciding.judge(pod, around));
    for event in events {
        index.apply(event);
    }
    index.publish();
    let node = Node {
        name: Some("node-1".into()),
        host_ip: Some("10.0.0.10".parse().unwrap()),
        host_ip6: None,
    };
    let sources = Sources {
        teller: Teller::Kubernetes,
        snapshot: &pods.snapshot(),
        policy: &policy,
        node: &node,
        imdsv2: Imdsv2::Optional,
        credentials: None,
        now: Timestamp::UNIX_EPOCH,
    };
    let wanted = Wanted {
        namespace: Some("team"),
        pod: name,
    };
    sources.explain(wanted).unwrap()
}

fn around(pods: Vec<Workload>, of_account: Option<&str>) -> Vec<Event> {
    vec![
        Event::PodsReplaced(pods),
        Event::NamespaceApplied(namespace()),
        Event::ServiceAccountApplied(account(of_account)),
    ]
}

/// What each source says, `*` before the one that counts, and what each guard says.
fn steps(all: &Explanation) -> (String, String) {
    let source = |it: &Source| format!("{}{}", if it.wins { "*" } else { "" }, it.says);
    let guard = |it: &Guard| format!("{} {:?}", it.mode, it.verdict);
    (
        all.sources
            .iter()
            .map(source)
            .collect::<Vec<_>>()
            .join(", "),
        all.guards.iter().map(guard).collect::<Vec<_>>().join(", "),
    )
}

/// A situation, what is known in it, the steps, and the code of the refusal.
type Row = (
    &'static str,
    Vec<Event>,
    &'static str,
    &'static str,
    Option<&'static str>,
);

#[test]
fn each_situation_has_its_sources_its_guards_and_its_refusal() {
    let with = |change: fn(&mut Workload)| {
        let mut pod = pod("it", Some("app"));
        change(&mut pod);
        around(vec![pod], None)
    };
    let named = |role, of_account| around(vec![pod("it", role)], of_account);
    let allows = "off Off, enforce Allows, audit WouldRefuse";
    let by_pod = "*role, silent, silent, silent, role";
    #[rustfmt::skip]
    let rows: Vec<Row> = vec![
        ("allowed", named(Some("app"), None), by_pod, allows, None),
        ("overrules its account", named(Some("app"), Some("web")), "*role, role, silent, silent, role", allows, None),
        ("its account's", named(None, Some("app")), "silent, *role, silent, silent, role", allows, None),
        ("not listed", named(Some("web"), None), by_pod, "off Off, enforce Refuses, audit Allows", Some("namespace-forbids")),
        ("opted out", named(Some(""), None), "*no-role, silent, silent, silent, role", "off Off, enforce NotAsked, audit NotAsked", Some("opted-out")),
        ("nonsense", named(Some("a b"), None), by_pod, "off Off, enforce NotAsked, audit NotAsked", Some("malformed-role")),
        ("the default role", named(None, None), "silent, silent, silent, silent, *role", "off Off, enforce Exempt, audit Exempt", None),
        ("its account is unknown", vec![Event::PodsReplaced(vec![pod("it", None)]), Event::NamespaceApplied(namespace())],
            "silent, unknown, unknown, silent, role", "off Off, enforce NotAsked, audit NotAsked", Some("unknown-service-account")),
        ("its namespace is unknown", vec![Event::PodsReplaced(vec![pod("it", Some("app"))])],
            "*role, unknown, unknown, unknown, role", "off Off, enforce Refuses, audit WouldRefuse", Some("unknown-namespace")),
        ("hostNetwork", with(|pod| pod.host_network = true), by_pod, allows, Some("node-address")),
        ("finished", with(|pod| pod.terminal = true), by_pod, allows, Some("unknown-pod")),
        ("no address yet", with(|pod| pod.addresses.clear()), by_pod, allows, Some("unknown-pod")),
        ("an address of two", around(vec![pod("it", Some("app")), pod("other", None)], None), by_pod, allows, Some("ambiguous-address")),
    ];
    for (situation, events, sources, guards, refusal) in rows {
        let all = explain(rules(), None, events, "it");
        let told = all.text(Width(96));
        assert_eq!(
            steps(&all),
            (sources.to_owned(), guards.to_owned()),
            "{situation}: {told}"
        );
        let code = all.refusal.as_ref().map(|refusal| refusal.code.as_str());
        assert_eq!(code, refusal, "{situation}: {told}");
        let first = told.lines().next().unwrap();
        assert!(
            first.contains(refusal.unwrap_or("team/it may have")),
            "{situation}: {first}"
        );
        // What is told to a machine is told to a person, and comes back as it was.
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), all);
    }
}

#[test]
fn sources_and_guards_that_are_off_say_so() {
    let off = Rules {
        sources: vec![RoleSource::Pod],
        restrictions: None,
        permitted: None,
        ..rules()
    };
    let all = explain(off, None, around(vec![pod("it", None)], Some("app")), "it");
    let expected = (
        "silent, off, off, off, off".to_owned(),
        "off Off, off Off, off Off".to_owned(),
    );
    assert_eq!(steps(&all), expected);
    assert_eq!(all.refusal.unwrap().code, "no-role");
}

#[test]
fn the_ceiling_is_a_guard_that_holds_for_the_default_role_too() {
    let ceiling = Some("allow: ['arn:aws:iam::123456789012:role/app']");
    let verdict = |role| {
        let all = explain(rules(), ceiling, around(vec![pod("it", role)], None), "it");
        (
            all.guards[0].verdict,
            all.refusal.map(|refusal| refusal.code),
        )
    };
    assert_eq!(verdict(Some("app")), (Verdict::Allows, None));
    let refused = (Verdict::Refuses, Some("ceiling-allows-others".to_owned()));
    assert_eq!(verdict(None), refused);
    assert_eq!(verdict(Some("web")), refused);
}

#[test]
fn whose_an_address_is_is_told_with_the_others_who_claim_it() {
    let twins = around(vec![pod("it", Some("app")), pod("other", None)], None);
    let all = explain(rules(), None, twins, "it");
    assert_eq!(all.pod.addresses[0].owner, Owner::Disputed);
    assert_eq!(all.pod.addresses[0].others, ["team/other"]);
    let mut finished = pod("it", Some("app"));
    finished.terminal = true;
    let taken = around(vec![finished, pod("other", None)], None);
    let all = explain(rules(), None, taken, "it");
    assert_eq!(all.pod.addresses[0].owner, Owner::AnotherPod);
}

#[test]
fn what_others_wrote_makes_no_line_and_no_colour_of_its_own() {
    let hostile = "x\u{1b}[31m\r\nHAS app\u{7}";
    let mut events = around(vec![pod("it", Some(hostile))], None);
    events.push(Event::NamespaceApplied(Namespace {
        allowed_roles: Some(hostile.into()),
        ..namespace()
    }));
    let text = explain(rules(), None, events, "it").text(Width(96));
    assert!(text.contains("allowed = x?[31m HAS app?"), "{text}");
    let control = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(control), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("HAS")), "{text}");
}
