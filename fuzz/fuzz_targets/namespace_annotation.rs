//! A pod's role annotation, newline, its namespace's list: the guard decides as defined, and never more freely than
//! kube2iam did.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use podiam::authorize::{Policy, Rules};
use podiam::config::{Attribution, Enforcement, RestrictionFormat, SessionNaming};
use podiam::reason::Reason;
use podiam::workload::{AnnotationKeys, Namespace, PodAnnotations, PodUid, RoleSource, Workload};
use podiam_fuzz::glob_matches;
use podiam_iam::{BaseArn, RoleArn};
use regex::bytes::RegexBuilder;

const BASE: &str = "arn:aws:iam::123456789012:role/team/";

fuzz_target!(|input: &str| {
    let (role, list) = input.split_once('\n').unwrap_or(("app", input));
    let listed = serde_json::from_str::<Vec<String>>(list).ok();
    let allowed_by = |matches: fn(&str, &RoleArn) -> bool, role: &RoleArn| {
        listed.iter().flatten().any(|element| {
            let completed = if RoleArn::is_meant(element) {
                element.clone()
            } else {
                format!("{BASE}{element}")
            };
            matches(&completed, role)
        })
    };

    match decide(RestrictionFormat::Glob, role, list) {
        Ok(role) => assert!(allowed_by(matches_as_glob, &role)),
        Err(Reason::NamespaceForbids { role, .. }) => {
            let role = RoleArn::parse(&role).expect("a role that was judged is an ARN");
            assert!(!allowed_by(matches_as_glob, &role));
        }
        Err(Reason::NamespaceAnnotationInvalid { .. }) => assert!(listed.is_none()),
        Err(_) => {}
    }
    if let Ok(role) = decide(RestrictionFormat::Regexp, role, list) {
        assert!(allowed_by(matches_as_in_kube2iam, &role));
    }
});

fn decide(format: RestrictionFormat, role: &str, list: &str) -> Result<RoleArn, Reason> {
    let policy = Policy::new(Rules {
        base: BaseArn::parse(BASE).ok(),
        default_role: None,
        sources: vec![RoleSource::Pod, RoleSource::Default],
        restrictions: Some(format),
        enforcement: Enforcement::Enforce,
        permitted: None,
        naming: SessionNaming::Pod,
        session_duration: Duration::from_hours(1),
        host_ip: None,
        attribution: Attribution::default(),
        keys: AnnotationKeys {
            role: "role".into(),
            external_id: "external-id".into(),
            allowed_roles: "allowed-roles".into(),
            ..AnnotationKeys::default()
        },
    });
    let pod = Workload {
        annotations: PodAnnotations {
            role: Some(role.into()),
            ..PodAnnotations::default()
        },
        ..Workload::new(PodUid::new("uid"), "team", "web-0")
    };
    let namespace = Namespace {
        name: "team".into(),
        allowed_roles: Some(list.into()),
        ..Namespace::default()
    };
    let decision = policy.decide(&pod, Some(&namespace));
    decision
        .map(|grant| grant.role.clone())
        .inspect_err(|reason| assert_eq!(reason.to_string().lines().count(), 1))
}

fn matches_as_glob(pattern: &str, role: &RoleArn) -> bool {
    glob_matches(pattern, role.as_str())
}

/// kube2iam's match: open at both ends.
fn matches_as_in_kube2iam(pattern: &str, role: &RoleArn) -> bool {
    RegexBuilder::new(pattern)
        .unicode(false)
        .build()
        .is_ok_and(|regexp| regexp.is_match(role.as_str().as_bytes()))
}
