//! Lint against the engine: over every combination of these node policies and trust policies, where lint has nothing to
//! say, the engine lets the node assume no role beside its path. The other way round is not claimed: lint also warns of
//! what is open only for somebody else, or later.

use podiam_iam::lint::{Knowledge, Language, Severity, Source, lint};
use serde_json::{Value, json};

use crate::judge::{ACCOUNT, Question, allowed};

const NODE: &str = "arn:aws:iam::123456789012:role/nodes";

fn role(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

fn allows() -> Vec<Value> {
    let to = |resource: Value| json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": resource});
    let mut allows: Vec<Value> = [
        json!("*"),
        json!("arn:aws:iam::*:role/k8s/*"),
        json!(role("*")),
        json!(role("k8s*")),
        json!(role("k8s/*")),
        json!(role("k8s/app")),
        json!([role("k8s/*"), role("a*")]),
        json!(role("?*")),
    ]
    .map(to)
    .into();
    allows.push(json!({"Effect": "Allow", "Action": "sts:*", "Resource": role("k8s/*")}));
    allows.push(json!({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}));
    allows
        .push(json!({"Effect": "Allow", "Action": "STS:assumerole", "NotResource": role("k8s/*")}));
    allows
}

fn denies() -> Vec<Option<Value>> {
    let scoped = role("k8s/*");
    [
        Value::Null,
        json!({"Effect": "Deny", "Action": "sts:AssumeRole", "NotResource": scoped}),
        json!({"Effect": "Deny", "Action": "sts:*", "NotResource": [scoped]}),
        json!({"Effect": "Deny", "Action": "sts:AssumeRole", "NotResource": "*"}),
        json!({"Effect": "Deny", "Action": "sts:AssumeRole", "NotResource": role("*")}),
        json!({"Effect": "Deny", "Action": "sts:AssumeRole", "NotResource": [scoped, role("*")]}),
        json!({"Effect": "Deny", "Action": "sts:TagSession", "NotResource": scoped}),
        json!({"Effect": "Deny", "NotAction": "sts:AssumeRole", "NotResource": scoped}),
        json!({"Effect": "Deny", "Action": "sts:AssumeRole", "Resource": NODE}),
        json!({"Effect": "Deny", "Action": "sts:AssumeRole", "NotResource": scoped,
            "Condition": {"StringEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/other"}}}),
    ]
    .into_iter()
    .map(|deny| (!deny.is_null()).then_some(deny))
    .collect()
}

fn trusts() -> Vec<Value> {
    let by = |principal: Value, condition: Value| {
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": principal, "Condition": condition}]})
    };
    let root = json!({"AWS": format!("arn:aws:iam::{ACCOUNT}:root")});
    vec![
        by(json!({"AWS": NODE}), json!({})),
        by(root.clone(), json!({})),
        by(root, json!({"ArnEquals": {"aws:PrincipalArn": NODE}})),
        by(json!({"AWS": "*"}), json!({})),
    ]
}

/// Whether lint finds nothing worse than a note.
fn is_silent(policy: &Value, trust: &Value) -> bool {
    let role = json!({"Role": {"Arn": role("k8s/app"), "AssumeRolePolicyDocument": trust}});
    let texts = [policy.to_string(), role.to_string()];
    let sources = texts.each_ref().map(|text| Source {
        name: "-",
        text,
        language: Language::Json,
    });
    let knowledge = Knowledge {
        node_roles: vec![NODE.parse().unwrap()],
        account: None,
    };
    lint(&sources, &knowledge).worst() <= Some(Severity::Note)
}

#[test]
fn where_lint_is_silent_the_node_assumes_nothing_beside_its_path() {
    let mut silent = Vec::new();
    let mut questions = Vec::new();
    for allow in allows() {
        for deny in denies() {
            let statements: Vec<Value> =
                [Some(allow.clone()), deny].into_iter().flatten().collect();
            let policy = json!({"Version": "2012-10-17", "Statement": statements});
            for trust in trusts() {
                if !is_silent(&policy, &trust) {
                    continue;
                }
                for name in ["admin", "nodes", "k8s-admin", "other/app"] {
                    let question = Question::assume(NODE, &role(name));
                    questions.push(question.allowed_by(&policy).trusted_by(&trust));
                    silent.push(format!("{name}: {policy} {trust}"));
                }
            }
        }
    }
    assert!(
        silent.len() >= 4 * 4,
        "lint is silent over {} documents only",
        silent.len()
    );
    let open: Vec<String> = allowed(&questions)
        .into_iter()
        .zip(silent)
        .filter_map(|(open, what)| open.then_some(what))
        .collect();
    assert!(open.is_empty(), "{}", open.join("\n"));
}
