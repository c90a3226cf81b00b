//! The tables can fail: every document with one element changed answers at least one of their questions differently.

use podiam_iam::documents::{AssumableRoles, Extras, PresetKind, Trust, node_policy};
use podiam_iam::{BaseArn, ExternalId, RoleArn};
use serde_json::{Value, json};

use crate::judge::{ACCOUNT, Question, allowed, value};
use crate::presets;

/// Every document that differs from `document` in one element, with what was changed.
fn mutants(document: &Value) -> Vec<(String, Value)> {
    let mut mutants = Vec::new();
    let statements = document["Statement"].as_array().unwrap();
    for (at, statement) in statements.iter().enumerate() {
        let mut add = |what: &str, changed: Option<Value>| {
            let mut mutant = document.clone();
            let list = mutant["Statement"].as_array_mut().unwrap();
            match changed {
                Some(statement) => list[at] = statement,
                None => drop(list.remove(at)),
            }
            // A policy without statements is none.
            if !list.is_empty() {
                mutants.push((format!("{}: {what}", statement["Sid"]), mutant));
            }
        };
        add("left out", None);
        let effect = if statement["Effect"] == "Allow" {
            "Deny"
        } else {
            "Allow"
        };
        add(
            "effect turned",
            Some(with(statement, "Effect", json!(effect))),
        );
        for (element, other) in [
            ("Action", "sts:GetCallerIdentity"),
            ("Resource", "arn:aws:iam::123456789012:role/mutant"),
            ("NotResource", "arn:aws:iam::123456789012:role/mutant"),
        ] {
            let Some(now) = statement.get(element) else {
                continue;
            };
            let values = now.as_array().cloned().unwrap_or_else(|| vec![now.clone()]);
            for index in 0..values.len() {
                let mut values = values.clone();
                values[index] = json!(other);
                let what = format!("{element} {index} changed");
                add(&what, Some(with(statement, element, values.into())));
            }
        }
        if statement.get("NotResource").is_some() {
            add(
                "NotResource *",
                Some(with(statement, "NotResource", json!("*"))),
            );
        }
        if let Some(conditions) = statement.get("Condition").and_then(Value::as_object) {
            for (operator, keys) in conditions {
                for key in keys.as_object().unwrap().keys() {
                    let mut fewer = statement.clone();
                    let keys = fewer["Condition"][operator].as_object_mut().unwrap();
                    keys.remove(key);
                    if keys.is_empty() {
                        fewer["Condition"].as_object_mut().unwrap().remove(operator);
                    }
                    add(&format!("without {key}"), Some(fewer));
                    let mut other = statement.clone();
                    other["Condition"][operator][key] = json!("mutant");
                    add(&format!("another {key}"), Some(other));
                }
            }
        }
        if statement.get("Principal").is_some() {
            let other = json!({"AWS": format!("arn:aws:iam::{ACCOUNT}:role/mutant")});
            add(
                "another principal",
                Some(with(statement, "Principal", other)),
            );
            // Where a condition holds the caller to one ARN, anyone is still only that one.
            if statement["Condition"]["ArnEquals"]["aws:PrincipalArn"].is_null() {
                let anyone = json!({"AWS": "*"});
                add("any principal", Some(with(statement, "Principal", anyone)));
            }
        }
    }
    mutants
}

fn with(statement: &Value, element: &str, value: Value) -> Value {
    let mut changed = statement.clone();
    changed[element] = value;
    changed
}

/// Panics with every mutant whose answers are those of the document itself.
fn all_are_caught(name: &str, document: &Value, ask: impl Fn(&Value) -> Vec<Question>) {
    let expected = allowed(&ask(document));
    assert!(
        expected.contains(&true) && expected.contains(&false),
        "{name}"
    );
    let mutants = mutants(document);
    assert!(mutants.len() > 2, "{name}");
    let survivors: Vec<String> = mutants
        .into_iter()
        .filter(|(_, mutant)| allowed(&ask(mutant)) == expected)
        .map(|(what, _)| format!("{name}: {what}"))
        .collect();
    assert!(survivors.is_empty(), "{}", survivors.join("\n"));
}

