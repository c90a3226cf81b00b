//! What AWS says: each check right, and wrong where the thing is wrong.

use std::fs;
use std::process::Command;

use podiam_lab::aws::{Aws as Lab, Config, Tls};
use serde_json::json;

use crate::scripted::{self, Answer, Aws, Form, caller, refused, role, session, simulated};
use crate::support::apiserver::Cluster;
use crate::support::moto::Moto;
use crate::support::pods::{self, ROLE, Spec};
use crate::{BASE, NODE, NODES, Run, doctor, podiam, with_keys};

fn trust(principal: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}]})
    .to_string()
}

/// An account in which all is well; `other` may answer first.
async fn account(other: impl Fn(&Form) -> Option<Answer> + Send + Sync + 'static) -> Aws {
    Aws::start(move |form| {
        if let Some(answer) = other(form) {
            return answer;
        }
        let value = |key: &str| form.get(key).map_or("", String::as_str);
        match (value("Action"), value("RoleName")) {
            ("GetCallerIdentity", _) => caller(NODE),
            ("GetRole", "nodes") => role(NODES, 3600, &trust("arn:aws:iam::123456789012:root")),
            ("GetRole", name) => role(&format!("{BASE}{name}"), 3600, &trust(NODES)),
            ("SimulatePrincipalPolicy", _) if value("ResourceArns.member.1").starts_with(BASE) => {
                simulated("allowed")
            }
            ("SimulatePrincipalPolicy", _) => simulated("explicitDeny"),
            ("DescribeInstances", _) => scripted::instance(value("InstanceId.1"), 1),
            ("AssumeRole", _) => session(),
            (action, _) => refused("InvalidAction", action),
        }
    })
    .await
}

/// A pod that wants the role `app` of the base, in a namespace of its own; as kubeconfig and selector.
struct Pods {
    _cluster: std::sync::Arc<Cluster>,
    kubeconfig: String,
}

impl Pods {
    async fn new(name: &'static str) -> Self {
        let cluster = Cluster::start().await;
        let client = cluster.client().await;
        pods::namespace(&client, name, &[]).await;
        let spec = Spec {
            namespace: name,
            name: "app",
            node: name,
            ip: "127.0.2.9",
            annotations: &[(ROLE, "app")],
        };
        pods::run(&client, spec).await;
        Self {
            kubeconfig: format!("--kubeconfig={}", cluster.admin_kubeconfig().display()),
            _cluster: cluster.into(),
        }
    }
}

fn at(aws: &Aws) -> Command {
    let mut command = with_keys(podiam());
    command.env("AWS_ENDPOINT_URL", aws.url());
    command
}

async fn run(aws: &Aws, pods: &Pods, checks: &str, agent: &[&str]) -> Run {
    let only = format!("--only={checks}");
    let base = format!("--base-role-arn={BASE}");
    let mut words = vec![pods.kubeconfig.as_str(), &only, "--", &base];
    words.extend(agent);
    doctor(at(aws), &words).await
}

#[tokio::test]
async fn a_regions_endpoint_by_tls_is_right_and_one_in_the_clear_or_silent_is_not() {
    let (tls, folder) = (Tls::new().unwrap(), tempfile::tempdir().unwrap());
    let roots = folder.path().join("roots.pem");
    fs::write(&roots, &tls.certificate).unwrap();
    let listen = || async { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap() };
    let lab = Lab::serve_with(
        Config::default(),
        listen().await,
        listen().await,
        Some(&tls),
    )
    .unwrap();
    let mut command = with_keys(podiam());
    command
        .env("SSL_CERT_FILE", &roots)
        .env("AWS_ENDPOINT_URL_STS", format!("https://{}", lab.sts_addr));
    let run = doctor(command, &["--only=sts-endpoint"]).await;
    let (verdict, said) = run.of("sts-endpoint");
    // Slow is a machine that does other work too.
    assert!(verdict == "ok" || said.contains("longer than"), "{said}");
    assert!(
        said.contains("https://127.0.0.1") && said.contains("eu-central-1"),
        "{said}"
    );

    let aws = account(|_| None).await;
    let run = doctor(at(&aws), &["--only=sts-endpoint"]).await;
    run.assert("sts-endpoint", "warning", "without TLS");
    assert_eq!(run.code, 3);

    let mut command = with_keys(podiam());
    command.env("AWS_ENDPOINT_URL_STS", "https://127.0.0.1:9");
    let run = doctor(command, &["--only=sts-endpoint"]).await;
    run.assert("sts-endpoint", "wrong", "does not answer");
    assert_eq!(run.code, 4);

    let mut command = with_keys(podiam());
    command.env_remove("AWS_REGION");
    let run = doctor(command, &["--only=sts-endpoint"]).await;
    run.assert("sts-endpoint", "wrong", "--aws-region");
}

