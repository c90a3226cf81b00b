//! The example of deploy/terraform, from its files to a pod that scales its group: its expressions evaluated, its documents
//! given to moto by boto3, its values to the real Helm, its annotation to a pod, and autoscaling asked with the
//! credentials that the pod gets through the real agent. Terraform and its providers are not run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what cannot be had fails the test there"
)]

#[allow(dead_code, reason = "its other functions are those of tests/deploy")]
#[path = "../deploy/chart.rs"]
mod chart;
mod evaluate;
#[path = "../support/mod.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use hcl::Map;
use podiam_lab::aws::Config;
use podiam_lab::netns::{self, Vpc};
use serde_json::{Value, json};

use crate::evaluate::Made;
use crate::support::agent::{Agent, Host, enter};
use crate::support::moto::Moto;
use crate::support::parts::{Part, program};
use crate::support::relay::relay;

/// Applies what is in argv: the nodes' role, which exists before; then what the modules make; and two Auto Scaling groups,
/// of which one is the workload's.
const APPLY: &str = r#"
import json, sys, boto3
made = json.loads(sys.argv[1])
iam, autoscaling, ec2 = (boto3.client(name) for name in ("iam", "autoscaling", "ec2"))
service = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
iam.create_role(RoleName="nodes", AssumeRolePolicyDocument=json.dumps(service))
for resource in made:
    of = resource["attributes"]
    if resource["kind"] == "aws_iam_role":
        role = iam.create_role(RoleName=of["name"], Path=of["path"], AssumeRolePolicyDocument=of["assume_role_policy"])
        assert role["Role"]["Arn"] == of["arn"], role
    elif resource["kind"] == "aws_iam_role_policy":
        iam.put_role_policy(RoleName=of["role"], PolicyName=of["name"], PolicyDocument=of["policy"])
image = ec2.describe_images()["Images"][0]["ImageId"]
autoscaling.create_launch_configuration(LaunchConfigurationName="lc", ImageId=image, InstanceType="t3.micro")
for group in ("demo-workers", "other"):
    autoscaling.create_auto_scaling_group(AutoScalingGroupName=group, LaunchConfigurationName="lc", MinSize=0, MaxSize=5,
        DesiredCapacity=0, AvailabilityZones=["eu-central-1a"])
stored = {role["RoleName"]: {
    "trust": role["AssumeRolePolicyDocument"],
    "policies": {name: iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]},
} for role in iam.list_roles()["Roles"]}
print(json.dumps(stored))
"#;

/// In the pod: who it is, and that it scales the group.
const SCALE: &str = r#"
import boto3
autoscaling = boto3.client("autoscaling")
autoscaling.set_desired_capacity(AutoScalingGroupName="demo-workers", DesiredCapacity=3)
print(boto3.client("sts").get_caller_identity()["Arn"])
print(autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["demo-workers"])["AutoScalingGroups"][0]["DesiredCapacity"])
"#;

/// In the pod, while moto enforces policies: what is allowed and what is not.
const ENFORCED: &str = r#"
import boto3, botocore
autoscaling, ec2, iam = (boto3.client(name) for name in ("autoscaling", "ec2", "iam"))
def ask(name, call):
    try:
        call()
        print(name, "allowed")
    except botocore.exceptions.ClientError as error:
        print(name, error.response["Error"]["Code"])
ask("describe", autoscaling.describe_auto_scaling_groups)
ask("delete", lambda: autoscaling.delete_auto_scaling_group(AutoScalingGroupName="demo-workers", ForceDelete=True))
ask("escalate", lambda: iam.put_role_policy(RoleName="cluster-autoscaler", PolicyName="x", PolicyDocument="{}"))
"#;

fn example() -> Made {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/terraform/example");
    let image = (
        "image_repository".to_owned(),
        "registry.example.com/podiam".into(),
    );
    evaluate::module(&folder, &Map::from_iter([image]))
}

/// The resources as the applying program reads them.
fn resources(made: &Made) -> Value {
    made.resources
        .iter()
        .map(|resource| json!({"kind": resource.kind, "attributes": resource.attributes}))
        .collect()
}

