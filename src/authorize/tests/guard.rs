//! The namespace's guard, as tables, and against everything that merely resembles an allowed role.

use proptest::prelude::*;

use super::*;

const APP: &str = "arn:aws:iam::123456789012:role/app";
const FORBIDDEN: &str = "namespace-forbids";

/// Asserts what becomes of a pod's annotation under a namespace's list.
fn assert_guarded(format: RestrictionFormat, table: &[(&str, &str, &str)]) {
    let policy = restricted(format);
    for (allowed, role, expected) in table {
        let decision = policy.decide(&pod(Some(role)), Some(&team(Some(allowed))));
        assert_eq!(outcome(decision), *expected, "{allowed} {role}");
    }
}

#[test]
fn a_namespaces_globs_are_held_against_the_whole_arn() {
    let below = "arn:aws:iam::123456789012:role/team/a/b";
    let other_account = "arn:aws:iam::210987654321:role/app";
    let other_partition = "arn:aws-cn:iam::123456789012:role/app";
    let odd_case = r#"["ARN:aws:iam::123456789012:role/app"]"#;
    assert_guarded(
        RestrictionFormat::Glob,
        &[
            (r#"["app"]"#, "app", APP),
            (r#"["other", "app"]"#, "app", APP),
            (r#"["a*"]"#, "app", APP),
            (r#"["*"]"#, "app", APP),
            (r#"["arn:aws:iam::123456789012:role/app"]"#, "app", APP),
            (r#"["arn:aws:iam::*:role/app"]"#, "app", APP),
            (r#"["team/*"]"#, "team/a/b", below),
            (r#"["app"]"#, "app2", FORBIDDEN),
            (r#"["app"]"#, "x/app", FORBIDDEN),
            (r#"["App"]"#, "app", FORBIDDEN),
            (r#"["app?"]"#, "app2", FORBIDDEN),
            (r#"["*"]"#, other_account, FORBIDDEN),
            (r#"["app"]"#, other_account, FORBIDDEN),
            (r#"["app"]"#, other_partition, FORBIDDEN),
            (odd_case, "app", FORBIDDEN),
            (r#"[""]"#, "app", FORBIDDEN),
            ("[]", "app", FORBIDDEN),
        ],
    );
}

#[test]
fn a_namespaces_regular_expressions_are_anchored_below_the_base() {
    let other_account = "arn:aws:iam::210987654321:role/app";
    assert_guarded(
        RestrictionFormat::Regexp,
        &[
            (r#"["app"]"#, "app", APP),
            (r#"["a.p|b"]"#, "app", APP),
            (r#"["arn:aws:iam::\\d+:role/.*"]"#, "app", APP),
            (r#"[".*"]"#, "app", APP),
            (r#"["app"]"#, "app-admin", FORBIDDEN),
            (r#"["app"]"#, "my-app", FORBIDDEN),
            (r#"["x|app"]"#, "my-app", FORBIDDEN),
            (r#"[".*"]"#, other_account, FORBIDDEN),
            (
                r#"["arn:aws:iam::123456789012:role/app"]"#,
                "app2",
                FORBIDDEN,
            ),
            (r#"[""]"#, "app", FORBIDDEN),
            (r#"["app", "b(c"]"#, "app", "namespace-annotation-invalid"),
        ],
    );
}

#[test]
fn without_a_base_an_element_stands_for_itself() {
    for (format, allowed, role, expected) in [
        (RestrictionFormat::Glob, r#"["*:role/app"]"#, "app", true),
        (RestrictionFormat::Glob, r#"["app"]"#, "app", false),
        (RestrictionFormat::Regexp, r#"[".*/app"]"#, "app", true),
        (RestrictionFormat::Regexp, r#"["app"]"#, "app", false),
    ] {
        let policy = Policy::new(Rules {
            base: None,
            restrictions: Some(format),
            ..rules()
        });
        let pod = pod(Some(&format!("{BASE}{role}")));
        let decision = policy.decide(&pod, Some(&team(Some(allowed))));
        assert_eq!(decision.is_ok(), expected, "{format:?} {allowed}");
    }
}

#[test]
fn a_list_that_cannot_be_read_allows_nothing_and_says_why() {
    for (format, allowed, expected) in [
        (
            RestrictionFormat::Glob,
            "",
            "not a JSON array of strings: EOF while parsing a value at line 1 column 0",
        ),
        (
            RestrictionFormat::Glob,
            "app",
            "not a JSON array of strings: expected value at line 1 column 1",
        ),
        (
            RestrictionFormat::Glob,
            r#""app""#,
            "not a JSON array of strings",
        ),
        (
            RestrictionFormat::Glob,
            "null",
            "not a JSON array of strings",
        ),
        (
            RestrictionFormat::Glob,
            r#"{"app": 1}"#,
            "not a JSON array of strings",
        ),
        (
            RestrictionFormat::Glob,
            r#"["app"] x"#,
            "not a JSON array of strings: trailing characters at line 1 column 9",
        ),
        (
            RestrictionFormat::Glob,
            r#"["app", 7]"#,
            "element 2 is not a string",
        ),
        (
            RestrictionFormat::Glob,
            r#"["app", null]"#,
            "element 2 is not a string",
        ),
        (
            RestrictionFormat::Regexp,
            r#"["app", "b(c"]"#,
            "element 2, \"b(c\": not a regular expression: unclosed group",
        ),
        (
            RestrictionFormat::Regexp,
            r#"["app)|(.*"]"#,
            "element 1, \"app)|(.*\": not a regular expression: unopened group",
        ),
        (
            RestrictionFormat::Regexp,
            r#"["(a{1000}){1000}"]"#,
            "element 1, \"(a{1000}){1000}\": the regular expression is too large",
        ),
        (
            RestrictionFormat::Regexp,
            &format!("[{}\"a\"]", "\"a\",".repeat(256)),
            "257 regular expressions, at most 256 are read",
        ),
    ] {
        let decision = restricted(format).decide(&pod(Some("app")), Some(&team(Some(allowed))));
        assert_eq!(
            decision,
            Err(Reason::NamespaceAnnotationInvalid {
                namespace: "team".into(),
                key: "allowed-key".into(),
                problem: expected.into(),
            }),
            "{allowed:.40}"
        );
    }
}

#[test]
fn restrictions_fail_closed_until_the_namespace_is_known() {
    let open = Policy::new(rules());
    let guarded = restricted(RestrictionFormat::Glob);
    let another = Namespace {
        name: "other".into(),
        allowed_roles: Some(r#"["*"]"#.into()),
        ..Namespace::default()
    };
    for (policy, namespace, expected) in [
        (&open, None, APP),
        (&open, Some(team(None)), APP),
        (&open, Some(team(Some("not JSON"))), APP),
        (&guarded, None, "unknown-namespace"),
        (&guarded, Some(another), "unknown-namespace"),
        (&guarded, Some(team(None)), "namespace-allows-nothing"),
        (&guarded, Some(team(Some(r#"["app"]"#))), APP),
    ] {
        let decision = policy.decide(&pod(Some("app")), namespace.as_ref());
        assert_eq!(outcome(decision), expected, "{namespace:?}");
    }
}

#[test]
fn the_default_role_is_allowed_everywhere_even_when_it_is_named() {
    let policy = Policy::new(Rules {
        default_role: Some(arn("arn:aws:iam::123456789012:role/default")),
        restrictions: Some(RestrictionFormat::Glob),
        ..rules()
    });
    for annotation in [
        None,
        Some("default"),
        Some("arn:aws:iam::123456789012:role/default"),
    ] {
        for namespace in [None, Some(team(None)), Some(team(Some("not JSON")))] {
            let decision = policy.decide(&pod(annotation), namespace.as_ref());
            assert_eq!(outcome(decision), "arn:aws:iam::123456789012:role/default");
        }
    }
    for annotation in [
        "default2",
        "x/default",
        "arn:aws:iam::210987654321:role/default",
    ] {
        let decision = policy.decide(&pod(Some(annotation)), Some(&team(None)));
        assert_eq!(
            outcome(decision),
            "namespace-allows-nothing",
            "{annotation}"
        );
    }
}

#[test]
fn a_changed_list_is_read_again() {
    let policy = restricted(RestrictionFormat::Glob);
    // More lists than are kept, each of them asked twice: once before and once after the kept ones were let go.
    for _ in 0..2 {
        for number in 0..300 {
            let list = format!(r#"["app{number}"]"#);
            let namespace = team(Some(&list));
            let allowed = |role: String| policy.decide(&pod(Some(&role)), Some(&namespace)).is_ok();
            assert!(allowed(format!("app{number}")));
            assert!(!allowed(format!("app{}", number + 1)));
        }
    }
}

proptest! {
    #[test]
    fn nothing_that_resembles_an_allowed_role_passes_the_guard(role in short(), extra in "[a-z0-9-]{1,5}") {
        let list = serde_json::to_string(&[&role]).unwrap();
        let escaped = serde_json::to_string(&[role.replace('+', r"\+")]).unwrap();
        for (format, list) in [(RestrictionFormat::Glob, list), (RestrictionFormat::Regexp, escaped)] {
            let policy = restricted(format);
            let namespace = team(Some(&list));
            let passes = |annotation: &str| policy.decide(&pod(Some(annotation)), Some(&namespace)).is_ok();
            prop_assert!(passes(&role));
            let full = format!("{BASE}{role}");
            prop_assert!(passes(&full));
            for other in [
                format!("{role}{extra}"),
                format!("{extra}{role}"),
                format!("{role}/{extra}"),
                format!("{extra}/{role}"),
                format!("arn:aws:iam::210987654321:role/{role}"),
                format!("arn:aws-cn:iam::123456789012:role/{role}"),
                format!("arn:aws-us-gov:iam::123456789012:role/{role}"),
                format!("arn:aws:iam::210987654321:role/123456789012:role/{role}"),
                format!("{BASE}{BASE}{role}"),
                format!("{role}\n"),
                format!(" {role}"),
            ] {
                prop_assert!(!passes(&other), "{:?} passed {}", other, list);
            }
        }
    }
}