#[tokio::test]
async fn the_caller_must_be_a_node_or_know_the_nodes_role() {
    let aws = account(|_| None).await;
    let run = doctor(at(&aws), &["--only=node-identity"]).await;
    run.assert("node-identity", "ok", NODE);
    assert_eq!(run.code, 0);

    let jane = "arn:aws:sts::123456789012:assumed-role/admin/jane";
    let admin =
        account(move |form| (form["Action"] == "GetCallerIdentity").then(|| caller(jane))).await;
    let run = doctor(at(&admin), &["--only=node-identity"]).await;
    run.assert("node-identity", "cannot tell", "--node-role");
    assert_eq!(run.code, 5);
    let node_role = format!("--node-role={NODES}");
    let run = doctor(at(&admin), &["--only=node-identity", &node_role]).await;
    run.assert("node-identity", "ok", jane);
    let run = doctor(at(&admin), &["--only=node-identity", "--from=node"]).await;
    run.assert("node-identity", "warning", "no instance's own session");

    let mut nobody = podiam();
    nobody.env("AWS_ENDPOINT_URL", aws.url());
    let run = doctor(nobody, &["--only=node-identity", "--from=node"]).await;
    run.assert("node-identity", "wrong", "NoNodeCredentials");
}

#[tokio::test]
async fn what_the_nodes_role_may_assume_beside_the_pods_roles_is_found_by_simulation_or_by_trying()
{
    let only = [
        "--only=node-policy",
        "--",
        "--base-role-arn=arn:aws:iam::123456789012:role/k8s/",
    ];
    let aws = account(|_| None).await;
    let run = doctor(at(&aws), &only).await;
    run.assert("node-policy", "ok", "denied explicitly (simulated)");

    let is = |form: &Form, action: &str| form["Action"] == action;
    for (decision, verdict) in [("implicitDeny", "warning"), ("allowed", "wrong")] {
        let aws =
            account(move |form| is(form, "SimulatePrincipalPolicy").then(|| simulated(decision)))
                .await;
        doctor(at(&aws), &only)
            .await
            .assert("node-policy", verdict, "role/podiam-doctor/outside-");
    }

    // The nodes may not ask IAM: the role is tried.
    let denied = "User: x is not authorized to perform: sts:AssumeRole on resource: y";
    for (answer, verdict) in [
        (session(), "wrong"),
        (refused("AccessDenied", denied), "cannot tell"),
        (
            refused(
                "AccessDenied",
                &format!("{denied} with an explicit deny in an identity-based policy"),
            ),
            "ok",
        ),
        (
            refused(
                "AccessDenied",
                &format!(
                    "{denied} because no identity-based policy allows the sts:AssumeRole action"
                ),
            ),
            "warning",
        ),
    ] {
        let aws = account(move |form| match form["Action"].as_str() {
            "SimulatePrincipalPolicy" | "GetRole" => Some(refused("AccessDenied", "not you")),
            "AssumeRole" => Some(answer.clone()),
            _ => None,
        })
        .await;
        let run = doctor(at(&aws), &only).await;
        run.assert("node-policy", verdict, "outside-");
        let asked = aws.asked();
        let tried = asked.iter().find(|form| is(form, "AssumeRole")).unwrap();
        assert_eq!(tried["DurationSeconds"], "900");
        assert!(!tried["RoleArn"].starts_with(BASE), "{tried:?}");
    }
}

