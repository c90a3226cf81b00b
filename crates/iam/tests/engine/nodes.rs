//! What a node may assume: the trap, tables, and the property over generated accounts, paths and names.

use podiam_iam::documents::{AssumableRoles, Extras, Trust, node_policy};
use podiam_iam::{BaseArn, ExternalId, Partition, RoleArn};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::judge::{ACCOUNT, Question, allowed, expect, value};

const NODE: &str = "arn:aws:iam::123456789012:role/nodes";

fn role(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

/// A policy without any statement cannot be; this one has nothing to do with roles.
fn empty() -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}]})
}

/// What tutorials give the nodes: the Allow, scoped, without the Deny.
fn allow_only() -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role("k8s/*")}]})
}

fn ours(path: &str, prefix: &str) -> Value {
    let base = BaseArn::parse(&role(path)).unwrap();
    let roles = AssumableRoles::new(base, prefix).unwrap();
    let node = RoleArn::parse(NODE).unwrap();
    value(&node_policy(&[roles], Some(&node), Extras::default()).unwrap())
}

fn trust() -> Trust {
    Trust::in_nodes(vec![RoleArn::parse(NODE).unwrap()])
}

fn through_account() -> Trust {
    Trust {
        through_account: true,
        ..trust()
    }
}

#[test]
fn inside_an_account_a_trust_policy_that_names_the_node_is_enough_and_the_deny_closes_that() {
    let named = value(&trust().document());
    let account = value(&through_account().document());
    let ask = |policy: Value, trust: &Value, name: &str| {
        Question::assume(NODE, &role(name))
            .allowed_by(&policy)
            .trusted_by(trust)
    };
    expect(&[
        // The trap: nothing is allowed, or something else is, and still the door is open.
        ("empty policy, outside", true, ask(empty(), &named, "admin")),
        (
            "Allow only, outside",
            true,
            ask(allow_only(), &named, "admin"),
        ),
        // The Deny closes it and leaves the pods' roles.
        (
            "podiam's, outside",
            false,
            ask(ours("k8s", ""), &named, "admin"),
        ),
        (
            "podiam's, inside",
            true,
            ask(ours("k8s", ""), &named, "k8s/app"),
        ),
        // So does trust in the account, for this one role: there the node's policy has to allow as well.
        (
            "empty policy, through the account",
            false,
            ask(empty(), &account, "admin"),
        ),
        (
            "Allow only, through the account",
            false,
            ask(allow_only(), &account, "admin"),
        ),
        (
            "Allow only, through the account, inside",
            true,
            ask(allow_only(), &account, "k8s/app"),
        ),
        (
            "podiam's, through the account, inside",
            true,
            ask(ours("k8s", ""), &account, "k8s/app"),
        ),
    ]);
}

#[test]
fn a_node_may_assume_the_roles_under_its_path_and_none_beside_it() {
    let named = value(&trust().document());
    let policy = ours("k8s/prod", "app-");
    let ask = |name: &str| {
        Question::assume(NODE, &role(name))
            .allowed_by(&policy)
            .trusted_by(&named)
    };
    let table: Vec<(&str, bool, Question)> = [
        ("k8s/prod/app-web", true),
        ("k8s/prod/app-", true),
        ("k8s/prod/app-x/deeper", true),
        ("k8s/prod/web", false),
        ("k8s/prod/App-web", false),
        ("k8s/PROD/app-web", false),
        ("k8s/prod2/app-web", false),
        ("k8s/app-web", false),
        ("prod/app-web", false),
        ("x/k8s/prod/app-web", false),
        ("app-web", false),
        ("k8s", false),
        ("nodes", false),
        ("admin", false),
    ]
    .map(|(name, expected)| (name, expected, ask(name)))
    .into();
    expect(&table);

    let elsewhere = |account: &str| {
        let role = format!("arn:aws:iam::{account}:role/k8s/prod/app-web");
        Question::assume(NODE, &role)
            .allowed_by(&policy)
            .trusted_by(&named)
    };
    expect(&[("another account", false, elsewhere("210987654321"))]);
}

#[test]
fn a_role_that_does_not_trust_the_node_is_out_of_reach_whatever_the_node_is_allowed() {
    let other = Trust::in_nodes(vec![RoleArn::parse(&role("other-nodes")).unwrap()]);
    let ask = |trust: &Trust| {
        Question::assume(NODE, &role("k8s/app"))
            .allowed_by(&ours("k8s", ""))
            .trusted_by(&value(&trust.document()))
    };
    let other_through_account = Trust {
        through_account: true,
        ..other.clone()
    };
    expect(&[
        ("trusts another role", false, ask(&other)),
        (
            "trusts another through the account",
            false,
            ask(&other_through_account),
        ),
        ("trusts this one", true, ask(&trust())),
    ]);
}

#[test]
fn every_role_when_asked_for_still_excludes_the_node_itself() {
    let policy = ours("", "");
    let named = value(&trust().document());
    let ask = |name: &str| {
        Question::assume(NODE, &role(name))
            .allowed_by(&policy)
            .trusted_by(&named)
    };
    expect(&[
        ("any role", true, ask("admin")),
        ("the node's own", false, ask("nodes")),
    ]);
}

