//! Who names the role: the order of the sources, and that each can be switched off.

use super::*;
use crate::workload::{EKS_ROLE_ANNOTATION, ServiceAccount};

/// The policy with these sources, a default role and every key.
fn policy(sources: &[RoleSource]) -> Policy {
    Policy::new(Rules {
        default_role: Some(arn("arn:aws:iam::123456789012:role/default")),
        sources: sources.to_vec(),
        keys: AnnotationKeys {
            service_account_role: Some("account-key".into()),
            eks_role: true,
            namespace_role: Some("namespace-key".into()),
            ..rules().keys
        },
        ..rules()
    })
}

/// What every source says of a pod; `None` where its annotation is absent.
#[derive(Clone, Copy, Default)]
struct Said<'a> {
    pod: Option<&'a str>,
    account: Option<&'a str>,
    eks: Option<&'a str>,
    namespace: Option<&'a str>,
}

/// The role's name or the reason's code, and the source that won.
fn decided(policy: &Policy, said: Said<'_>) -> (String, Option<RoleSource>) {
    let mut pod = pod(said.pod);
    pod.service_account = Some("robot".into());
    let account = ServiceAccount {
        namespace: "team".into(),
        name: "robot".into(),
        role: said.account.map(Into::into),
        eks_role: said.eks.map(Into::into),
    };
    let namespace = Namespace {
        role: said.namespace.map(Into::into),
        ..team(None)
    };
    let around = Surroundings {
        namespace: Some(&namespace),
        service_account: Some(&account),
    };
    let verdict = policy.judge(&pod, around);
    let role = outcome(verdict.decision).replace(BASE, "");
    (role, verdict.basis.source)
}

const EVERYONE: Said<'_> = Said {
    pod: Some("pods"),
    account: Some("accounts"),
    eks: Some("arn:aws:iam::123456789012:role/eks"),
    namespace: Some("namespaces"),
};

#[test]
fn the_first_source_that_speaks_wins() {
    let all = policy(&RoleSource::ALL);
    let mut said = EVERYONE;
    assert_eq!(decided(&all, said), ("pods".into(), Some(RoleSource::Pod)));
    said.pod = None;
    assert_eq!(
        decided(&all, said),
        ("accounts".into(), Some(RoleSource::ServiceAccount))
    );
    said.account = None;
    assert_eq!(decided(&all, said), ("eks".into(), Some(RoleSource::Eks)));
    said.eks = None;
    assert_eq!(
        decided(&all, said),
        ("namespaces".into(), Some(RoleSource::Namespace))
    );
    said.namespace = None;
    assert_eq!(
        decided(&all, said),
        ("default".into(), Some(RoleSource::Default))
    );
}

#[test]
fn an_empty_annotation_opts_out_and_no_later_source_overrules_it() {
    let all = policy(&RoleSource::ALL);
    let empty = Some(" ");
    for (said, winner) in [
        (
            Said {
                pod: empty,
                ..EVERYONE
            },
            RoleSource::Pod,
        ),
        (
            Said {
                pod: None,
                account: empty,
                ..EVERYONE
            },
            RoleSource::ServiceAccount,
        ),
        (
            Said {
                pod: None,
                account: None,
                eks: empty,
                ..EVERYONE
            },
            RoleSource::Eks,
        ),
        (
            Said {
                namespace: empty,
                ..Said::default()
            },
            RoleSource::Namespace,
        ),
    ] {
        assert_eq!(decided(&all, said), ("opted-out".into(), Some(winner)));
    }
    let malformed = Said {
        pod: Some("a b"),
        ..EVERYONE
    };
    assert_eq!(
        decided(&all, malformed),
        ("malformed-role".into(), Some(RoleSource::Pod))
    );
}

#[test]
fn a_source_that_is_off_is_never_heard() {
    for off in RoleSource::ALL {
        let on: Vec<RoleSource> = RoleSource::ALL
            .into_iter()
            .filter(|one| *one != off)
            .collect();
        let only = Said {
            pod: EVERYONE.pod.filter(|_| off == RoleSource::Pod),
            account: EVERYONE
                .account
                .filter(|_| off == RoleSource::ServiceAccount),
            eks: EVERYONE.eks.filter(|_| off == RoleSource::Eks),
            namespace: EVERYONE.namespace.filter(|_| off == RoleSource::Namespace),
        };
        let expected = match off {
            RoleSource::Default => ("no-role".to_owned(), None),
            _ => ("default".to_owned(), Some(RoleSource::Default)),
        };
        assert_eq!(decided(&policy(&on), only), expected, "{off:?}");
    }
}

#[test]
fn what_may_name_a_role_and_is_not_known_yet_is_waited_for() {
    let all = policy(&RoleSource::ALL);
    let known = team(None);
    let around = |namespace| Surroundings {
        namespace,
        service_account: None,
    };
    let mut pod = pod(None);
    pod.service_account = Some("robot".into());
    let code = |pod: &Workload, around: Surroundings<'_>| outcome(all.judge(pod, around).decision);
    assert_eq!(code(&pod, around(Some(&known))), "unknown-service-account");

    // Another account, and the same name in another namespace, never speak for this pod.
    for (namespace, name) in [("team", "human"), ("other", "robot")] {
        let strange = ServiceAccount {
            namespace: namespace.into(),
            name: name.into(),
            role: Some("stolen".into()),
            eks_role: None,
        };
        let around = Surroundings {
            namespace: Some(&known),
            service_account: Some(&strange),
        };
        assert_eq!(code(&pod, around), "unknown-service-account");
    }

    // A static pod's mirror has no account: its namespace is asked next.
    pod.service_account = None;
    assert_eq!(code(&pod, around(None)), "unknown-namespace");
    assert_eq!(code(&pod, around(Some(&known))), format!("{BASE}default"));

    // What an earlier source says needs none of them.
    pod.annotations.role = Some("pods".into());
    pod.service_account = Some("robot".into());
    assert_eq!(code(&pod, around(None)), format!("{BASE}pods"));
}

#[test]
fn a_pod_that_nobody_names_a_role_for_is_told_where_one_could_stand() {
    let text = |sources: &[RoleSource]| {
        let policy = Policy::new(Rules {
            default_role: None,
            ..policy(sources).rules
        });
        let account = ServiceAccount {
            namespace: "team".into(),
            name: "robot".into(),
            ..ServiceAccount::default()
        };
        let mut pod = pod(None);
        pod.service_account = Some("robot".into());
        let around = Surroundings {
            namespace: Some(&team(None)),
            service_account: Some(&account),
        };
        policy.judge(&pod, around).decision.unwrap_err().to_string()
    };
    assert_eq!(
        text(&RoleSource::ALL),
        format!(
            "the pod has no annotation \"role-key\", the service account's annotation \"account-key\" is absent, the \
             service account's annotation {EKS_ROLE_ANNOTATION:?} is absent, the namespace's annotation \
             \"namespace-key\" is absent and there is no default role"
        )
    );
    assert_eq!(
        text(&[RoleSource::Pod, RoleSource::Default]),
        "the pod has no annotation \"role-key\" and there is no default role"
    );
    assert_eq!(
        text(&[RoleSource::Default]),
        "there is no default role, and no annotation is read"
    );
}
