use std::sync::Arc;
use std::time::Duration;

use podiam_iam::{ExternalId, RoleArn, SessionName};

use super::*;
use crate::authorize::Attributes;
use crate::sts::Kind;

const USER: &str = "User: arn:aws:sts::123456789012:assumed-role/nodes/i-0123456789abcdef0";
const ROLE: &str = "arn:aws:iam::123456789012:role/k8s/app";

fn grant(role: &str, external_id: Option<&str>) -> Arc<Grant> {
    Arc::new(Grant {
        role: RoleArn::parse(role).unwrap(),
        external_id: external_id.map(|id| ExternalId::parse(id).unwrap()),
        session_name: SessionName::parse("team.app").unwrap(),
        duration: Duration::from_hours(1),
        attributes: Attributes::default(),
    })
}

fn error(code: &'static str, message: &str) -> StsError {
    StsError {
        kind: Kind::Final,
        code,
        message: message.to_owned(),
        cause: "see the message",
    }
}

fn denied(tail: &str) -> String {
    format!("{USER} is not authorized to perform: {tail}")
}

fn base() -> BaseArn {
    BaseArn::parse("arn:aws:iam::123456789012:role/k8s/").unwrap()
}

/// A message, whether it says its cause, that cause, and the command that mends it.
type Denial = (String, bool, &'static str, Option<&'static str>);

fn denials() -> Vec<Denial> {
    let trust = "podiam iam trust-policy --node-role arn:aws:iam::123456789012:role/nodes";
    let node = "podiam iam node-policy --base-role-arn arn:aws:iam::123456789012:role/k8s/";
    let assume = format!("sts:AssumeRole on resource: {ROLE}");
    vec![
        (
            denied(&format!(
                "{assume} with an explicit deny in an identity-based policy"
            )),
            true,
            "A policy of the node's role denies",
            Some(node),
        ),
        (
            denied(&format!(
                "{assume} with an explicit deny in an identity-based policy: arn:aws:iam::123456789012:policy/p"
            )),
            true,
            "A policy of the node's role denies",
            Some(node),
        ),
        (
            denied(&format!(
                "{assume} because no identity-based policy allows the sts:AssumeRole action"
            )),
            true,
            "No policy of the node's role allows",
            Some(node),
        ),
        (
            denied(&format!(
                "{assume} because no resource-based policy allows the sts:AssumeRole action"
            )),
            true,
            "does not let the node's role in",
            Some(trust),
        ),
        (
            denied(&format!(
                "{assume} with an explicit deny in a resource-based policy"
            )),
            true,
            "denies the node's role",
            Some("aws iam get-role --role-name app"),
        ),
        (
            denied(&format!(
                "{assume} with an explicit deny in a service control policy"
            )),
            true,
            "A service control policy denies",
            None,
        ),
        (
            denied(&format!(
                "{assume} because no VPC endpoint policy allows the sts:AssumeRole action"
            )),
            true,
            "A VPC endpoint policy does not allow",
            None,
        ),
        (
            denied(&format!(
                "{assume} because no permissions boundary allows the sts:AssumeRole action"
            )),
            true,
            "A permissions boundary does not allow",
            None,
        ),
        (
            denied(&format!(
                "{assume} with an explicit deny in a permissions boundary"
            )),
            true,
            "A permissions boundary denies",
            None,
        ),
        (
            denied(&format!("sts:TagSession on resource: {ROLE}")),
            true,
            "sts:TagSession is not allowed",
            Some(trust),
        ),
        (
            denied(&format!("sts:SetSourceIdentity on resource: {ROLE}")),
            true,
            "sts:SetSourceIdentity is not allowed",
            Some(trust),
        ),
        (
            denied(&assume),
            false,
            "does not exist",
            Some("aws iam get-role --role-name app"),
        ),
    ]
}

#[test]
fn what_aws_says_of_an_access_denied_is_told_and_what_it_does_not_say_is_a_choice() {
    for (message, told, cause, command) in denials() {
        let found = Diagnosis::of(
            &error("AccessDenied", &message),
            &grant(ROLE, None),
            Some(&base()),
        );
        assert_eq!(found.told, told, "{message}");
        let first = &found.causes[0];
        assert!(first.cause.contains(cause), "{message}: {first:?}");
        assert_eq!(first.command.as_deref(), command, "{message}");
    }
}

#[test]
fn a_bare_denial_names_every_cause_that_it_may_have() {
    let message = denied(&format!("sts:AssumeRole on resource: {ROLE}"));
    let causes = |id| {
        let found = Diagnosis::of(
            &error("AccessDenied", &message),
            &grant(ROLE, id),
            Some(&base()),
        );
        let causes = found.causes.into_iter().map(|cause| cause.cause);
        causes.collect::<Vec<_>>().join("\n")
    };
    let bare = Diagnosis::of(
        &error("AccessDenied", "Access denied"),
        &grant(ROLE, None),
        None,
    );
    assert!(!bare.told && bare.causes.len() == 4, "{bare:?}");
    for words in [
        "does not exist",
        "trust policy does not name",
        "an external ID, and none was sent",
        "No policy of the node's role",
    ] {
        assert!(causes(None).contains(words), "{words}: {}", causes(None));
    }
    assert!(causes(Some("mine-1")).contains("another external ID than \"mine-1\""));
}

#[test]
fn a_role_outside_of_the_base_or_of_another_account_is_blamed_on_the_nodes_policy_early() {
    let second = |role: &str| {
        let message = denied(&format!("sts:AssumeRole on resource: {role}"));
        let found = Diagnosis::of(
            &error("AccessDenied", &message),
            &grant(role, None),
            Some(&base()),
        );
        found.causes[1].clone()
    };
    let outside = second("arn:aws:iam::123456789012:role/admin");
    assert!(
        outside.cause.contains("outside of the base ARN"),
        "{outside:?}"
    );
    assert_eq!(
        outside.command.as_deref(),
        Some("podiam iam node-policy --base-role-arn arn:aws:iam::123456789012:role/")
    );
    let elsewhere = second("arn:aws:iam::210987654321:role/k8s/app");
    assert!(
        elsewhere.cause.contains("account is 123456789012"),
        "{elsewhere:?}"
    );
}

#[test]
fn other_errors_have_their_cause_and_say_whether_aws_named_it() {
    for (code, message, told, words) in [
        (
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            true,
            "MaxSessionDuration",
        ),
        (
            "ValidationError",
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
            true,
            "3600 s",
        ),
        (
            "ValidationError",
            "1 validation error detected",
            false,
            "See the message.",
        ),
        (
            "RegionDisabledException",
            "STS is not activated in this region for account:123456789012.",
            true,
            "not activated",
        ),
        (
            "ExpiredToken",
            "The security token included in the request is expired",
            true,
            "expired",
        ),
        ("NoSuchEntity", "", true, "does not exist"),
        ("NoNodeCredentials", "", false, "instance profile"),
        ("Timeout", "", false, "dropped"),
        ("UnknownError", "Novelty: text", false, "See the message."),
    ] {
        let found = Diagnosis::of(&error(code, message), &grant(ROLE, None), None);
        assert_eq!(found.told, told, "{code}: {message}");
        assert!(found.causes[0].cause.contains(words), "{code}: {found:?}");
        assert!(!found.causes[0].fix.is_empty());
    }
    let throttled = StsError {
        kind: Kind::Throttled,
        ..error("ThrottlingException", "Rate exceeded")
    };
    assert!(Diagnosis::of(&throttled, &grant(ROLE, None), None).told);
}
