//! What an API makes of the documents: moto's IAM and CloudFormation take them through the real AWS CLI and boto3, and
//! hand them out again as they were.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::podiam;
use crate::support::moto::Moto;
use crate::support::parts::{Part, program};

/// Prints every role with its documents: `{NAME: {"trust": ..., POLICY: ...}}`. Role by role, because moto cannot list
/// the details of roles that its CloudFormation made; their documents it hands out as Python's own text.
const READ: &str = r#"
import ast, json, boto3
iam = boto3.client("iam")
roles = {}
for role in iam.list_roles()["Roles"]:
    name = role["RoleName"]
    documents = roles[name] = {"trust": role["AssumeRolePolicyDocument"]}
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        got = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        documents[policy] = ast.literal_eval(got) if isinstance(got, str) else got
    for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        arn = policy["PolicyArn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        got = iam.get_policy_version(PolicyArn=arn, VersionId=version)
        documents[policy["PolicyName"]] = got["PolicyVersion"]["Document"]
print(json.dumps(roles))
"#;

/// Prints the account as `aws iam get-account-authorization-details` does.
const DETAILS: &str = r#"
import json, boto3
print(json.dumps(boto3.client("iam").get_account_authorization_details(Filter=["Role"]), default=str))
"#;

/// The role that the nodes have before podiam comes.
const NODES: &str = r#"
import json, boto3
trust = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
boto3.client("iam").create_role(RoleName="nodes", AssumeRolePolicyDocument=json.dumps(trust))
"#;

/// Makes a stack of the template in argv, and fails where it does not come to an end.
const STACK: &str = r#"
import sys, boto3
cloudformation = boto3.client("cloudformation")
cloudformation.create_stack(StackName="roles", TemplateBody=sys.argv[1], Capabilities=["CAPABILITY_NAMED_IAM"])
status = cloudformation.describe_stacks(StackName="roles")["Stacks"][0]["StackStatus"]
assert status == "CREATE_COMPLETE", status
"#;

/// An account of its own, with the role of the nodes in it.
async fn account() -> Moto {
    let moto = Moto::start().await;
    python(&moto, &[NODES]);
    moto
}

/// A command whose AWS is moto.
fn client(moto: &Moto, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("AWS_ENDPOINT_URL", moto.url())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", "eu-central-1")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn python(moto: &Moto, words: &[&str]) -> String {
    run(client(moto, program(Part::Python)).arg("-c").args(words))
}

fn read(moto: &Moto) -> Value {
    serde_json::from_str(&python(moto, &[READ])).unwrap()
}

/// The documents in podiam's JSON, in the shape in which [`READ`] prints them.
fn made(json: &str) -> BTreeMap<String, BTreeMap<String, Value>> {
    let bundle: Value = serde_json::from_str(json).unwrap();
    let mut roles = BTreeMap::new();
    for role in bundle["Roles"].as_array().unwrap() {
        let mut documents = BTreeMap::new();
        let trust = &role["AssumeRolePolicyDocument"];
        if !trust.is_null() {
            documents.insert("trust".to_owned(), trust.clone());
        }
        for list in ["RolePolicyList", "ManagedPolicies"] {
            for policy in role[list].as_array().into_iter().flatten() {
                let name = policy["PolicyName"].as_str().unwrap().to_owned();
                documents.insert(name, policy["PolicyDocument"].clone());
            }
        }
        roles.insert(role["RoleName"].as_str().unwrap().to_owned(), documents);
    }
    roles
}

/// Panics where a document that podiam made is not in the account as it was made.
fn assert_stored(made: &BTreeMap<String, BTreeMap<String, Value>>, account: &Value) {
    for (role, documents) in made {
        for (name, document) in documents {
            let stored = &account[role][name];
            assert_eq!(stored, document, "{name} of {role}");
        }
    }
}

#[tokio::test]
async fn the_aws_cli_runs_the_script_and_iam_hands_out_the_same_documents() {
    let moto = account().await;
    let file = "examples/iam/cluster.yaml";
    let (_, json) = podiam(&["bootstrap", file], "");
    let (_, script) = podiam(&["bootstrap", file, "--format", "awscli"], "");
    // The CLI as a function, because the part has no program of that name.
    let wrapped = format!("aws() {{ \"$PYTHON\" -m awscli \"$@\"; }}\n{script}");
    run(client(&moto, "sh")
        .env("PYTHON", program(Part::Python))
        .args(["-c", &wrapped]));

    assert_stored(&made(&json), &read(&moto));
    // What IAM prints is what lint reads: the whole account, and nothing is wrong with it.
    let (code, report) = podiam(&["lint", "-"], &python(&moto, &[DETAILS]));
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("0 errors, 0 warnings"), "{report}");
}

#[tokio::test]
async fn cloudformation_makes_the_same_roles() {
    let moto = account().await;
    for attachment in [&[][..], &["--managed"]] {
        let mut words = vec![
            "workload",
            if attachment.is_empty() {
                "k8s/inline"
            } else {
                "k8s/managed"
            },
            "--preset=ebs-csi",
            "--node-role=arn:aws:iam::123456789012:role/nodes",
        ];
        words.extend(attachment);
        let (_, json) = podiam(&words, "");
        words.push("--format=cloudformation");
        let (_, template) = podiam(&words, "");
        python(
            &moto,
            &[
                &STACK.replace("\"roles\"", &format!("{:?}", words[1].replace('/', "-"))),
                &template,
            ],
        );
        assert_stored(&made(&json), &read(&moto));
    }
}
