//! What a session says of its pod reaches STS, and nothing else does: the real binary, with the lab's AWS behind it. And
//! the audit log says which pod has which credentials.

#![allow(
    clippy::unwrap_used,
    reason = "what cannot be had fails the test there"
)]

mod support;

use std::collections::BTreeMap;

use podiam_lab::aws::{Aws, Config};
use support::agent::Agent;
use support::http::ROLES;

const WEB: &str = "127.0.2.1";
const OTHER_WEB: &str = "127.0.2.2";
const NARROW: &str = "127.0.2.3";
const BROKEN: &str = "127.0.2.4";

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: web-7d9f8b6c5d-aaaaa
  namespace: shop
  uid: 11111111-0000-4000-8000-000000000001
  labels: {app: web, pod-template-hash: 7d9f8b6c5d, secret: hidden}
  annotations: {iam.amazonaws.com/role: web}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-7d9f8b6c5d, uid: r, controller: true}]
spec: {serviceAccountName: builder, nodeName: n1}
status: {phase: Running, podIP: 127.0.2.1}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-7d9f8b6c5d-bbbbb
  namespace: shop
  uid: 11111111-0000-4000-8000-000000000002
  labels: {app: web, pod-template-hash: 7d9f8b6c5d}
  annotations: {iam.amazonaws.com/role: web}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-7d9f8b6c5d, uid: r, controller: true}]
spec: {serviceAccountName: builder, nodeName: n1}
status: {phase: Running, podIP: 127.0.2.2}
---
apiVersion: v1
kind: Pod
metadata:
  name: narrow
  namespace: shop
  annotations:
    iam.amazonaws.com/role: narrow
    podiam.io/session-policy: '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}'
    podiam.io/session-policy-arns: arn:aws:iam::aws:policy/ReadOnlyAccess, arn:aws:iam::123456789012:policy/team/x
spec: {nodeName: n1}
status: {phase: Running, podIP: 127.0.2.3}
---
apiVersion: v1
kind: Pod
metadata:
  name: broken
  namespace: shop
  annotations: {iam.amazonaws.com/role: broken, podiam.io/session-policy: '{"Statement":['}
spec: {nodeName: n1}
status: {phase: Running, podIP: 127.0.2.4}
"#;

/// A node: the lab's AWS, the manifests, the agent.
struct Node {
    aws: Aws,
    agent: Agent,
    _manifests: tempfile::TempDir,
}

impl Node {
    async fn start(flags: &[&str]) -> Self {
        let aws = Aws::start(Config::default()).await.unwrap();
        let manifests = tempfile::tempdir().unwrap();
        std::fs::write(manifests.path().join("pods.yaml"), PODS).unwrap();
        let mut all = vec![
            format!("--workloads={}", manifests.path().display()),
            "--node=n1".into(),
        ];
        all.extend(flags.iter().map(ToString::to_string));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let agent = Agent::start(&aws.sts_url(), &all);
        agent.ready().await;
        Self {
            aws,
            agent,
            _manifests: manifests,
        }
    }

    /// The access key ID that the pod at `ip` is given for its role.
    async fn key(&self, ip: &str, role: &str) -> String {
        self.agent.gives(ip, role).await;
        let reply = self.agent.ask(ip, &format!("{ROLES}{role}")).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        body["AccessKeyId"].as_str().unwrap().to_owned()
    }

    /// What STS was told when it gave this key.
    fn told(&self, key: &str) -> BTreeMap<String, String> {
        let mut calls = self.aws.assume_role_calls().into_iter();
        let call = calls.find(|call| {
            call.issued
                .as_ref()
                .is_some_and(|issued| issued.access_key_id == key)
        });
        call.unwrap().parameters
    }
}

#[tokio::test]
async fn tags_and_source_identity_reach_sts_as_the_operator_chose_them() {
    let node = Node::start(&[
        "--session-tags=cluster,namespace,service-account,pod,uid,node",
        "--session-tag-labels=app",
        "--session-tags-transitive",
        "--source-identity=service-account",
        "--cluster-name=prod",
    ])
    .await;
    let told = node.told(&node.key(WEB, "web").await);
    let expected = [
        ("kubernetes-cluster", "prod"),
        ("kubernetes-namespace", "shop"),
        ("kubernetes-service-account", "builder"),
        ("kubernetes-pod-name", "web-7d9f8b6c5d-aaaaa"),
        ("kubernetes-pod-uid", "11111111-0000-4000-8000-000000000001"),
        ("kubernetes-node", "n1"),
        ("app", "web"),
    ];
    for (number, (key, value)) in (1..).zip(expected) {
        assert_eq!(told[&format!("Tags.member.{number}.Key")], key);
        assert_eq!(told[&format!("Tags.member.{number}.Value")], value);
        assert_eq!(told[&format!("TransitiveTagKeys.member.{number}")], key);
    }
    assert!(told["SourceIdentity"].starts_with("shop.builder@"));
    let parts = [
        "RoleArn",
        "RoleSessionName",
        "DurationSeconds",
        "SourceIdentity",
    ];
    let known = parts.len() + ["Action", "Version"].len() + 3 * expected.len();
    assert_eq!(told.len(), known, "{told:?}");
}

