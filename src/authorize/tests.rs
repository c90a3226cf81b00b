//! Decisions as tables: the role, the grant, the names by which a pod may ask. The namespace's part is
//! in `guard`, the modes of guards and the ceiling in `modes`, who names the role in `sources`.

mod attribution;
mod guard;
mod modes;
mod sources;

use proptest::prelude::*;

use super::*;
use crate::workload::{PodAnnotations, PodUid};

const BASE: &str = "arn:aws:iam::123456789012:role/";

fn rules() -> Rules {
    Rules {
        base: Some(BaseArn::parse(BASE).unwrap()),
        default_role: None,
        sources: vec![RoleSource::Pod, RoleSource::Default],
        restrictions: None,
        enforcement: Enforcement::Enforce,
        permitted: None,
        naming: SessionNaming::Pod,
        session_duration: Duration::from_hours(1),
        host_ip: None,
        attribution: Attribution::default(),
        keys: AnnotationKeys {
            role: "role-key".into(),
            external_id: "external-id-key".into(),
            allowed_roles: "allowed-key".into(),
            ..AnnotationKeys::default()
        },
    }
}

fn restricted(format: RestrictionFormat) -> Policy {
    Policy::new(Rules {
        restrictions: Some(format),
        ..rules()
    })
}

fn pod(role: Option<&str>) -> Workload {
    Workload {
        addresses: vec!["10.0.0.1".parse().unwrap()],
        created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        annotations: PodAnnotations {
            role: role.map(Into::into),
            ..PodAnnotations::default()
        },
        ..Workload::new(
            PodUid::new("7c1d2e4f-0000-4000-8000-000000000001"),
            "team",
            "web-0",
        )
    }
}

fn with_external_id(role: &str, external_id: &str) -> Workload {
    let mut pod = pod(Some(role));
    pod.annotations.external_id = Some(external_id.into());
    pod
}

fn team(allowed_roles: Option<&str>) -> Namespace {
    Namespace {
        name: "team".into(),
        allowed_roles: allowed_roles.map(Into::into),
        ..Namespace::default()
    }
}

fn arn(text: &str) -> RoleArn {
    RoleArn::parse(text).unwrap()
}

/// The role's ARN, or the reason's code.
fn outcome(decision: Decision) -> String {
    match decision {
        Ok(grant) => grant.role.to_string(),
        Err(reason) => reason.code().to_owned(),
    }
}

#[test]
fn the_annotation_names_the_role_and_only_its_absence_means_the_default() {
    let with_default = Policy::new(Rules {
        default_role: Some(arn("arn:aws:iam::123456789012:role/default")),
        ..rules()
    });
    let without_default = Policy::new(rules());
    let without_base = Policy::new(Rules {
        base: None,
        ..rules()
    });
    for (policy, annotation, expected) in [
        (
            &with_default,
            Some("app"),
            "arn:aws:iam::123456789012:role/app",
        ),
        (
            &with_default,
            Some("a/b/app"),
            "arn:aws:iam::123456789012:role/a/b/app",
        ),
        (
            &with_default,
            Some("a+=,.@_-Z"),
            "arn:aws:iam::123456789012:role/a+=,.@_-Z",
        ),
        (
            &with_default,
            Some("arn:aws-cn:iam::210987654321:role/x/app"),
            "arn:aws-cn:iam::210987654321:role/x/app",
        ),
        (
            &with_default,
            None,
            "arn:aws:iam::123456789012:role/default",
        ),
        (&with_default, Some(""), "opted-out"),
        (&with_default, Some(" \t\n"), "opted-out"),
        (&without_default, None, "no-role"),
        (&without_default, Some(""), "opted-out"),
        (&without_base, Some("app"), "no-base-arn"),
        (
            &without_base,
            Some("arn:aws:iam::123456789012:role/app"),
            "arn:aws:iam::123456789012:role/app",
        ),
        (&without_base, None, "no-role"),
        (&with_default, Some(" app"), "malformed-role"),
        (&with_default, Some("app\n"), "malformed-role"),
        (&with_default, Some("/app"), "malformed-role"),
        (&with_default, Some("app/"), "malformed-role"),
        (&with_default, Some("../app"), "malformed-role"),
        (&with_default, Some("app*"), "malformed-role"),
        (
            &with_default,
            Some("ARN:aws:iam::123456789012:role/app"),
            "malformed-role",
        ),
        (
            &with_default,
            Some("arn:aws:iam::123456789012:user/app"),
            "malformed-role",
        ),
        (
            &with_default,
            Some("arn:aws:iam::1:role/app"),
            "malformed-role",
        ),
        (&with_default, Some("arn:"), "malformed-role"),
    ] {
        let decision = policy.decide(&pod(annotation), None);
        assert_eq!(outcome(decision), expected, "{annotation:?}");
    }
}

#[test]
fn a_reason_names_the_value_the_key_and_what_is_wrong() {
    let policy = Policy::new(rules());
    for (pod, expected) in [
        (
            pod(Some("my role")),
            "the role \"my role\" is malformed: the character ' ' is not allowed in a role's path or name",
        ),
        (
            pod(None),
            "the pod has no annotation \"role-key\" and there is no default role",
        ),
        (
            pod(Some("")),
            "the pod's annotation \"role-key\" is empty: it asks for no role",
        ),
        (
            with_external_id("app", "x"),
            "the external ID is malformed: its length is 1, 2 to 1224 characters are allowed",
        ),
    ] {
        let reason = policy.decide(&pod, None).unwrap_err();
        assert_eq!(reason.to_string(), expected);
    }
}

