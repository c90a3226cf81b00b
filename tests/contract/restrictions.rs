//! What the annotation of a namespace allows: globs and regular expressions on the whole ARN.

use super::assert_refused;
use super::support::http::ROLES;
use super::support::manifest::{Manifest, namespace, pod};
use super::support::node::Node;

/// What a pod of the row is answered.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Given,
    Refused(&'static str),
}

use Expected::{Given, Refused};

const FORBIDS: Expected = Refused("is not allowed in the namespace");
const INVALID: Expected = Refused("has an invalid annotation");

/// The namespace's list (`None`: no annotation), the pod's role, the answer.
type Row = (Option<&'static str>, &'static str, Expected);

async fn check(format: &str, rows: &[Row]) {
    let flags = [
        "--namespace-restrictions".to_owned(),
        format!("--namespace-restriction-format={format}"),
        "--default-role=common".to_owned(),
    ];
    let manifests: Vec<Manifest> = rows
        .iter()
        .enumerate()
        .flat_map(|(number, (allowed, role, _))| {
            let name = format!("ns-{number}");
            let plain = namespace(&name);
            let namespace = match allowed {
                Some(list) => plain.annotated("iam.amazonaws.com/allowed-roles", list),
                None => plain,
            };
            [
                namespace,
                pod("app", &address(number)).in_namespace(&name).role(role),
            ]
        })
        .collect();
    let node = Node::start(&manifests, &flags.each_ref().map(String::as_str)).await;
    for (number, row) in rows.iter().enumerate() {
        let list = node.get(&address(number), ROLES).await;
        let credentials = node.credentials(&address(number), row.1).await;
        match row.2 {
            Given => assert_eq!((list.status, credentials.status), (200, 200), "{row:?}"),
            Refused(why) => {
                assert_eq!(list.status, 403, "{row:?}: {list:?}");
                assert_refused(&list, 403, why);
                // Where the name that was asked for is no name at all, that is what is said.
                assert_eq!(credentials.status, 403, "{row:?}: {credentials:?}");
            }
        }
    }
    let asked = node.aws.assume_role_calls().len();
    let given = rows.iter().filter(|row| matches!(row.2, Given)).count();
    assert_eq!(asked, given, "what is denied is never sent to STS");
}

fn address(number: usize) -> String {
    format!("127.0.2.{}", number + 1)
}

#[tokio::test]
async fn globs_are_held_against_the_whole_arn() {
    check(
        "glob",
        &[
            (Some(r#"["reader"]"#), "reader", Given),
            (Some(r#"["writer","reader"]"#), "reader", Given),
            (Some(r#"["team/*"]"#), "team/a/reader", Given),
            (Some(r#"["*"]"#), "team/a/reader", Given),
            (
                Some(r#"["arn:aws:iam::123456789012:role/reader"]"#),
                "reader",
                Given,
            ),
            (
                Some(r#"["arn:aws:iam::210987654321:role/*"]"#),
                "arn:aws:iam::210987654321:role/far",
                Given,
            ),
            // The default role is everybody's.
            (Some("[]"), "common", Given),
            // A prefix, a suffix, another case.
            (Some(r#"["reader"]"#), "reader-admin", FORBIDS),
            (Some(r#"["reader"]"#), "my-reader", FORBIDS),
            (Some(r#"["reader"]"#), "team/reader", FORBIDS),
            (Some(r#"["reader"]"#), "Reader", FORBIDS),
            (Some(r#"["team/*"]"#), "reader", FORBIDS),
            (Some(r#"["team/*"]"#), "teams/reader", FORBIDS),
            // The same name elsewhere: a name, and `*`, mean our account and our partition.
            (
                Some(r#"["reader"]"#),
                "arn:aws:iam::210987654321:role/reader",
                FORBIDS,
            ),
            (
                Some(r#"["*"]"#),
                "arn:aws:iam::210987654321:role/reader",
                FORBIDS,
            ),
            (
                Some(r#"["reader"]"#),
                "arn:aws-cn:iam::123456789012:role/reader",
                FORBIDS,
            ),
            (
                Some(r#"["*"]"#),
                "arn:aws-cn:iam::123456789012:role/reader",
                FORBIDS,
            ),
            // A regular expression is none here.
            (Some(r#"["read.*"]"#), "reader", FORBIDS),
            (Some("[]"), "reader", FORBIDS),
            (
                None,
                "reader",
                Refused("has no annotation \"iam.amazonaws.com/allowed-roles\""),
            ),
            (Some(""), "reader", INVALID),
            (Some("reader"), "reader", INVALID),
            (Some(r#"{"reader":true}"#), "reader", INVALID),
            (Some(r#"["reader", 1]"#), "reader", INVALID),
            (Some(r#"["reader""#), "reader", INVALID),
        ],
    )
    .await;
}

#[tokio::test]
async fn regular_expressions_are_anchored_at_both_ends() {
    check(
        "regexp",
        &[
            (Some(r#"["reader"]"#), "reader", Given),
            (Some(r#"["read.*"]"#), "reader", Given),
            (Some(r#"["reader|writer"]"#), "writer", Given),
            (Some(r#"["team/[ab]/.*"]"#), "team/a/reader", Given),
            (
                Some(r#"["arn:aws:iam::\\d{12}:role/reader"]"#),
                "arn:aws:iam::210987654321:role/reader",
                Given,
            ),
            (Some(r#"["reader"]"#), "reader-admin", FORBIDS),
            (Some(r#"["reader"]"#), "my-reader", FORBIDS),
            (Some(r#"["reader|writer"]"#), "writer-admin", FORBIDS),
            (Some(r#"["reader|writer"]"#), "my-writer", FORBIDS),
            (
                Some(r#"["reader|writer"]"#),
                "arn:aws:iam::210987654321:role/writer",
                FORBIDS,
            ),
            (
                Some(r#"[".*"]"#),
                "arn:aws:iam::210987654321:role/reader",
                FORBIDS,
            ),
            (
                Some(r#"[".*"]"#),
                "arn:aws-cn:iam::123456789012:role/reader",
                FORBIDS,
            ),
            (Some(r#"[""]"#), "reader", FORBIDS),
            (None, "reader", Refused("has no annotation")),
            (Some(r#"["(reader"]"#), "reader", INVALID),
            (Some(r#"["reader", "("]"#), "reader", INVALID),
            (Some("*"), "reader", INVALID),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_list_that_changes_is_obeyed_from_then_on() {
    let team = |list| namespace("team").annotated("iam.amazonaws.com/allowed-roles", list);
    let app = pod("app", "127.0.2.1").in_namespace("team").role("reader");
    let before = [team(r#"["reader"]"#), app.clone()];
    let node = Node::start(&before, &["--namespace-restrictions"]).await;
    node.agent.gives("127.0.2.1", "reader").await;
    assert_eq!(node.credentials("127.0.2.1", "reader").await.status, 200);

    node.manifests.replace(&[team(r#"["writer"]"#), app]);
    node.agent.refuses("127.0.2.1", 403).await;
    let answer = node.credentials("127.0.2.1", "reader").await;
    assert_refused(&answer, 403, "is not allowed in the namespace \"team\"");
}