#[tokio::test]
async fn by_default_sts_is_told_a_role_a_name_and_a_duration() {
    let node = Node::start(&[]).await;
    let told = node.told(&node.key(WEB, "web").await);
    let names: Vec<_> = told.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "Action",
            "DurationSeconds",
            "RoleArn",
            "RoleSessionName",
            "Version"
        ]
    );
    assert!(told["RoleSessionName"].starts_with("shop.web-7d9f8b6c5d-aaaaa@"));
}

#[tokio::test]
async fn the_pods_of_a_deployment_share_a_session_where_it_is_named_after_the_workload() {
    let node = Node::start(&["--session=workload"]).await;
    let [one, two] = [node.key(WEB, "web").await, node.key(OTHER_WEB, "web").await];
    assert_eq!(one, two);
    assert!(node.told(&one)["RoleSessionName"].starts_with("shop.web@"));
}

#[tokio::test]
async fn pods_whose_tags_differ_share_nothing_however_their_sessions_are_named() {
    let node = Node::start(&["--session=role", "--session-tags=uid"]).await;
    let [one, two] = [node.key(WEB, "web").await, node.key(OTHER_WEB, "web").await];
    assert_ne!(one, two);
    let uid = |key: &str| node.told(key)["Tags.member.1.Value"].clone();
    assert_eq!(uid(&one), "11111111-0000-4000-8000-000000000001");
    assert_eq!(uid(&two), "11111111-0000-4000-8000-000000000002");
}

#[tokio::test]
async fn a_pod_narrows_its_session_by_annotation_or_is_refused_where_that_cannot_be() {
    let node = Node::start(&[]).await;
    let told = node.told(&node.key(NARROW, "narrow").await);
    assert!(told["Policy"].contains(r#""Action":"s3:*""#));
    assert_eq!(
        told["PolicyArns.member.1.arn"],
        "arn:aws:iam::aws:policy/ReadOnlyAccess"
    );
    assert_eq!(
        told["PolicyArns.member.2.arn"],
        "arn:aws:iam::123456789012:policy/team/x"
    );
    let refusal = node.agent.refuses(BROKEN, 403).await;
    assert!(refusal.body.contains("session policy"), "{}", refusal.body);
    let asked = node.aws.assume_role_calls().into_iter();
    let mut roles = asked.filter_map(|call| call.role_arn);
    assert!(!roles.any(|role| role.ends_with("/broken")));
}

/// The audit log's lines so far, each an object.
fn audit_log(node: &Node) -> Vec<serde_json::Value> {
    let log = node.agent.process().log();
    log.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["target"] == "podiam::audit")
        .collect()
}

#[tokio::test]
async fn the_audit_log_joins_access_key_ids_to_pods_and_holds_no_secret() {
    let node = Node::start(&["--session=role", "--log-format=json", "--log-level=error"]).await;
    let key = node.key(WEB, "web").await;
    assert_eq!(node.key(WEB, "web").await, key);
    let line = "audit: session handed out";
    node.agent.process().logs(line).await;
    let of = |message: &str, pod: &str| {
        let lines = audit_log(&node);
        let mut found = lines
            .into_iter()
            .filter(|line| line["message"] == message && line["pod"] == pod);
        let first = found.next();
        assert!(found.next().is_none(), "{message:?} of {pod} twice");
        first
    };
    for message in ["audit: session obtained", line] {
        let told = of(message, "web-7d9f8b6c5d-aaaaa").unwrap();
        for (field, value) in [
            ("access_key_id", &*key),
            ("pod_uid", "11111111-0000-4000-8000-000000000001"),
            ("namespace", "shop"),
            ("service_account", "builder"),
            ("role", "arn:aws:iam::123456789012:role/web"),
        ] {
            assert_eq!(told[field], value, "{field}");
        }
        assert!(told["session_name"].as_str().unwrap().ends_with("-web"));
        assert!(told["expires_at"].as_str().unwrap().ends_with('Z'));
    }
    let other = "web-7d9f8b6c5d-bbbbb";
    assert_eq!(
        of("audit: session obtained", other).unwrap()["access_key_id"],
        *key
    );
    assert!(of(line, other).is_none(), "it has not asked yet");

    let log = node.agent.process().log();
    for issued in node
        .aws
        .assume_role_calls()
        .into_iter()
        .filter_map(|call| call.issued)
    {
        assert!(!log.contains(&issued.secret_access_key));
        assert!(!log.contains(&issued.session_token));
    }
}