#[test]
fn a_reason_stays_short_however_long_the_annotation_is() {
    let policy = restricted(RestrictionFormat::Regexp);
    let long = "ä".repeat(200_000);
    for (pod, namespace) in [
        (pod(Some(&long)), None),
        (pod(Some(&format!("arn:{long}"))), None),
        (
            pod(Some("app")),
            Some(team(Some(&format!("[\"({long}\"]")))),
        ),
    ] {
        let reason = policy.decide(&pod, namespace.as_ref()).unwrap_err();
        assert!(reason.to_string().len() < 600, "{reason:.200}");
    }
}

#[test]
fn the_external_id_goes_into_the_grant_and_an_empty_one_is_none() {
    let policy = Policy::new(rules());
    let external_id = |text| {
        let grant = policy.decide(&with_external_id("app", text), None).unwrap();
        grant.external_id.as_ref().map(ToString::to_string)
    };
    assert_eq!(external_id("a:b/c"), Some("a:b/c".to_owned()));
    assert_eq!(external_id(""), None);
    for text in [" ", "x", "a b", "ä1"] {
        let decision = policy.decide(&with_external_id("app", text), None);
        assert_eq!(outcome(decision), "malformed-external-id", "{text:?}");
    }
}

#[test]
fn two_pods_share_a_grant_only_when_everything_in_it_is_the_same() {
    let shared = Policy::new(Rules {
        naming: SessionNaming::Role,
        ..rules()
    });
    let own = Policy::new(rules());
    let mut other = pod(Some("app"));
    other.uid = PodUid::new("7c1d2e4f-0000-4000-8000-000000000002");

    let grant = |policy: &Policy, pod: &Workload| policy.decide(pod, None).unwrap();
    assert_eq!(grant(&shared, &pod(Some("app"))), grant(&shared, &other));
    assert_ne!(grant(&own, &pod(Some("app"))), grant(&own, &other));
    assert_ne!(
        grant(&shared, &pod(Some("app"))),
        grant(&shared, &with_external_id("app", "external"))
    );
    assert_ne!(
        grant(&shared, &pod(Some("app"))),
        grant(&shared, &pod(Some("app2")))
    );
}

#[test]
fn a_session_is_named_after_the_pod_or_after_the_node() {
    let name = |naming, host_ip: Option<&str>| {
        let policy = Policy::new(Rules {
            naming,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            ..rules()
        });
        let grant = policy.decide(&pod(Some("pa/th/my-role")), None).unwrap();
        assert_eq!(grant.duration, Duration::from_hours(1));
        grant.session_name.to_string()
    };
    let pods_own = name(SessionNaming::Pod, Some("127.0.0.2"));
    assert!(pods_own.starts_with("team.web-0@"), "{pods_own}");
    assert_eq!(
        name(SessionNaming::Role, Some("127.0.0.2")),
        "7a3cf8b-my-role"
    );
    assert_eq!(
        name(SessionNaming::Role, None),
        name(SessionNaming::Role, Some("127.0.0.1"))
    );
}

#[test]
fn a_pod_sees_the_short_name_and_may_ask_by_either_name() {
    let policy = Policy::new(rules());
    let below = arn("arn:aws:iam::123456789012:role/pa/th/app");
    let elsewhere = arn("arn:aws:iam::210987654321:role/app");
    assert_eq!(policy.presented(&below), "pa/th/app");
    assert_eq!(policy.presented(&elsewhere), elsewhere.as_str());
    for (requested, role, expected) in [
        ("pa/th/app", &below, true),
        ("pa/th/app/", &below, true),
        ("arn:aws:iam::123456789012:role/pa/th/app", &below, true),
        ("arn:aws:iam::123456789012:role/pa/th/app/", &below, true),
        ("app", &below, false),
        ("th/app", &below, false),
        ("pa/th/ap", &below, false),
        ("pa/th/app2", &below, false),
        ("pa/th/app//", &below, false),
        ("/pa/th/app", &below, false),
        ("PA/th/app", &below, false),
        ("", &below, false),
        ("/", &below, false),
        ("arn:aws:iam::210987654321:role/pa/th/app", &below, false),
        ("app", &elsewhere, false),
        ("arn:aws:iam::210987654321:role/app", &elsewhere, true),
    ] {
        assert_eq!(
            policy.names(requested, role),
            expected,
            "{requested} {role}"
        );
    }
}

/// A role's short name: up to two parts of a path and a name.
fn short() -> impl Strategy<Value = String> {
    "([a-z0-9]{1,8}/){0,2}[a-z0-9_+=,@-]{1,12}"
}

proptest! {
    #[test]
    fn a_pod_may_ask_for_what_it_is_shown_and_for_nothing_else(role in short(), other in short()) {
        let policy = Policy::new(rules());
        let own = arn(&format!("{BASE}{role}"));
        prop_assert!(policy.names(&policy.presented(&own), &own));
        prop_assert_eq!(policy.names(&other, &own), other == role);
        prop_assert_eq!(policy.names(&format!("{BASE}{other}"), &own), other == role);
    }

    #[test]
    fn no_annotation_panics(
        role in r"(arn:aws:iam::123456789012:role/)?\PC{0,40}",
        external_id in r"\PC{0,40}",
        allowed in r#"(\[")?[\PC"\\,*(]{0,40}("\])?"#,
    ) {
        for format in [RestrictionFormat::Glob, RestrictionFormat::Regexp] {
            let decision = restricted(format)
                .decide(&with_external_id(&role, &external_id), Some(&team(Some(&allowed))));
            if let Err(reason) = decision {
                let line = reason.to_string();
                prop_assert!(!line.contains(['\n', '\r']), "{:?}", line);
            }
        }
    }
}
