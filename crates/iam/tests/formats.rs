//! A document says the same in every format: what is written as HCL, CloudFormation or commands is read back by another's
//! parser and compared with the document itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that panics fails the test that calls it"
)]

use podiam_iam::documents::{
    Attachment, Bundle, Extras, MadeBy, Preset, PresetKind, PresetOptions, Role, Trust, Workload,
};
use podiam_iam::render::{Format, render};
use podiam_iam::{ExternalId, RoleArn};
use serde_json::Value;

/// Every preset, attached in both ways, with every condition that a trust policy can have.
fn roles() -> Vec<Role> {
    let node = RoleArn::parse("arn:aws-eusc:iam::123456789012:role/infra/nodes").unwrap();
    let trust = Trust {
        node_roles: vec![node],
        external_id: Some(ExternalId::parse("reports:7/f3a").unwrap()),
        tags: vec![("team/name".into(), "a \"quoted\" \\ ${x} %{y} it's*".into())],
        source_identity: Some("demo:*".into()),
        extras: Extras::default(),
        through_account: true,
    };
    let mut roles = Vec::new();
    for kind in PresetKind::ALL {
        for attachment in [Attachment::Inline, Attachment::Managed] {
            let mut options = PresetOptions::default();
            match kind {
                PresetKind::ClusterAutoscaler => {
                    options.region = Some("eusc-de-east-1".into());
                    options.auto_scaling_groups = vec!["a".into(), "b'c".into()];
                }
                PresetKind::ExternalDns | PresetKind::CertManager => {
                    options.hosted_zones = vec!["Z1".into()];
                }
                PresetKind::EbsCsi => {}
                PresetKind::S3Read => options.bucket = Some("reports".into()),
            }
            let name = format!("arn:aws-eusc:iam::123456789012:role/k8s/{kind}-{attachment:?}");
            let workload = Workload {
                role: RoleArn::parse(&name).unwrap(),
                trust: trust.clone(),
                preset: Preset::new(kind, options).unwrap(),
                attachment,
            };
            roles.push(workload.role());
        }
    }
    roles
}

fn rendered(format: Format) -> String {
    let made_by = MadeBy {
        version: "0.0.0".into(),
        words: vec!["iam".into()],
    };
    render(&Bundle::new(made_by, roles()).unwrap(), format).unwrap()
}

/// All documents, in the order in which the formats hold them.
fn documents() -> Vec<Value> {
    let mut documents = Vec::new();
    for role in roles() {
        let policies = role.inline.iter().chain(&role.managed);
        let all = role
            .trust
            .iter()
            .chain(policies.map(|named| &named.document));
        documents.extend(all.map(|document| serde_json::to_value(document).unwrap()));
    }
    documents
}

/// Every map below `value` that has statements, in order.
fn found(value: &Value, documents: &mut Vec<Value>) {
    match value {
        Value::Object(map) if map.contains_key("Statement") => documents.push(value.clone()),
        Value::Object(map) => map.values().for_each(|value| found(value, documents)),
        Value::Array(list) => list.iter().for_each(|value| found(value, documents)),
        _ => {}
    }
}

/// Documents in no particular order: the order of resources is the format's own.
fn sorted(mut documents: Vec<Value>) -> Vec<String> {
    documents.sort_by_key(Value::to_string);
    documents.iter().map(Value::to_string).collect()
}

#[test]
fn hcl_evaluates_to_the_same_documents() {
    use hcl::eval::{Context, Evaluate, FuncArgs, FuncDef, ParamType};
    // As Terraform does it: the function makes a text of its argument.
    let jsonencode = FuncDef::builder()
        .param(ParamType::Any)
        .build(|args: FuncArgs| {
            serde_json::to_string(&args[0])
                .map(hcl::Value::from)
                .map_err(|e| e.to_string())
        });
    let mut context = Context::new();
    context.declare_func("jsonencode", jsonencode);
    let body = hcl::parse(&rendered(Format::Hcl)).unwrap();
    let documents: Vec<Value> = body
        .blocks()
        .flat_map(|block| block.body.attributes())
        .filter(|attribute| matches!(attribute.key(), "policy" | "assume_role_policy"))
        .map(|attribute| {
            let text = attribute.expr().evaluate(&context).unwrap();
            serde_json::from_str(text.as_str().unwrap()).unwrap()
        })
        .collect();
    assert_eq!(documents, self::documents());
}

#[test]
fn cloudformation_and_json_hold_the_same_documents() {
    let yaml: Value = serde_saphyr::from_str(&rendered(Format::CloudFormation)).unwrap();
    let json: Value = serde_json::from_str(&rendered(Format::Json)).unwrap();
    for value in [yaml, json] {
        let mut documents = Vec::new();
        found(&value, &mut documents);
        assert_eq!(sorted(documents), sorted(self::documents()));
    }
}

#[test]
fn a_shell_reads_the_same_documents() {
    // `aws` prints the words that follow an option for a document, each with a zero byte.
    let program = r#"aws() {
        while [ $# -gt 0 ]; do
            case $1 in --*policy-document) printf '%s\0' "$2" ;; esac
            shift
        done
    }
    "#;
    let output = std::process::Command::new("sh")
        .args(["-c", &(program.to_owned() + &rendered(Format::AwsCli))])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<Value> = text
        .split_terminator('\0')
        .map(|document| serde_json::from_str(document).unwrap())
        .collect();
    assert_eq!(documents, self::documents());
}
