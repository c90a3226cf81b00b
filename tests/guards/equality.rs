//! The policy at the API server decides as the agent does: random guards, namespaces and pods, asked of both.

use std::path::Path;

use podiam::authorize::{Ceiling, Policy, Rules, admission_policies};
use podiam::config::{Attribution, Enforcement, RestrictionFormat, SessionNaming};
use podiam::reason::Reason;
use podiam::workload::{
    AnnotationKeys, Namespace, PodAnnotations, PodUid, RoleSource, Surroundings, Workload,
};
use podiam_iam::{BaseArn, RoleArn};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::policies::{admitted, apply, in_force, namespace};
use crate::support::agent::BASE;
use crate::support::apiserver::Cluster;
use crate::support::pods::{ALLOWED_ROLES, EXTERNAL_ID, ROLE};

const SESSION_NAME: &str = "iam.amazonaws.com/session-name";
const PERMITTED: &str = "iam.amazonaws.com/permitted";

/// Guards, namespaces of each and pods of each of these: 8 * 4 * 6 questions.
const WORLDS: usize = 8;
const NAMESPACES: usize = 4;
const PODS: usize = 6;

#[derive(Clone, Debug)]
struct World {
    base: bool,
    default_role: bool,
    session_names: bool,
    restrictions: Option<(RestrictionFormat, Enforcement)>,
    permitted: Option<Enforcement>,
    ceiling: Option<String>,
}

#[derive(Clone, Debug)]
struct Says {
    list: Option<String>,
    permitted: Option<String>,
}

#[derive(Clone, Debug)]
struct Asks {
    role: Option<String>,
    external_id: Option<String>,
    session_name: Option<String>,
}

fn mode() -> impl Strategy<Value = Enforcement> {
    prop_oneof![3 => Just(Enforcement::Enforce), 1 => Just(Enforcement::Audit)]
}

fn world() -> impl Strategy<Value = World> {
    let format = select(vec![RestrictionFormat::Glob, RestrictionFormat::Regexp]);
    (
        prop::bool::weighted(0.8),
        any::<bool>(),
        any::<bool>(),
        prop::option::weighted(0.7, (format, mode())),
        prop::option::weighted(0.4, mode()),
        prop::option::weighted(0.6, ceiling()),
    )
        .prop_map(
            |(base, default_role, session_names, restrictions, permitted, ceiling)| World {
                base,
                default_role,
                session_names,
                restrictions,
                permitted,
                ceiling,
            },
        )
}

fn scopes() -> impl Strategy<Value = String> {
    let scope = select(vec![
        "*",
        "/k8s/",
        "/",
        "'123456789012'",
        "'210987654321'",
        "arn:aws:iam::123456789012:role/app",
        "arn:*:iam::*:role/*admin*",
        "arn:aws:iam::123456789012:role/k8s/*",
        "arn:aws*:iam::*:role/*b",
    ]);
    let quoted = scope.prop_map(|scope| format!("'{}'", scope.trim_matches('\'')));
    prop::collection::vec(quoted, 0..3).prop_map(|all| format!("[{}]", all.join(", ")))
}

fn ceiling() -> impl Strategy<Value = String> {
    let rule = (scopes(), any::<bool>()).prop_map(|(roles, forbid)| {
        let what = if forbid {
            "forbid: true"
        } else {
            "use: operators"
        };
        format!("{{roles: {roles}, {what}}}")
    });
    let own = (select(vec!["*-0", "*-1", "equal-*"]), scopes(), scopes()).prop_map(
        |(name, allow, deny)| format!("{{name: '{name}', allow: {allow}, deny: {deny}}}"),
    );
    (
        prop::option::weighted(0.4, scopes()),
        prop::option::weighted(0.4, scopes()),
        prop::collection::vec(rule, 0..3),
        prop::collection::vec(own, 0..2),
    )
        .prop_map(|(allow, deny, ids, own)| {
            let allow = allow
                .map(|all| format!("allow: {all}\n"))
                .unwrap_or_default();
            let deny = deny.map(|all| format!("deny: {all}\n")).unwrap_or_default();
            format!(
                "{allow}{deny}externalIds: [{}]\nnamespaces: [{}]\n",
                ids.join(", "),
                own.join(", ")
            )
        })
}

/// Known texts, and random ones without `**` and the like, which Rust's regular expressions have and RE2's have not.
fn text(known: Vec<&'static str>, random: &'static str) -> impl Strategy<Value = String> {
    let repeated = ["**", "*+", "+*", "++"];
    let random = random.prop_filter("RE2 reads it", move |text: &String| {
        !repeated.iter().any(|twice| text.contains(twice))
    });
    prop_oneof![4 => select(known).prop_map(str::to_owned), 1 => random]
}

