//! The trust policies of the way out: who may assume a role under IRSA and under EKS Pod Identity, and who may not.

use std::collections::BTreeSet;

use podiam_iam::RoleArn;
use podiam_iam::documents::{Account, OidcProvider, Trust, irsa_trust, pod_identity_trust};
use podiam_iam::policy::PolicyDocument;

use crate::judge::{ACCOUNT, Question, allowed, value};

const ROLE: &str = "arn:aws:iam::123456789012:role/k8s/app";
/// The engine knows the keys of a few issuers by name, and none of EKS's, whose names are clusters' own.
const ISSUER: &str = "accounts.google.com";

fn accounts() -> BTreeSet<Account> {
    [("web", "app"), ("reports", "reader")]
        .map(|(namespace, name)| Account {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
        .into()
}

fn question(principal: &str, action: &str, trust: &PolicyDocument) -> Question {
    Question {
        principal: principal.to_owned(),
        action: action.to_owned(),
        resource: ROLE.to_owned(),
        account: ACCOUNT.to_owned(),
        policies: Vec::new(),
        trust: Some(value(trust)),
        context: serde_json::json!({}),
    }
}

/// Asks all, and panics with those that are not answered as expected.
fn expect(table: &[(String, bool, Question)]) {
    let questions: Vec<Question> = table
        .iter()
        .map(|(_, _, question)| question.clone())
        .collect();
    let answers = allowed(&questions);
    for ((name, expected, _), answer) in table.iter().zip(answers) {
        assert_eq!(answer, *expected, "{name}");
    }
}

#[test]
fn a_token_of_the_named_account_for_sts_is_trusted_and_no_other_is() {
    let arn = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}");
    let provider: OidcProvider = arn.parse().unwrap();
    let trust = irsa_trust(&provider, &accounts());
    let other = "arn:aws:iam::123456789012:oidc-provider/www.amazon.com";
    let token = |provider: &str, subject: &str, audience: &str| {
        question(provider, "sts:AssumeRoleWithWebIdentity", &trust)
            .with(
                &format!("{ISSUER}:sub"),
                format!("system:serviceaccount:{subject}"),
            )
            .with(&format!("{ISSUER}:aud"), audience)
    };
    let sts = "sts.amazonaws.com";
    let table = [
        ("its own", true, token(&arn, "web:app", sts)),
        (
            "the other of the two",
            true,
            token(&arn, "reports:reader", sts),
        ),
        (
            "the name in another namespace",
            false,
            token(&arn, "reports:app", sts),
        ),
        ("a longer name", false, token(&arn, "web:app-admin", sts)),
        (
            "another audience",
            false,
            token(&arn, "web:app", "kubernetes.default.svc"),
        ),
        (
            "another cluster's provider",
            false,
            token(other, "web:app", sts),
        ),
        (
            "AssumeRole by the provider",
            false,
            question(&arn, "sts:AssumeRole", &trust),
        ),
    ];
    expect(&table.map(|(name, expected, question)| (name.to_owned(), expected, question)));
}

#[test]
fn pod_identity_is_trusted_for_the_named_accounts_of_the_named_cluster() {
    let trust = pod_identity_trust(Some("demo"), &accounts());
    let mut table = Vec::new();
    for action in ["sts:AssumeRole", "sts:TagSession"] {
        let asked = |service: &str, cluster: &str, namespace: &str, account: &str| {
            question(service, action, &trust)
                .with("aws:RequestTag/eks-cluster-name", cluster)
                .with("aws:RequestTag/kubernetes-namespace", namespace)
                .with("aws:RequestTag/kubernetes-service-account", account)
        };
        let pods = "pods.eks.amazonaws.com";
        for (name, expected, question) in [
            ("its own", true, asked(pods, "demo", "web", "app")),
            (
                "the other of the two",
                true,
                asked(pods, "demo", "reports", "reader"),
            ),
            ("crosswise", false, asked(pods, "demo", "reports", "app")),
            ("another cluster", false, asked(pods, "prod", "web", "app")),
            (
                "another service",
                false,
                asked("ec2.amazonaws.com", "demo", "web", "app"),
            ),
            ("without tags", false, question(pods, action, &trust)),
        ] {
            table.push((format!("{action}: {name}"), expected, question));
        }
    }
    expect(&table);
}

#[test]
fn while_both_ways_work_the_nodes_may_too_and_afterwards_not() {
    let nodes = format!("arn:aws:iam::{ACCOUNT}:role/nodes");
    let after = pod_identity_trust(Some("demo"), &accounts());
    let mut during = after.clone();
    let own = Trust::in_nodes(vec![RoleArn::parse(&nodes).unwrap()]).document();
    during.statement.splice(0..0, own.statement);
    let assume = |trust: &PolicyDocument| Question::assume(&nodes, ROLE).trusted_by(&value(trust));
    expect(&[
        ("during".to_owned(), true, assume(&during)),
        ("afterwards".to_owned(), false, assume(&after)),
    ]);
}
