//! Guards in their modes: audit answers as off does and notes what enforce would refuse; the ceiling stands above all.

use super::*;
use crate::index::Verdict;

/// kiam's guard, and kube2iam's where a format is given.
fn guarded(
    restrictions: Option<(RestrictionFormat, Enforcement)>,
    permitted: Option<Enforcement>,
) -> Policy {
    Policy::new(Rules {
        restrictions: restrictions.map(|(format, _)| format),
        enforcement: restrictions.map(|(_, mode)| mode).unwrap_or_default(),
        permitted,
        keys: AnnotationKeys {
            permitted: Some("permitted-key".into()),
            ..rules().keys
        },
        ..rules()
    })
}

fn judged(policy: &Policy, role: &str, namespace: Option<&Namespace>) -> Verdict<Grant> {
    let around = Surroundings {
        namespace,
        service_account: None,
    };
    policy.judge(&pod(Some(role)), around)
}

fn permitting(expression: Option<&str>) -> Namespace {
    Namespace {
        permitted: expression.map(Into::into),
        ..team(None)
    }
}

#[test]
fn kiams_expression_must_match_the_whole_name_or_the_whole_arn() {
    let policy = guarded(None, Some(Enforcement::Enforce));
    let elsewhere = "arn:aws:iam::210987654321:role/app";
    for (expression, role, allowed) in [
        (Some(".*"), "app", true),
        (Some(".*"), elsewhere, true),
        (Some("app"), "app", true),
        (Some("arn:aws:iam::123456789012:role/app"), "app", true),
        (Some("app|web"), "web", true),
        (Some("app|web"), "my-web", false),
        (Some("app|web"), "app-admin", false),
        (Some("app"), "app-admin", false),
        (Some("app"), elsewhere, false),
        (Some("^$"), "app", false),
        (Some(""), "app", false),
        (None, "app", false),
        (Some("app("), "app", false),
    ] {
        let verdict = judged(&policy, role, Some(&permitting(expression)));
        assert_eq!(verdict.decision.is_ok(), allowed, "{expression:?} {role}");
    }
    let code = |namespace: Option<&Namespace>| outcome(judged(&policy, "app", namespace).decision);
    assert_eq!(code(None), "unknown-namespace");
    assert_eq!(code(Some(&permitting(None))), "namespace-allows-nothing");
    assert_eq!(code(Some(&permitting(Some("web")))), "namespace-forbids");
    assert_eq!(
        code(Some(&permitting(Some("app(")))),
        "namespace-annotation-invalid"
    );
}

#[test]
fn both_guards_must_allow_where_both_are_in_force() {
    let enforce = Enforcement::Enforce;
    let policy = guarded(Some((RestrictionFormat::Glob, enforce)), Some(enforce));
    for (list, expression, allowed) in [
        ("[\"app\"]", "app", true),
        ("[\"web\"]", "app", false),
        ("[\"app\"]", "web", false),
    ] {
        let namespace = Namespace {
            allowed_roles: Some(list.into()),
            ..permitting(Some(expression))
        };
        let verdict = judged(&policy, "app", Some(&namespace));
        assert_eq!(verdict.decision.is_ok(), allowed, "{list} {expression}");
    }
}

#[test]
fn audit_answers_as_off_and_notes_every_refusal_of_enforce() {
    let modes = |mode| guarded(Some((RestrictionFormat::Glob, mode)), Some(mode));
    let (audit, enforce) = (modes(Enforcement::Audit), modes(Enforcement::Enforce));
    let off = guarded(None, None);
    for (list, expression, noted) in [
        (Some("[\"app\"]"), Some("app"), &[][..]),
        (Some("[\"web\"]"), Some("app"), &["namespace-forbids"][..]),
        (Some("[\"app\"]"), None, &["namespace-allows-nothing"][..]),
        (
            Some("web"),
            Some("app("),
            &["namespace-annotation-invalid"; 2][..],
        ),
    ] {
        let namespace = Namespace {
            allowed_roles: list.map(Into::into),
            ..permitting(expression)
        };
        let verdict = judged(&audit, "app", Some(&namespace));
        assert_eq!(
            verdict.decision,
            judged(&off, "app", Some(&namespace)).decision
        );
        let codes: Vec<&str> = verdict.basis.overlooked.iter().map(Reason::code).collect();
        assert_eq!(codes, noted);
        let refused = judged(&enforce, "app", Some(&namespace));
        assert_eq!(
            refused.decision.err().as_ref(),
            verdict.basis.overlooked.first()
        );
        assert!(refused.basis.overlooked.is_empty());
    }
    // A guard that is off does not wait for the namespace.
    let early = judged(&audit, "app", None);
    assert!(early.decision.is_ok() && early.basis.overlooked.is_empty());
}

#[test]
fn the_ceiling_stands_above_the_namespace_and_the_default_role() {
    let policy = Policy::new(Rules {
        default_role: Some(arn("arn:aws:iam::123456789012:role/default")),
        restrictions: Some(RestrictionFormat::Glob),
        ..rules()
    });
    let everything = team(Some("[\"*\"]"));
    let code = |role: Option<&str>| outcome(policy.decide(&pod(role), Some(&everything)));
    assert_eq!(code(Some("app")), format!("{BASE}app"));
    let ceiling = |text: &str| Ceiling::parse("c".as_ref(), text).unwrap();
    policy.set_ceiling(Some(ceiling("deny: [/]\n")));
    assert_eq!(code(Some("app")), "ceiling-denies");
    assert_eq!(code(None), "ceiling-denies");
    policy.set_ceiling(Some(ceiling(
        "allow: ['arn:aws:iam::123456789012:role/app']\n",
    )));
    assert_eq!(code(Some("app")), format!("{BASE}app"));
    assert_eq!(code(None), "ceiling-allows-others");
    policy.set_ceiling(None);
    assert_eq!(code(None), format!("{BASE}default"));
}

#[test]
fn the_operators_external_id_is_what_goes_into_the_grant() {
    let policy = Policy::new(rules());
    let text = "externalIds: [{roles: ['*'], use: operators}]\n";
    policy.set_ceiling(Some(Ceiling::parse("c".as_ref(), text).unwrap()));
    for pod in [pod(Some("app")), with_external_id("app", "pods")] {
        let grant = policy.decide(&pod, None).unwrap();
        assert_eq!(
            grant.external_id.as_ref().map(ExternalId::as_str),
            Some("operators")
        );
    }
    let malformed = policy.decide(&with_external_id("app", "x"), None);
    assert_eq!(outcome(malformed), "malformed-external-id");
}

#[test]
fn a_pod_that_may_names_its_session() {
    let policy = Policy::new(rules());
    let named = |name: &str| {
        let mut pod = pod(Some("app"));
        pod.annotations.session_name = Some(name.into());
        policy.decide(&pod, None)
    };
    assert_eq!(named("batch-7").unwrap().session_name.as_str(), "batch-7");
    assert!(
        named("")
            .unwrap()
            .session_name
            .as_str()
            .starts_with("team.web-0@")
    );
    for name in ["x", "a b", &"y".repeat(65)] {
        assert_eq!(outcome(named(name)), "malformed-session-name", "{name}");
    }
}