fn says() -> impl Strategy<Value = Says> {
    let lists = vec![
        r#"["*"]"#,
        r#"[".*"]"#,
        r#"["app"]"#,
        r#"["app", "k8s/*"]"#,
        "[ \"app\" ,\n\t\"k8s/.*\" ]\n",
        r#"["arn:aws:iam::*:role/*app"]"#,
        r#"["arn:aws:iam::\\d+:role/.*app"]"#,
        r#"["a.p|b"]"#,
        r#"["a+b", "a{1}pp", "(app)", "^app$"]"#,
        r#"["app)|(?:b"]"#,
        r#"["\\"]"#,
        r#"["\u0061pp"]"#,
        r#"["app\""]"#,
        r#"["app",]"#,
        r#"["app" "b"]"#,
        r#"[1, "app"]"#,
        r#"{"app": 1}"#,
        "[]",
        "",
        "app",
        "null",
    ];
    let permitted = vec![
        ".*",
        "app",
        "k8s/.*|app",
        "arn:aws:iam::123456789012:role/.*",
        "app(",
        "",
        "a)|(?:b",
        "^$",
        "(?i)APP",
    ];
    (
        prop::option::weighted(0.85, text(lists, r#"\[("[ab*./|()+^-]{0,6}",? ?){0,2}\]"#)),
        prop::option::weighted(0.7, text(permitted, r"[abp.*|()]{0,6}")),
    )
        .prop_map(|(list, permitted)| Says { list, permitted })
}

fn asks() -> impl Strategy<Value = Asks> {
    let roles = vec![
        "app",
        "app-admin",
        "b",
        "a+b",
        "k8s/app",
        "k8s/a/web",
        "default",
        "",
        " \t",
        "a b",
        "/app",
        "app/",
        "a//b",
        "../app",
        "a/./b",
        "rôle",
        "arn:aws:iam::123456789012:role/app",
        "arn:aws:iam::210987654321:role/k8s/app",
        "arn:aws-cn:iam::123456789012:role/app",
        "arn:amazon:iam::123456789012:role/app",
        "arn:aws:iam::1:role/app",
        "arn:aws:iam::123456789012:user/app",
        "ARN:aws:iam::123456789012:role/app",
        "arn:",
    ];
    let long = prop_oneof![
        "[a-z]{62,66}",
        (507..514_usize).prop_map(|length| format!("{}/app", "p".repeat(length))),
    ];
    (
        prop::option::weighted(
            0.95,
            prop_oneof![8 => text(roles, r"(k8s/)?[a-c+=,.@_-]{1,4}\PC{0,1}"), 1 => long],
        ),
        prop::option::weighted(
            0.4,
            select(vec!["own", "", "x", "a:b/c", "a b", "é1"]).prop_map(str::to_owned),
        ),
        prop::option::weighted(
            0.3,
            select(vec!["batch", "", "x", "a b"]).prop_map(str::to_owned),
        ),
    )
        .prop_map(|(role, external_id, session_name)| Asks {
            role,
            external_id,
            session_name,
        })
}

impl World {
    fn rules(&self) -> Rules {
        let default_role = RoleArn::parse(&format!("{BASE}default")).ok();
        Rules {
            base: BaseArn::parse(BASE).ok().filter(|_| self.base),
            default_role: default_role.filter(|_| self.default_role),
            sources: vec![RoleSource::Pod, RoleSource::Default],
            restrictions: self.restrictions.map(|(format, _)| format),
            enforcement: self.restrictions.map(|(_, mode)| mode).unwrap_or_default(),
            permitted: self.permitted,
            naming: SessionNaming::Pod,
            session_duration: std::time::Duration::from_hours(1),
            host_ip: None,
            attribution: Attribution::default(),
            keys: AnnotationKeys {
                role: ROLE.into(),
                external_id: EXTERNAL_ID.into(),
                allowed_roles: ALLOWED_ROLES.into(),
                session_name: self.session_names.then(|| SESSION_NAME.into()),
                permitted: self.permitted.map(|_| PERMITTED.into()),
                ..AnnotationKeys::default()
            },
        }
    }

    fn ceiling(&self) -> Option<Ceiling> {
        let text = self.ceiling.as_deref()?;
        Some(Ceiling::parse(Path::new("ceiling"), text).unwrap())
    }
}

/// What the agent says of the pod; a pod that wants no role is not refused one.
fn agents(
    policy: &Policy,
    world: &World,
    namespace: &str,
    says: &Says,
    asks: &Asks,
) -> Option<Reason> {
    let boxed = |text: &Option<String>| text.as_deref().map(Into::into);
    let pod = Workload {
        service_account: Some("default".into()),
        created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        annotations: PodAnnotations {
            role: boxed(&asks.role),
            external_id: boxed(&asks.external_id),
            session_name: boxed(&asks.session_name).filter(|_| world.session_names),
            ..PodAnnotations::default()
        },
        ..Workload::new(PodUid::new("uid"), namespace, "app")
    };
    let own = Namespace {
        name: namespace.into(),
        allowed_roles: boxed(&says.list),
        permitted: boxed(&says.permitted),
        role: None,
    };
    let around = Surroundings {
        namespace: Some(&own),
        service_account: None,
    };
    // Without the annotation the pod says nothing about its role, and admission judges what pods say.
    asks.role.as_ref()?;
    match policy.judge(&pod, around).decision {
        Ok(_) | Err(Reason::NoRole { .. } | Reason::OptedOut { .. }) => None,
        Err(reason) => Some(reason),
    }
}

/// A list that CEL cannot take apart: it has escapes other than `\\`. Such a pod is let in, and the agent decides.
fn is_left_to_the_agent(says: &Says) -> bool {
    let list = says.list.as_deref().unwrap_or_default();
    let only_backslashes = list.replace(r"\\", "");
    serde_json::from_str::<Vec<String>>(list).is_ok() && only_backslashes.contains('\\')
}

#[tokio::test]
async fn the_policy_at_the_api_server_decides_as_the_agent_does() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    let mut runner = TestRunner::default();
    let (mut refused, mut allowed) = (0, 0);
    for number in 0..WORLDS {
        let world = world().new_tree(&mut runner).unwrap().current();
        let name = format!("equal-{number}");
        let (rules, ceiling) = (world.rules(), world.ceiling());
        apply(
            &client,
            &name,
            &admission_policies(&rules, ceiling.as_ref()),
        )
        .await;
        let policy = Policy::new(rules);
        policy.set_ceiling(ceiling);
        let without_lists = Policy::new(Rules {
            restrictions: None,
            ..world.rules()
        });
        without_lists.set_ceiling(world.ceiling());
        for number in 0..NAMESPACES {
            let says = says().new_tree(&mut runner).unwrap().current();
            let own = format!("{name}-{number}");
            let list = says.list.as_deref().map(|list| (ALLOWED_ROLES, list));
            let permitted = says.permitted.as_deref().map(|text| (PERMITTED, text));
            let annotations: Vec<(&str, &str)> = list.into_iter().chain(permitted).collect();
            namespace(&client, &name, &own, &annotations).await;
            in_force(&client, &own).await;
            for _ in 0..PODS {
                let asks = asks().new_tree(&mut runner).unwrap().current();
                let annotations: Vec<(&str, &str)> = [
                    (ROLE, &asks.role),
                    (EXTERNAL_ID, &asks.external_id),
                    (SESSION_NAME, &asks.session_name),
                ]
                .into_iter()
                .filter_map(|(key, value)| Some((key, value.as_deref()?)))
                .collect();
                let answer = admitted(&client, &own, &annotations).await;
                let mut expected = agents(&policy, &world, &own, &says, &asks);
                let context = format!(
                    "{world:?}\n{says:?}\n{asks:?}\nagent: {expected:?}\npolicy: {answer:?}"
                );
                let of_namespace = matches!(
                    expected,
                    Some(
                        Reason::NamespaceForbids { .. } | Reason::NamespaceAnnotationInvalid { .. }
                    )
                );
                if of_namespace && is_left_to_the_agent(&says) {
                    // The list passes everybody; what follows it decides.
                    expected = agents(&without_lists, &world, &own, &says, &asks);
                }
                match (&expected, &answer) {
                    (None, Ok(())) => allowed += 1,
                    (Some(reason), Err(message)) => {
                        refused += 1;
                        // An expression that is none is CEL's own error.
                        let code = format!("({})", reason.code());
                        let said = message.contains(&code) || message.contains("resulted in error");
                        assert!(said, "{context}");
                    }
                    _ => panic!("they do not agree\n{context}"),
                }
            }
        }
    }
    // A world in which all is refused, or nothing, would prove little.
    assert!(
        refused > 20 && allowed > 10,
        "{refused} refused, {allowed} let in"
    );
}
