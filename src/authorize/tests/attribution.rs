//! What a pod's session is named and says, by what the operator wants to be said.

use super::*;
use crate::config::{SourceIdentity, TagSource};
use crate::workload::Owner;

fn policy_of(naming: SessionNaming, attribution: Attribution) -> Policy {
    Policy::new(Rules {
        naming,
        attribution,
        ..rules()
    })
}

fn decide(policy: &Policy, pod: &Workload) -> Arc<Grant> {
    policy.decide(pod, None).unwrap()
}

/// The second pod of a Deployment, in the words of its objects.
fn pod_of(owner: Option<(&str, &str)>, uid: &str) -> Workload {
    Workload {
        uid: PodUid::new(uid),
        service_account: Some("builder".into()),
        labels: [("app".into(), "web".into()), ("team".into(), "".into())].into(),
        owner: owner.map(|(kind, name)| {
            Box::new(Owner {
                kind: kind.into(),
                name: name.into(),
            })
        }),
        ..pod(Some("web"))
    }
}

fn everything() -> Attribution {
    Attribution {
        tags: vec![
            TagSource::Cluster,
            TagSource::Namespace,
            TagSource::ServiceAccount,
            TagSource::Pod,
            TagSource::Uid,
            TagSource::Node,
        ],
        labels: vec!["app".into(), "team".into(), "absent".into()],
        transitive: true,
        source_identity: Some(SourceIdentity::ServiceAccount),
        cluster: Some("prod".into()),
        node: Some("n1".into()),
    }
}

#[test]
fn tags_say_what_was_chosen_and_known() {
    let policy = policy_of(SessionNaming::Pod, everything());
    let attributes = &decide(&policy, &pod_of(None, "uid-1")).attributes;
    let tags: Vec<_> = attributes
        .tags()
        .iter()
        .map(|tag| (tag.key(), tag.value()))
        .collect();
    let expected = [
        ("kubernetes-cluster", "prod"),
        ("kubernetes-namespace", "team"),
        ("kubernetes-service-account", "builder"),
        ("kubernetes-pod-name", "web-0"),
        ("kubernetes-pod-uid", "uid-1"),
        ("kubernetes-node", "n1"),
        ("app", "web"),
        ("team", ""),
    ];
    assert_eq!(tags, expected);
    let transitive: Vec<_> = attributes.transitive_tag_keys().collect();
    assert_eq!(transitive, expected.map(|(key, _)| key));
    let source_identity = attributes.source_identity().unwrap().as_str();
    assert!(
        source_identity.starts_with("team.builder@"),
        "{source_identity}"
    );
}

#[test]
fn by_default_a_session_says_nothing_beside_its_name() {
    let policy = policy_of(SessionNaming::Pod, Attribution::default());
    let grant = decide(&policy, &pod_of(None, "uid-1"));
    assert_eq!(grant.attributes, Attributes::default());
}

#[test]
fn the_pods_of_one_workload_share_a_session_and_no_others_do() {
    let policy = policy_of(SessionNaming::Workload, Attribution::default());
    let grant = |owner, uid| decide(&policy, &pod_of(owner, uid));
    let web = grant(Some(("Deployment", "web")), "uid-1");
    assert!(web.session_name.as_str().starts_with("team.web@"));
    assert_eq!(web, grant(Some(("Deployment", "web")), "uid-2"));
    for (owner, uid) in [
        (Some(("StatefulSet", "web")), "uid-2"),
        (Some(("Deployment", "web2")), "uid-2"),
        (None, "uid-1"),
    ] {
        assert_ne!(web, grant(owner, uid));
    }
    let elsewhere = Workload {
        namespace: "other".into(),
        ..pod_of(Some(("Deployment", "web")), "uid-1")
    };
    assert_ne!(web, decide(&policy, &elsewhere));
    assert_ne!(grant(None, "uid-1"), grant(None, "uid-2"));
}

#[test]
fn pods_that_say_different_things_never_share_credentials() {
    let only = |tags: Vec<TagSource>| Attribution {
        tags,
        ..Attribution::default()
    };
    let [one, two] = ["uid-1", "uid-2"].map(|uid| pod_of(None, uid));
    for (attribution, shared) in [
        (Attribution::default(), true),
        (only(vec![TagSource::Namespace]), true),
        (only(vec![TagSource::Uid]), false),
        (
            Attribution {
                source_identity: Some(SourceIdentity::Pod),
                ..Attribution::default()
            },
            false,
        ),
    ] {
        let policy = policy_of(SessionNaming::Role, attribution.clone());
        let same = decide(&policy, &one) == decide(&policy, &two);
        assert_eq!(same, shared, "{attribution:?}");
    }
    let policy = policy_of(SessionNaming::Role, Attribution::default());
    let mut narrowed = two;
    narrowed.annotations.session_policy = Some(r#"{"Statement":[]}"#.into());
    assert_ne!(decide(&policy, &one), decide(&policy, &narrowed));
}

#[test]
fn a_pods_session_policy_goes_with_its_session_or_the_pod_is_refused() {
    let policy = policy_of(SessionNaming::Pod, Attribution::default());
    let mut pod = pod_of(None, "uid-1");
    pod.annotations.session_policy = Some(r#" {"Statement":[]} "#.into());
    pod.annotations.session_policy_arns = Some("arn:aws:iam::aws:policy/ReadOnlyAccess".into());
    let grant = decide(&policy, &pod);
    let session_policy = grant.attributes.policy().unwrap();
    assert_eq!(session_policy.document(), Some(r#"{"Statement":[]}"#));
    assert_eq!(session_policy.arns().count(), 1);

    pod.annotations.session_policy = Some(r#"{"Statement":["#.into());
    assert_eq!(
        outcome(policy.decide(&pod, None)),
        "malformed-session-policy"
    );
}

#[test]
fn a_tag_that_sts_would_refuse_is_refused_here() {
    let policy = policy_of(SessionNaming::Pod, everything());
    let from_a_file = Workload {
        name: "naïve".into(),
        ..pod_of(None, "uid-1")
    };
    assert_eq!(
        outcome(policy.decide(&from_a_file, None)),
        "malformed-session-tag"
    );
}