/// Python whose AWS is the one at `endpoint`.
fn python(mut command: Command, endpoint: &str, words: &[&str], keys: bool) -> String {
    command.args(words).env_clear().envs([
        ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"),
        ("HOME", "/nonexistent"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", endpoint),
    ]);
    if keys {
        command.envs([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ]);
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn helm_takes_the_values_of_the_release_and_the_autoscalers_pods_are_annotated_with_the_role() {
    let made = example();
    let releases: Vec<_> = made
        .resources
        .iter()
        .filter(|resource| resource.kind == "helm_release")
        .collect();
    assert_eq!(releases.len(), 2);
    let values = |number: usize| -> Value {
        let text = &releases[number].attributes["values"].as_array().unwrap()[0];
        serde_json::from_str(text.as_str().unwrap()).unwrap()
    };
    let folder = releases[0].attributes["chart"].as_str().unwrap();
    assert_eq!(
        Path::new(folder).canonicalize().unwrap(),
        chart::folder().canonicalize().unwrap()
    );
    let rendered = chart::render(&values(0));
    assert!(
        rendered
            .args()
            .contains(&"--base-role-arn=arn:aws:iam::123456789012:role/k8s/demo/")
    );
    assert_eq!(
        rendered.agent()["image"],
        "registry.example.com/podiam:0.1.0"
    );
    let role = "arn:aws:iam::123456789012:role/k8s/demo/cluster-autoscaler";
    assert_eq!(values(1)["podAnnotations"]["iam.amazonaws.com/role"], role);
    assert_eq!(made.outputs["annotation"].as_str(), Some(role));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_the_annotation_scales_its_group_with_the_role_that_was_made() {
    let made = example();
    let moto = Moto::start().await;
    let here = Command::new(program(Part::Python));
    let stored = python(
        here,
        &moto.url(),
        &["-c", APPLY, &resources(&made).to_string()],
        true,
    );
    let stored: Value = serde_json::from_str(&stored).unwrap();
    let document =
        |text: &hcl::Value| -> Value { serde_json::from_str(text.as_str().unwrap()).unwrap() };
    let role = made.only("aws_iam_role");
    assert_eq!(
        stored["cluster-autoscaler"]["trust"],
        document(&role["assume_role_policy"])
    );
    assert!(stored["nodes"]["policies"]["podiam"]["Statement"][1]["NotResource"].is_string());

    let vpc = Arc::new(Vpc::new().unwrap());
    let _imds = vpc.start_aws(Config::default()).unwrap();
    let endpoint = SocketAddr::from((netns::NODE, moto.address().port()));
    relay(
        vpc.node().namespace().listen(endpoint).unwrap(),
        moto.address(),
    );
    let endpoint = format!("http://{endpoint}");
    let pod = vpc.add_pod(Ipv4Addr::new(10, 0, 100, 11)).unwrap();
    let annotation = made.outputs["annotation"].as_str().unwrap();
    let manifests = tempfile::tempdir().unwrap();
    let manifest = json!({
        "kind": "Pod",
        "metadata": {"name": "autoscaler", "namespace": "kube-system", "annotations": {"iam.amazonaws.com/role": annotation}},
        "status": {"phase": "Running", "podIP": pod.addresses()[0].to_string()},
    });
    std::fs::write(manifests.path().join("pod.json"), manifest.to_string()).unwrap();
    let base = made.outputs["base_role_arn"].as_str().unwrap();
    let flags = [
        format!("--workloads={}", manifests.path().display()),
        format!("--base-role-arn={base}"),
    ];
    let agent = Agent::start_at(
        Host::Node(Arc::clone(&vpc)),
        &endpoint,
        &flags.each_ref().map(String::as_str),
    );
    agent.ready().await;
    let in_pod = |script: &'static str| {
        let command = enter(pod.namespace(), program(Part::Python));
        let endpoint = endpoint.clone();
        tokio::task::spawn_blocking(move || python(command, &endpoint, &["-c", script], false))
    };
    let told = in_pod(SCALE).await.unwrap();
    let (arn, capacity) = told.trim().split_once('\n').unwrap();
    assert!(
        arn.starts_with(
            "arn:aws:sts::123456789012:assumed-role/cluster-autoscaler/kube-system.autoscaler@"
        ),
        "{arn}"
    );
    assert_eq!(capacity, "3");

    // moto judges by the role's policy from here on. It knows no resources of autoscaling, so the statement of the named
    // group counts for nothing there; crates/iam/tests/engine judges that.
    moto.enforce().await;
    let told = in_pod(ENFORCED).await.unwrap();
    assert_eq!(
        told,
        "describe allowed\ndelete AccessDenied\nescalate AccessDenied\n"
    );
}