#[test]
fn every_change_of_one_element_of_a_preset_is_caught() {
    for kind in PresetKind::ALL {
        all_are_caught(kind.as_str(), &presets::permissions(kind), |document| {
            let rows = presets::rows(kind);
            rows.iter()
                .map(|row| presets::question(document, row))
                .collect()
        });
    }
}

const NODE: &str = "arn:aws:iam::123456789012:role/nodes";

fn role(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

#[test]
fn every_change_of_one_element_of_a_node_policy_is_caught() {
    let below = |base: &str| AssumableRoles::new(BaseArn::parse(base).unwrap(), "").unwrap();
    let roles = [
        below(&role("k8s")),
        below("arn:aws:iam::210987654321:role/shared"),
    ];
    let extras = Extras {
        tags: true,
        source_identity: true,
    };
    let document = value(&node_policy(&roles, None, extras).unwrap());
    let node = RoleArn::parse(NODE).unwrap();
    let mut named = Trust::in_nodes(vec![node]);
    named.extras = extras;
    let account = Trust {
        through_account: true,
        ..named.clone()
    };
    let trusts = [value(&named.document()), value(&account.document())];
    all_are_caught("node policy", &document, |policy| {
        let mut questions = Vec::new();
        for trust in &trusts {
            for role in [
                role("k8s/app"),
                role("admin"),
                role("mutant"),
                "arn:aws:iam::210987654321:role/shared/app".to_owned(),
            ] {
                for action in ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"] {
                    let mut question = Question::assume(NODE, &role)
                        .allowed_by(policy)
                        .trusted_by(trust);
                    question.action = action.to_owned();
                    questions.push(question);
                }
            }
        }
        questions
    });
}

#[test]
fn every_change_of_one_element_of_a_trust_policy_is_caught() {
    let node = RoleArn::parse(NODE).unwrap();
    let trust = Trust {
        external_id: Some(ExternalId::parse("reports-7f3a").unwrap()),
        tags: vec![("team".into(), "reports".into())],
        source_identity: Some("demo".into()),
        ..Trust::in_nodes(vec![node])
    };
    for through_account in [false, true] {
        let trust = Trust {
            through_account,
            ..trust.clone()
        };
        // Through the account, a policy has to allow as well.
        let allow = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]});
        let name = format!("trust policy, through_account {through_account}");
        all_are_caught(&name, &value(&trust.document()), |document| {
            let mut questions = Vec::new();
            for caller in [NODE, "arn:aws:iam::123456789012:role/other"] {
                for (action, id, team, identity) in [
                    (
                        "sts:AssumeRole",
                        Some("reports-7f3a"),
                        Some("reports"),
                        Some("demo"),
                    ),
                    ("sts:AssumeRole", None, Some("reports"), Some("demo")),
                    ("sts:AssumeRole", Some("reports-7f3a"), None, Some("demo")),
                    (
                        "sts:AssumeRole",
                        Some("reports-7f3a"),
                        Some("reports"),
                        None,
                    ),
                    ("sts:TagSession", None, Some("reports"), None),
                    ("sts:TagSession", None, Some("other"), None),
                    ("sts:SetSourceIdentity", None, None, Some("demo")),
                    ("sts:SetSourceIdentity", None, None, Some("other")),
                ] {
                    let mut question = Question::assume(caller, &role("k8s/app"))
                        .allowed_by(&allow)
                        .trusted_by(document);
                    question.action = action.to_owned();
                    for (key, value) in [
                        ("sts:ExternalId", id),
                        ("aws:RequestTag/team", team),
                        ("sts:SourceIdentity", identity),
                    ] {
                        if let Some(value) = value {
                            question = question.with(key, value);
                        }
                    }
                    questions.push(question);
                }
            }
            questions
        });
    }
}
