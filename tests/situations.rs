//! Situations, decisions, reasons: what a pod is answered, and why, through the whole agent. Each row is a pod of its own
//! at an address of its own; the reason is the one that the agent's log gives for that pod's request.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "a table reads best with its values written in place"
)]

mod support;

use serde_json::{Value, json};
use support::agent::Agent;
use support::http::ROLES;

const ROLE: &str = "iam.amazonaws.com/role";
const EXTERNAL_ID: &str = "iam.amazonaws.com/external-id";
const ALLOWED: &str = "iam.amazonaws.com/allowed-roles";
const PERMITTED: &str = "iam.amazonaws.com/permitted";
const OWN_KEY: &str = "podiam.io/role";
const EKS_KEY: &str = "eks.amazonaws.com/role-arn";
const NAMESPACE_KEY: &str = "podiam.io/default-role";
const ALL_SOURCES: &str = "--role-sources=pod,service-account,eks,namespace,default";

/// Nobody listens there: what is asked here needs no credentials.
const STS: &str = "http://127.0.0.1:9";

/// What is to come of a request.
enum Then {
    /// 200 and this text.
    Gives(&'static str),
    /// This status, for the reason of this code.
    Refuses(u16, &'static str),
}
use Then::{Gives, Refuses};

/// One pod, or the absence of one.
struct Row {
    situation: &'static str,
    /// What its manifests say; `{ip}` is its address, and objects without a name are pods.
    objects: Value,
    path: &'static str,
    then: Then,
}

fn row(situation: &'static str, objects: Value, then: Then) -> Row {
    Row {
        situation,
        objects,
        path: ROLES,
        then,
    }
}

/// A pod of the namespace `team` with these annotations.
fn pod(annotations: Value) -> Value {
    pod_in("team", annotations)
}

fn pod_in(namespace: &str, annotations: Value) -> Value {
    json!([{"kind": "Pod", "metadata": {"namespace": namespace, "annotations": annotations}}])
}

/// A pod that runs as a service account with these annotations.
fn pod_of(account: &str, pod: Value, account_annotations: Value) -> Value {
    json!([
        {"kind": "Pod", "metadata": {"namespace": "team", "annotations": pod},
         "spec": {"serviceAccountName": account}},
        {"kind": "ServiceAccount", "metadata": {"namespace": "team", "name": account,
         "annotations": account_annotations}},
    ])
}

/// A pod in a namespace of its own with these annotations.
fn guarded(namespace: &str, role: &str, annotations: Value) -> Value {
    json!([
        {"kind": "Namespace", "metadata": {"name": namespace, "annotations": annotations}},
        {"kind": "Pod", "metadata": {"namespace": namespace, "annotations": {ROLE: role}}},
    ])
}

/// Starts an agent with these flags and the manifests of all rows, and asks as each pod. `world` is the part of the
/// addresses that is this table's.
async fn play(world: u8, flags: &[&str], rows: &[Row]) {
    let address = |number: usize| format!("127.0.{world}.{}", number + 1);
    let mut items = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        for (position, object) in row.objects.as_array().unwrap().iter().enumerate() {
            let mut object = object.clone();
            if object["kind"] == "Pod" {
                object["metadata"]["name"] = format!("p{number}-{position}").into();
                object["status"]["podIP"] = address(number).into();
            }
            items.push(object);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let manifests = json!({"kind": "List", "items": items}).to_string();
    std::fs::write(folder.path().join("all.json"), manifests).unwrap();
    let workloads = format!("--workloads={}", folder.path().display());
    let agent = Agent::start(STS, &[&[workloads.as_str()], flags].concat());
    agent.ready().await;

    for (number, row) in rows.iter().enumerate() {
        let ip = address(number);
        let reply = agent.ask(&ip, row.path).await;
        let logged = agent.process().logs(&format!("req.remote={ip} ")).await;
        let told = format!("{}: {} {}{logged}", row.situation, reply.status, reply.body);
        match row.then {
            Gives(body) => {
                assert_eq!((reply.status, reply.body.as_str()), (200, body), "{told}");
                assert!(!logged.contains(" reason="), "{told}");
            }
            Refuses(status, code) => {
                assert_eq!(reply.status, status, "{told}");
                assert!(logged.contains(&format!("reason=\"{code}\"")), "{told}");
                assert_eq!(reply.body.lines().count(), 1, "{told}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_pod_says() {
    let named = |role: &str| pod(json!({ROLE: role}));
    let long = "x".repeat(65);
    let with_id = |id: &str| pod(json!({ROLE: "app", EXTERNAL_ID: id}));
    let rows = [
        row("a role by its name", named("app"), Gives("app")),
        row(
            "a role by path and name",
            named("k8s/team/app"),
            Gives("k8s/team/app"),
        ),
        row(
            "a role by its ARN below the base",
            named("arn:aws:iam::123456789012:role/app"),
            Gives("app"),
        ),
        row(
            "a role of another account",
            named("arn:aws:iam::210987654321:role/app"),
            Gives("arn:aws:iam::210987654321:role/app"),
        ),
        row(
            "every legal character",
            named("a+=,.@_-Z"),
            Gives("a+=,.@_-Z"),
        ),
        row("no annotation", pod(json!({})), Refuses(404, "no-role")),
        row("an empty annotation", named(""), Refuses(404, "opted-out")),
        row(
            "an annotation of spaces",
            named(" \t"),
            Refuses(404, "opted-out"),
        ),
        row(
            "a space in the name",
            named("my role"),
            Refuses(403, "malformed-role"),
        ),
        row(
            "a slash before the name",
            named("/app"),
            Refuses(403, "malformed-role"),
        ),
        row(
            "a path that climbs",
            named("../app"),
            Refuses(403, "malformed-role"),
        ),
        row("a line end", named("app\n"), Refuses(403, "malformed-role")),
        row(
            "a user's ARN",
            named("arn:aws:iam::123456789012:user/app"),
            Refuses(403, "malformed-role"),
        ),
        row(
            "an ARN in upper case",
            named("ARN:aws:iam::123456789012:role/app"),
            Refuses(403, "malformed-role"),
        ),
        row(
            "a partition that is none",
            named("arn:amazon:iam::123456789012:role/app"),
            Refuses(403, "malformed-role"),
        ),
        row(
            "a name too long",
            named(&long),
            Refuses(403, "malformed-role"),
        ),
        row("an external ID", with_id("a:b/c"), Gives("app")),
        row("an empty external ID", with_id(""), Gives("app")),
        row(
            "an external ID too short",
            with_id("x"),
            Refuses(403, "malformed-external-id"),
        ),
        row(
            "an external ID with a space",
            with_id("a b"),
            Refuses(403, "malformed-external-id"),
        ),
    ];
    play(29, &[], &rows).await;
}

#[tokio::test]
async fn who_asks() {
    let in_phase = |phase: &str| json!([{"kind": "Pod", "metadata": {"annotations": {ROLE: "app"}}, "status": {"phase": phase}}]);
    let twice = |phase: &str| {
        json!([
            {"kind": "Pod", "metadata": {"annotations": {ROLE: "app"}}},
            {"kind": "Pod", "metadata": {"annotations": {ROLE: "other"}}, "status": {"phase": phase}},
        ])
    };
    let of_host = json!([
        {"kind": "Pod", "metadata": {"annotations": {ROLE: "app"}}, "spec": {"hostNetwork": true}},
    ]);
    let of_another = Row {
        path: "/latest/meta-data/iam/security-credentials/other",
        ..row(
            "another's role",
            pod(json!({ROLE: "app"})),
            Refuses(403, "not-the-pods-role"),
        )
    };
    let rows = [
        row("nobody's address", json!([]), Refuses(503, "unknown-pod")),
        row(
            "a pod that has succeeded",
            in_phase("Succeeded"),
            Refuses(503, "unknown-pod"),
        ),
        row(
            "a pod that has failed",
            in_phase("Failed"),
            Refuses(503, "unknown-pod"),
        ),
        row("a pod of hostNetwork", of_host, Refuses(503, "unknown-pod")),
        row(
            "two live pods on one address",
            twice("Running"),
            Refuses(503, "ambiguous-address"),
        ),
        row(
            "a live pod and a finished one",
            twice("Succeeded"),
            Gives("app"),
        ),
        row(
            "IMDSv2 only, and no token",
            pod(json!({ROLE: "app", "podiam.io/imdsv2": "required"})),
            Refuses(401, "token-invalid"),
        ),
        of_another,
    ];
    play(30, &[], &rows).await;
    // Its first address is the agent's own.
    play(
        0,
        &[],
        &[row(
            "the node itself",
            json!([]),
            Refuses(403, "node-address"),
        )],
    )
    .await;
}

#[tokio::test]
async fn who_names_the_role() {
    let arn = "arn:aws:iam::123456789012:role/irsa";
    let rows = [
        row(
            "the pod before its account",
            pod_of("a1", json!({ROLE: "pods"}), json!({OWN_KEY: "accounts"})),
            Gives("pods"),
        ),
        row(
            "the account",
            pod_of("a2", json!({}), json!({OWN_KEY: "accounts"})),
            Gives("accounts"),
        ),
        row(
            "the account by IRSA's key",
            pod_of("a3", json!({}), json!({EKS_KEY: arn})),
            Gives("irsa"),
        ),
        row(
            "podiam's key before IRSA's",
            pod_of("a4", json!({}), json!({EKS_KEY: arn, OWN_KEY: "accounts"})),
            Gives("accounts"),
        ),
        row(
            "an account that opts out",
            pod_of("a5", json!({}), json!({OWN_KEY: ""})),
            Refuses(404, "opted-out"),
        ),
        row(
            "a pod that opts out of its account's role",
            pod_of("a6", json!({ROLE: ""}), json!({OWN_KEY: "accounts"})),
            Refuses(404, "opted-out"),
        ),
        row(
            "an account with nonsense",
            pod_of("a7", json!({}), json!({OWN_KEY: "no role!"})),
            Refuses(403, "malformed-role"),
        ),
        row(
            "the namespace",
            json!([
                {"kind": "Namespace", "metadata": {"name": "shared", "annotations": {NAMESPACE_KEY: "namespaces"}}},
                {"kind": "Pod", "metadata": {"namespace": "shared"}},
            ]),
            Gives("namespaces"),
        ),
        row(
            "a namespace that opts out",
            json!([
                {"kind": "Namespace", "metadata": {"name": "without", "annotations": {NAMESPACE_KEY: ""}}},
                {"kind": "Pod", "metadata": {"namespace": "without"}},
            ]),
            Refuses(404, "opted-out"),
        ),
        row("nobody but the operator", pod(json!({})), Gives("default")),
    ];
    play(31, &[ALL_SOURCES, "--default-role=default"], &rows).await;
}

#[tokio::test]
async fn a_source_that_is_off_says_nothing() {
    let rows = [
        row(
            "only the account is asked",
            pod_of("a1", json!({ROLE: "pods"}), json!({OWN_KEY: "accounts"})),
            Gives("accounts"),
        ),
        row(
            "only the pod says something",
            pod(json!({ROLE: "pods"})),
            Refuses(404, "no-role"),
        ),
        row(
            "IRSA's key is off",
            pod_of(
                "a2",
                json!({}),
                json!({EKS_KEY: "arn:aws:iam::123456789012:role/irsa"}),
            ),
            Refuses(404, "no-role"),
        ),
    ];
    play(32, &["--role-sources=service-account"], &rows).await;
}

#[tokio::test]
async fn what_the_namespace_lists() {
    let list = |list: &str| json!({ALLOWED: list});
    let rows = [
        row(
            "a listed role",
            guarded("n1", "app", list(r#"["app"]"#)),
            Gives("app"),
        ),
        row(
            "a glob",
            guarded("n2", "k8s/a/b", list(r#"["k8s/*"]"#)),
            Gives("k8s/a/b"),
        ),
        row(
            "a role that is not listed",
            guarded("n3", "web", list(r#"["app"]"#)),
            Refuses(403, "namespace-forbids"),
        ),
        row(
            "a role that begins like a listed one",
            guarded("n4", "app-admin", list(r#"["app"]"#)),
            Refuses(403, "namespace-forbids"),
        ),
        row(
            "the same name in another account",
            guarded(
                "n5",
                "arn:aws:iam::210987654321:role/app",
                list(r#"["app", "*"]"#),
            ),
            Refuses(403, "namespace-forbids"),
        ),
        row(
            "no list",
            guarded("n6", "app", json!({})),
            Refuses(403, "namespace-allows-nothing"),
        ),
        row(
            "a list that is none",
            guarded("n7", "app", list("app")),
            Refuses(403, "namespace-annotation-invalid"),
        ),
        row(
            "the default role, named",
            guarded("n8", "default", json!({})),
            Gives("default"),
        ),
        row(
            "the default role",
            pod_in("n9", json!({})),
            Gives("default"),
        ),
    ];
    play(
        33,
        &["--namespace-restrictions", "--default-role=default"],
        &rows,
    )
    .await;
}

#[tokio::test]
async fn regular_expressions_of_the_namespace_are_anchored() {
    let both = |list: &str, permitted: &str| json!({ALLOWED: list, PERMITTED: permitted});
    let rows = [
        row(
            "both match",
            guarded("r1", "app", both(r#"["a.p|b"]"#, "app|web")),
            Gives("app"),
        ),
        row(
            "a longer name",
            guarded("r2", "app-admin", both(r#"["app"]"#, ".*")),
            Refuses(403, "namespace-forbids"),
        ),
        row(
            "one bad element",
            guarded("r3", "app", both(r#"["app", "b("]"#, ".*")),
            Refuses(403, "namespace-annotation-invalid"),
        ),
        row(
            "kiam's alternative at the end",
            guarded("r4", "my-web", both(r#"[".*"]"#, "app|web")),
            Refuses(403, "namespace-forbids"),
        ),
        row(
            "kiam's expression is bad",
            guarded("r5", "app", both(r#"[".*"]"#, "app(")),
            Refuses(403, "namespace-annotation-invalid"),
        ),
        row(
            "kiam's expression is absent",
            guarded("r6", "app", json!({ALLOWED: r#"[".*"]"#})),
            Refuses(403, "namespace-allows-nothing"),
        ),
    ];
    let flags = [
        "--namespace-restrictions",
        "--namespace-restriction-format=regexp",
        "--namespace-permitted=enforce",
    ];
    play(34, &flags, &rows).await;
}

#[tokio::test]
async fn a_guard_in_audit_mode_refuses_nobody() {
    let rows = [
        row(
            "a role that is not listed",
            guarded("u1", "web", json!({ALLOWED: r#"["app"]"#})),
            Gives("web"),
        ),
        row("no list", guarded("u2", "app", json!({})), Gives("app")),
        row(
            "a list that is none",
            guarded("u3", "app", json!({ALLOWED: "app"})),
            Gives("app"),
        ),
        row("still no role", pod(json!({})), Refuses(404, "no-role")),
        row(
            "still nonsense",
            guarded("u4", "a b", json!({})),
            Refuses(403, "malformed-role"),
        ),
    ];
    let flags = [
        "--namespace-restrictions=audit",
        "--namespace-permitted=audit",
    ];
    play(35, &flags, &rows).await;
}

#[tokio::test]
async fn nothing_exceeds_the_ceiling() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ceiling.yaml");
    let text = "
allow: ['123456789012']
deny: ['arn:*:iam::*:role/*admin*']
namespaces:
- {name: team-a, allow: [/a/]}
- {name: closed, allow: []}
externalIds:
- {roles: [/ours/], use: operators}
- {roles: [/plain/], forbid: true}
";
    std::fs::write(&file, text).unwrap();
    let named = |role: &str| pod(json!({ROLE: role}));
    let rows = [
        row("an allowed role", named("app"), Gives("app")),
        row(
            "a denied one",
            named("k8s/app-admin"),
            Refuses(403, "ceiling-denies"),
        ),
        row(
            "another account's",
            named("arn:aws:iam::210987654321:role/app"),
            Refuses(403, "ceiling-allows-others"),
        ),
        row(
            "the namespace's own",
            pod_in("team-a", json!({ROLE: "a/app"})),
            Gives("a/app"),
        ),
        row(
            "another namespace's",
            pod_in("team-a", json!({ROLE: "b/app"})),
            Refuses(403, "ceiling-forbids-in-namespace"),
        ),
        row(
            "the default role where nothing is allowed",
            pod_in("closed", json!({})),
            Refuses(403, "ceiling-forbids-in-namespace"),
        ),
        row(
            "the default role elsewhere",
            pod(json!({})),
            Gives("default"),
        ),
        row(
            "a denied role that the account names",
            pod_of("admin", json!({}), json!({OWN_KEY: "admin"})),
            Refuses(403, "ceiling-denies"),
        ),
        row(
            "an external ID where none may be named",
            pod(json!({ROLE: "plain/app", EXTERNAL_ID: "own"})),
            Refuses(403, "external-id-forbidden"),
        ),
        row(
            "none where none may be named",
            named("plain/app"),
            Gives("plain/app"),
        ),
        row(
            "an external ID where the operator's is used",
            pod(json!({ROLE: "ours/app", EXTERNAL_ID: "own"})),
            Gives("ours/app"),
        ),
    ];
    let ceiling = format!("--ceiling={}", file.display());
    play(
        36,
        &[&ceiling, ALL_SOURCES, "--default-role=default"],
        &rows,
    )
    .await;
}

#[tokio::test]
async fn without_a_base_arn_and_with_named_sessions() {
    let session = |name: &str| {
        pod(
            json!({ROLE: "arn:aws:iam::123456789012:role/app", "iam.amazonaws.com/session-name": name}),
        )
    };
    let whole = "arn:aws:iam::123456789012:role/app";
    let rows = [
        row(
            "a name and nothing to complete it",
            pod(json!({ROLE: "app"})),
            Refuses(403, "no-base-arn"),
        ),
        row("an ARN", pod(json!({ROLE: whole})), Gives(whole)),
        row("a session's name", session("batch-7"), Gives(whole)),
        row("an empty session's name", session(""), Gives(whole)),
        row(
            "a session's name that STS refuses",
            session("a b"),
            Refuses(403, "malformed-session-name"),
        ),
    ];
    let flags = [
        "--base-role-arn=",
        "--session-name-key=iam.amazonaws.com/session-name",
    ];
    play(37, &flags, &rows).await;
}