#[tokio::test]
async fn every_role_of_the_cluster_is_tried_and_the_likely_cause_is_told() {
    let pods = Pods::new("assumable").await;
    let checks = "roles-assumable,trust-policies,session-duration";
    let aws = account(|_| None).await;
    let right = run(&aws, &pods, checks, &[]).await;
    right.assert("roles-assumable", "ok", "all 1 roles");
    right.assert("trust-policies", "ok", "1 trust policies read");
    right.assert("session-duration", "ok", "every role allows");
    assert_eq!(right.code, 0, "{}", right.raw);
    let asked = aws.asked();
    let tried = asked
        .iter()
        .find(|form| form["Action"] == "AssumeRole")
        .unwrap();
    assert_eq!(
        (tried["RoleArn"].as_str(), tried["DurationSeconds"].as_str()),
        ("arn:aws:iam::123456789012:role/k8s/app", "900")
    );

    let denied = || {
        refused(
            "AccessDenied",
            "User: x is not authorized to perform: sts:AssumeRole on resource: y",
        )
    };
    let elsewhere = "arn:aws:iam::123456789012:role/other/app";
    for (found, words) in [
        (refused("NoSuchEntity", "no"), "the role does not exist"),
        (role(elsewhere, 3600, &trust(NODES)), elsewhere),
        (
            role(
                &format!("{BASE}app"),
                3600,
                &trust("arn:aws:iam::123456789012:role/others"),
            ),
            "does not name arn:aws:iam::123456789012:role/nodes",
        ),
        (
            role(&format!("{BASE}app"), 3600, &trust(NODES)),
            "beside the path",
        ),
        (refused("AccessDenied", "not you"), "external ID"),
    ] {
        let aws = account(move |form| match form["Action"].as_str() {
            "AssumeRole" => Some(denied()),
            "GetRole" if form["RoleName"] == "app" => Some(found.clone()),
            _ => None,
        })
        .await;
        let run = run(&aws, &pods, "roles-assumable", &[]).await;
        run.assert("roles-assumable", "wrong", words);
        assert_eq!(run.code, 4);
    }

    // Tags that the trust policy does not allow.
    let aws = account(move |form| (form["Action"] == "AssumeRole").then(denied)).await;
    let tags = ["--session-tags=namespace"];
    run(&aws, &pods, "roles-assumable", &tags).await.assert(
        "roles-assumable",
        "wrong",
        "sts:TagSession",
    );

    let open = role(&format!("{BASE}app"), 3600, &trust("*"));
    let aws = account(move |form| {
        (form.get("RoleName").map(String::as_str) == Some("app")).then(|| open.clone())
    })
    .await;
    run(&aws, &pods, "trust-policies", &[]).await.assert(
        "trust-policies",
        "wrong",
        "everyone is trusted",
    );
    let aws =
        account(|form| (form["Action"] == "GetRole").then(|| refused("AccessDenied", "not you")))
            .await;
    run(&aws, &pods, "trust-policies", &[]).await.assert(
        "trust-policies",
        "cannot tell",
        "iam:GetRole is not allowed",
    );
}

#[tokio::test]
async fn throttling_is_waited_out_and_never_called_a_refusal() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let pods = Pods::new("throttled").await;
    let calls = AtomicUsize::new(0);
    let aws = account(move |form| {
        let is_early = form["Action"] == "AssumeRole" && calls.fetch_add(1, Ordering::SeqCst) < 2;
        is_early.then(|| refused("Throttling", "Rate exceeded"))
    })
    .await;
    let waited = run(&aws, &pods, "roles-assumable", &[]).await;
    waited.assert("roles-assumable", "ok", "all 1 roles");
    let tries = aws
        .asked()
        .iter()
        .filter(|form| form["Action"] == "AssumeRole")
        .count();
    assert_eq!(tries, 3);

    let aws = account(|form| {
        (form["Action"] == "AssumeRole").then(|| refused("Throttling", "Rate exceeded"))
    })
    .await;
    let run = run(&aws, &pods, "roles-assumable", &[]).await;
    run.assert("roles-assumable", "cannot tell", "Throttling");
    let tries = aws
        .asked()
        .iter()
        .filter(|form| form["Action"] == "AssumeRole")
        .count();
    assert_eq!(tries, 4);
}