#[test]
fn conditions_of_a_trust_policy_bite() {
    let conditional = Trust {
        external_id: Some(ExternalId::parse("reports-7f3a").unwrap()),
        tags: vec![("kubernetes-namespace".into(), "reports".into())],
        source_identity: Some("demo:*".into()),
        ..trust()
    };
    let extras = conditional.carried();
    let base = BaseArn::parse(&role("k8s")).unwrap();
    let roles = AssumableRoles::new(base, "").unwrap();
    let policy = value(&node_policy(&[roles], None, extras).unwrap());
    let document = value(&conditional.document());
    let ask = |action: &str, context: Value| {
        let mut question = Question::assume(NODE, &role("k8s/app"))
            .allowed_by(&policy)
            .trusted_by(&document);
        question.action = action.to_owned();
        for (key, value) in context.as_object().unwrap() {
            question = question.with(key, value.clone());
        }
        question
    };
    let full = |id: &str, namespace: &str, identity: &str| {
        json!({"sts:ExternalId": id, "aws:RequestTag/kubernetes-namespace": namespace,
               "sts:SourceIdentity": identity})
    };
    let tag = |namespace: &str| json!({"aws:RequestTag/kubernetes-namespace": namespace});
    let identity = |identity: &str| json!({"sts:SourceIdentity": identity});
    let assume = "sts:AssumeRole";
    expect(&[
        (
            "all as demanded",
            true,
            ask(assume, full("reports-7f3a", "reports", "demo:x")),
        ),
        (
            "another external ID",
            false,
            ask(assume, full("reports-7f3b", "reports", "demo:x")),
        ),
        (
            "another namespace",
            false,
            ask(assume, full("reports-7f3a", "default", "demo:x")),
        ),
        (
            "another identity",
            false,
            ask(assume, full("reports-7f3a", "reports", "prod:x")),
        ),
        (
            "no external ID",
            false,
            ask(
                assume,
                json!({"aws:RequestTag/kubernetes-namespace": "reports",
            "sts:SourceIdentity": "demo:x"}),
            ),
        ),
        ("nothing", false, ask(assume, json!({}))),
        (
            "tags the session",
            true,
            ask("sts:TagSession", tag("reports")),
        ),
        (
            "tags it otherwise",
            false,
            ask("sts:TagSession", tag("default")),
        ),
        (
            "sets its identity",
            true,
            ask("sts:SetSourceIdentity", identity("demo:x")),
        ),
        (
            "sets another",
            false,
            ask("sts:SetSourceIdentity", identity("prod:x")),
        ),
    ]);
}

/// A part of a path, or a name.
fn segment() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_+=,.@-]{1,12}".prop_filter("a dot segment", |text| text != "." && text != "..")
}

/// What stands beside a path and a prefix and looks like it.
fn beside(path: &str, prefix: &str, name: &str) -> Vec<String> {
    let mut beside = vec![
        format!("{path}x/{prefix}{name}"),
        format!("x{path}/{prefix}{name}"),
        format!("other/{path}/{prefix}{name}"),
        format!("{}/{prefix}{name}", path.to_ascii_uppercase()),
        format!("{}/{prefix}{name}", &path[..path.len() - 1]),
        format!("{prefix}{name}"),
        format!("{path}{prefix}{name}"),
        path.to_owned(),
        "nodes".to_owned(),
    ];
    if !prefix.is_empty() {
        beside.push(format!("{path}/{name}"));
        beside.push(format!("{path}/{}{name}", &prefix[..prefix.len() - 1]));
        beside.push(format!("{path}/x{prefix}{name}"));
    }
    // By construction most are outside; what happens to be inside is known by its first letters.
    let inside = format!("{path}/{prefix}");
    beside.retain(|name| {
        !name.starts_with(&inside) && !name.contains("//") && !name.starts_with('/')
    });
    beside
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_deny_and_the_allow_hold_for_every_account_path_and_name(
        partition in select(&[Partition::Aws, Partition::AwsCn, Partition::AwsUsGov][..]),
        account in "[1-9][0-9]{11}",
        other_account in "[1-9][0-9]{11}",
        path in prop::collection::vec(segment(), 1..3).prop_map(|parts| parts.join("/")),
        prefix in prop_oneof![Just(String::new()), segment()],
        name in segment(),
        through_account in any::<bool>(),
    ) {
        let arn = |account: &str, name: &str| format!("arn:{partition}:iam::{account}:role/{name}");
        let node = arn(&account, "nodes");
        let base = BaseArn::parse(&arn(&account, &path)).unwrap();
        let roles = AssumableRoles::new(base, &prefix).unwrap();
        let node_arn = RoleArn::parse(&node).unwrap();
        let policy = value(&node_policy(&[roles], Some(&node_arn), Extras::default()).unwrap());
        let trust = Trust { through_account, ..Trust::in_nodes(vec![node_arn]) };
        let trust = value(&trust.document());
        let ask = |role: &str| Question::assume(&node, role).allowed_by(&policy).trusted_by(&trust);

        let inside = [format!("{path}/{prefix}{name}"), format!("{path}/{prefix}{name}/{name}")];
        for (role, answer) in inside.iter().zip(allowed(&inside.clone().map(|name| ask(&arn(&account, &name))))) {
            prop_assert!(answer, "{role} may not be assumed");
        }
        let mut outside: Vec<String> = beside(&path, &prefix, &name)
            .iter()
            .map(|name| arn(&account, name))
            .collect();
        if other_account != account {
            outside.push(arn(&other_account, &inside[0]));
        }
        let questions: Vec<Question> = outside.iter().map(|role| ask(role)).collect();
        for (role, answer) in outside.iter().zip(allowed(&questions)) {
            prop_assert!(!answer, "{role} may be assumed");
        }
    }
}
