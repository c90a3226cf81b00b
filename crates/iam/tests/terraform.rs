//! The modules in deploy/terraform make the documents that podiam makes, which the engine has judged. They are evaluated
//! with hcl-rs: their expressions, with the few functions of Terraform that they use. Terraform itself is not run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that panics fails the test that calls it"
)]

use std::path::PathBuf;

use hcl::eval::{Context, Evaluate, FuncArgs, FuncDef, ParamType};
use hcl::{Body, Value};
use podiam_iam::documents::{AssumableRoles, Extras, Trust, node_policy};
use podiam_iam::lint::{Knowledge, Language, Severity, Source, lint};
use podiam_iam::policy::PolicyDocument;
use podiam_iam::{BaseArn, ExternalId, RoleArn};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/terraform")
}

fn text(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// As Terraform does it: of maps that have a key, the last; null counts for nothing.
fn merge(args: &FuncArgs) -> Value {
    let maps = args.iter().filter_map(Value::as_object);
    Value::Object(maps.flat_map(Clone::clone).collect())
}

fn concat(args: &FuncArgs) -> Value {
    let lists = args.iter().filter_map(Value::as_array);
    Value::Array(lists.flat_map(Clone::clone).collect())
}

/// The documents of a module, by the attribute that holds them, for these variables; the rest have their defaults.
fn documents(module: &str, variables: &[(&str, Value)]) -> Vec<PolicyDocument> {
    let all = || FuncDef::builder().variadic_param(ParamType::Any);
    let mut context = Context::new();
    context.declare_func("merge", all().build(|args| Ok(merge(&args))));
    context.declare_func("concat", all().build(|args| Ok(concat(&args))));
    context.declare_func(
        "jsonencode",
        all().build(|args| {
            serde_json::to_string(&args[0])
                .map(Value::from)
                .map_err(|e| e.to_string())
        }),
    );
    let declared = hcl::parse(&text(&format!("{module}/variables.tf"))).unwrap();
    let mut values = hcl::Map::new();
    for variable in declared.blocks() {
        let name = variable.labels[0].as_str();
        let given = variables.iter().find(|(given, _)| *given == name);
        let default = variable
            .body
            .attributes()
            .find(|attribute| attribute.key() == "default");
        let value = match (given, default) {
            (Some((_, value)), _) => value.clone(),
            (None, Some(default)) => default.expr().evaluate(&context).unwrap(),
            (None, None) => panic!("{module}: {name} has no value"),
        };
        values.insert(name.to_owned(), value);
    }
    for (name, _) in variables {
        assert!(
            values.contains_key(*name),
            "{module}: there is no variable {name}"
        );
    }
    context.declare_var("var", Value::Object(values));

    let body: Body = hcl::parse(&text(&format!("{module}/main.tf"))).unwrap();
    let locals = body.blocks().filter(|block| block.identifier() == "locals");
    let locals: hcl::Map<String, Value> = locals
        .flat_map(|block| block.body.attributes())
        .map(|local| {
            (
                local.key().to_owned(),
                local.expr().evaluate(&context).unwrap(),
            )
        })
        .collect();
    context.declare_var("local", Value::Object(locals));
    body.blocks()
        .flat_map(|block| block.body.attributes())
        .filter(|attribute| matches!(attribute.key(), "policy" | "assume_role_policy"))
        .map(|attribute| {
            let value = attribute.expr().evaluate(&context).unwrap();
            serde_json::from_str(value.as_str().unwrap()).unwrap()
        })
        .collect()
}

#[test]
fn the_module_node_policy_makes_podiams_own_document() {
    for (tags, source_identity) in [(false, false), (true, false), (false, true), (true, true)] {
        for prefix in ["", "app-"] {
            let module = documents(
                "modules/node-policy",
                &[
                    ("node_role_name", "nodes".into()),
                    ("account_id", "123456789012".into()),
                    ("partition", "aws-cn".into()),
                    ("path", "k8s/demo".into()),
                    ("prefix", prefix.into()),
                    ("session_tags", tags.into()),
                    ("source_identity", source_identity.into()),
                ],
            );
            let base = BaseArn::parse("arn:aws-cn:iam::123456789012:role/k8s/demo").unwrap();
            let roles = AssumableRoles::new(base, prefix).unwrap();
            let extras = Extras {
                tags,
                source_identity,
            };
            assert_eq!(module, [node_policy(&[roles], None, extras).unwrap()]);
        }
    }
}

#[test]
fn the_module_workload_role_makes_podiams_own_trust_policy() {
    let node = "arn:aws:iam::123456789012:role/nodes";
    for external_id in [None, Some("reports-7f3a")] {
        let policy = r#"{"Version":"2012-10-17","Statement":[]}"#;
        let mut variables = vec![
            ("name", "app".into()),
            ("path", "k8s".into()),
            ("node_role_arn", node.into()),
            ("policy", policy.into()),
        ];
        variables.extend(external_id.map(|id| ("external_id", id.into())));
        let trust = Trust {
            external_id: external_id.map(|id| ExternalId::parse(id).unwrap()),
            ..Trust::in_nodes(vec![RoleArn::parse(node).unwrap()])
        };
        let module = documents("modules/workload-role", &variables);
        assert_eq!(
            module,
            [trust.document(), serde_json::from_str(policy).unwrap()]
        );
    }
}

#[test]
fn every_variable_that_the_example_gives_exists_and_none_is_missing() {
    let example = hcl::parse(&text("example/main.tf")).unwrap();
    let mut modules = 0;
    for module in example
        .blocks()
        .filter(|block| block.identifier() == "module")
    {
        modules += 1;
        let source = module
            .body
            .attributes()
            .find(|a| a.key() == "source")
            .unwrap();
        let source = source.expr().to_string();
        let folder = source.trim_matches('"').trim_start_matches("../");
        let variables = hcl::parse(&text(&format!("{folder}/variables.tf"))).unwrap();
        let given = |name: &str| module.body.attributes().any(|a| a.key() == name);
        for variable in variables.blocks() {
            let name = variable.labels[0].as_str();
            let optional = variable.body.attributes().any(|a| a.key() == "default");
            assert!(optional || given(name), "{folder}: {name} is missing");
            assert!(
                variable.body.attributes().any(|a| a.key() == "description"),
                "{name}"
            );
        }
        for attribute in module.body.attributes().filter(|a| a.key() != "source") {
            let known = variables
                .blocks()
                .any(|v| v.labels[0].as_str() == attribute.key());
            assert!(known, "{folder} has no variable {}", attribute.key());
        }
    }
    assert_eq!(modules, 2);
}

#[test]
fn lint_finds_nothing_in_the_example_and_the_modules() {
    let names = [
        "modules/node-policy/main.tf",
        "modules/workload-role/main.tf",
        "example/main.tf",
    ];
    let texts = names.map(text);
    let sources: Vec<Source<'_>> = names
        .iter()
        .zip(&texts)
        .map(|(name, text)| Source {
            name,
            text,
            language: Language::Hcl,
        })
        .collect();
    let report = lint(&sources, &Knowledge::default());
    assert!(report.documents >= 2, "{report}");
    assert!(report.worst() <= Some(Severity::Note), "{report}");
}