#[tokio::test]
async fn from_elsewhere_the_documents_are_judged_and_nothing_is_tried() {
    let pods = Pods::new("documents").await;
    let jane = "arn:aws:sts::123456789012:assumed-role/admin/jane";
    let node_role = format!("--node-role={NODES}");
    let base = format!("--base-role-arn={BASE}");
    let words = [
        pods.kubeconfig.as_str(),
        "--only=roles-assumable,node-policy",
        &node_role,
        "--",
        &base,
    ];
    let aws =
        account(move |form| (form["Action"] == "GetCallerIdentity").then(|| caller(jane))).await;
    let run = doctor(at(&aws), &words).await;
    run.assert("roles-assumable", "ok", "simulated, not tried");
    run.assert("node-policy", "ok", "simulated");
    assert!(
        aws.asked()
            .iter()
            .all(|form| form["Action"] != "AssumeRole")
    );

    let aws = account(move |form| match form["Action"].as_str() {
        "GetCallerIdentity" => Some(caller(jane)),
        "GetRole" => Some(role(
            &format!("{BASE}app"),
            3600,
            &trust("arn:aws:iam::123456789012:role/x"),
        )),
        _ => None,
    })
    .await;
    let run = doctor(at(&aws), &words).await;
    run.assert("roles-assumable", "wrong", "does not name");
}

#[tokio::test]
async fn hop_limits_and_clocks_are_seen_from_aws() {
    let aws = account(|_| None).await;
    let run = doctor(at(&aws), &["--only=imds-hop-limit,clock-skew"]).await;
    run.assert("imds-hop-limit", "ok", "1 on all 1 instances");
    run.assert("clock-skew", "ok", "STS");

    let aws = account(|form| match form["Action"].as_str() {
        "DescribeInstances" => Some(scripted::instance(&form["InstanceId.1"], 2)),
        "GetCallerIdentity" => Some(caller(NODE).dated("Thu, 01 Jan 2026 00:00:00 GMT")),
        _ => None,
    })
    .await;
    let run = doctor(at(&aws), &["--only=imds-hop-limit,clock-skew"]).await;
    run.assert("imds-hop-limit", "warning", "i-0123456789abcdef0 (2)");
    run.assert("clock-skew", "wrong", "ahead of STS");

    let aws = account(|form| {
        (form["Action"] == "DescribeInstances").then(|| refused("UnauthorizedOperation", "not you"))
    })
    .await;
    let run = doctor(at(&aws), &["--only=imds-hop-limit"]).await;
    run.assert(
        "imds-hop-limit",
        "cannot tell",
        "ec2:DescribeInstances is not allowed",
    );
}

/// Makes the roles, and prints a session of the nodes' role.
const ACCOUNT: &str = r#"
import json, boto3
iam = boto3.client("iam")
def role(name, path, principal):
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]}
    return iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
nodes = role("nodes", "/", {"Service": "ec2.amazonaws.com"})
role("app", "/k8s/", {"AWS": nodes})
got = boto3.client("sts").assume_role(RoleArn=nodes, RoleSessionName="i-0123456789abcdef0")["Credentials"]
print(got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"])
"#;

#[tokio::test]
async fn motos_iam_and_sts_are_understood() {
    use crate::support::parts::{Part, program};
    let moto = Moto::start().await;
    let mut python = crate::clean(Command::new(program(Part::Python)));
    python
        .args(["-c", ACCOUNT])
        .env("AWS_ENDPOINT_URL", moto.url())
        .env("AWS_DEFAULT_REGION", "eu-central-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test");
    let output = python.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let keys = String::from_utf8(output.stdout).unwrap();
    let keys: Vec<&str> = keys.split_whitespace().collect();
    let pods = Pods::new("moto").await;
    let mut command = podiam();
    command
        .env("AWS_ENDPOINT_URL", moto.url())
        .env("AWS_ACCESS_KEY_ID", keys[0])
        .env("AWS_SECRET_ACCESS_KEY", keys[1])
        .env("AWS_SESSION_TOKEN", keys[2]);
    let base = format!("--base-role-arn={BASE}");
    let run = doctor(command, &[&pods.kubeconfig, "--only=aws", "--", &base]).await;
    run.assert("node-identity", "ok", NODE);
    run.assert("roles-assumable", "ok", "all 1 roles");
    run.assert("trust-policies", "ok", "1 trust policies read");
    // moto lets everybody assume everything, and says so.
    run.assert("node-policy", "wrong", "was assumed");
    assert!(
        !run.raw.contains(keys[1]) && !run.raw.contains(keys[2]),
        "a secret is shown"
    );
}
