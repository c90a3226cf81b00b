use serde_json::{Value, json};

use super::*;

fn pod(object: Value) -> Result<Workload, ObjectError> {
    serde_json::from_value::<Pod>(object)
        .unwrap()
        .into_workload(&test_keys())
}

/// A pod as the API server sends it, with much that nobody here wants.
fn full_pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-0", "namespace": "shop", "uid": "0b1f5a0e-3f1e-4d0c-8f55-8f0e2c8f3d01",
            "resourceVersion": "42", "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"app": "web", "pod-template-hash": "7d9f8b6c5d", "unrelated": "x"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u0"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9f8b6c5d", "uid": "u1", "controller": true}
            ],
            "annotations": {
                "iam.amazonaws.com/role": "reader", "iam.amazonaws.com/external-id": "id-1",
                "podiam.io/imdsv2": "required", "unrelated": "x"
            },
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}]
        },
        "spec": {
            "nodeName": "node-1", "serviceAccountName": "web",
            "containers": [{"name": "c", "env": [{"name": "PASSWORD", "value": "hunter2"}]}]
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.9",
            "podIPs": [{"ip": "10.0.0.9"}, {"ip": "2001:db8::9"}]
        }
    })
}

#[test]
fn a_pod_is_reduced_to_what_the_agent_needs() {
    let workload = pod(full_pod()).unwrap();
    assert_eq!(
        workload,
        Workload {
            uid: PodUid::new("0b1f5a0e-3f1e-4d0c-8f55-8f0e2c8f3d01"),
            namespace: "shop".into(),
            name: "web-0".into(),
            service_account: Some("web".into()),
            addresses: vec!["10.0.0.9".parse().unwrap(), "2001:db8::9".parse().unwrap()],
            sandbox_addresses: Vec::new(),
            created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            host_network: false,
            terminal: false,
            annotations: PodAnnotations {
                role: Some("reader".into()),
                external_id: Some("id-1".into()),
                imdsv2: Some("required".into()),
                ..PodAnnotations::default()
            },
            labels: [("app".into(), "web".into())].into(),
            owner: Some(Box::new(Owner {
                kind: "Deployment".into(),
                name: "web".into(),
            })),
        }
    );
}

#[test]
fn environment_and_managed_fields_are_not_even_read() {
    let object: Pod = serde_json::from_value(full_pod()).unwrap();
    assert_eq!(object.metadata.managed_fields, None);
    assert!(!format!("{object:?}").contains("hunter2"));
}

#[test]
fn phase_and_network_decide_what_a_pod_may_own() {
    for (phase, terminal) in [
        ("Pending", false),
        ("Running", false),
        ("Succeeded", true),
        ("Failed", true),
        ("Unknown", false),
    ] {
        let mut object = full_pod();
        object["status"]["phase"] = phase.into();
        assert_eq!(pod(object).unwrap().terminal, terminal, "{phase}");
    }
    let mut object = full_pod();
    object["spec"]["hostNetwork"] = true.into();
    assert!(pod(object).unwrap().host_network);
}

#[test]
fn a_terminating_pod_keeps_its_addresses_until_it_is_gone() {
    let mut object = full_pod();
    object["metadata"]["deletionTimestamp"] = "2026-01-02T04:00:00Z".into();
    let workload = pod(object).unwrap();
    assert!(!workload.terminal);
    assert_eq!(workload.addresses.len(), 2);
}

#[test]
fn an_empty_annotation_is_not_an_absent_one() {
    let mut object = full_pod();
    object["metadata"]["annotations"] = json!({"iam.amazonaws.com/role": ""});
    let annotations = pod(object).unwrap().annotations;
    assert_eq!(annotations.role.as_deref(), Some(""));
    assert_eq!(annotations.external_id, None);
}

#[test]
fn a_pod_that_has_only_begun_has_no_address() {
    for status in [json!(null), json!({}), json!({"podIP": "", "podIPs": null})] {
        let mut object = full_pod();
        object["status"] = status;
        assert_eq!(pod(object).unwrap().addresses, Vec::<IpAddr>::new());
    }
}

#[test]
fn a_single_pod_ip_is_enough() {
    let mut object = full_pod();
    object["status"] = json!({"podIP": "10.0.0.9"});
    assert_eq!(
        pod(object).unwrap().addresses,
        ["10.0.0.9".parse::<IpAddr>().unwrap()]
    );
}

#[test]
fn an_unusable_object_says_which_field_is_at_fault() {
    let mut object = full_pod();
    object["status"]["podIPs"][1]["ip"] = "10.0.0.999".into();
    assert_eq!(
        pod(object).unwrap_err().to_string(),
        "status.podIPs: \"10.0.0.999\" is not an IP address"
    );
    for field in ["name", "namespace", "uid"] {
        let mut object = full_pod();
        object["metadata"][field].take();
        assert_eq!(pod(object).unwrap_err(), ObjectError::Missing(field));
    }
}

#[test]
fn a_namespace_keeps_its_name_and_its_list_of_roles() {
    let object = json!({
        "kind": "PartialObjectMetadata",
        "metadata": {"name": "shop", "annotations": {"iam.amazonaws.com/allowed-roles": "[\"r\"]", "x": "y"}}
    });
    let namespace: Namespace = serde_json::from_value(object).unwrap();
    assert_eq!(
        namespace.into_namespace(&test_keys()).unwrap(),
        LeanNamespace {
            name: "shop".into(),
            allowed_roles: Some("[\"r\"]".into()),
            ..LeanNamespace::default()
        }
    );
}

#[test]
fn a_pods_owner_is_its_controller_or_the_deployment_behind_a_replica_set() {
    let owner = |references: Value| {
        let mut object = full_pod();
        object["metadata"]["ownerReferences"] = references;
        let owner = pod(object).unwrap().owner?;
        Some(format!("{}/{}", owner.kind, owner.name))
    };
    let controller = |kind: &str, name: &str| json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": true}]);
    for (references, expected) in [
        (json!(null), None),
        (json!([]), None),
        (
            json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]),
            None,
        ),
        (controller("StatefulSet", "db"), Some("StatefulSet/db")),
        (
            controller("ReplicaSet", "web-7d9f8b6c5d"),
            Some("Deployment/web"),
        ),
        (
            controller("ReplicaSet", "by-hand"),
            Some("ReplicaSet/by-hand"),
        ),
        (
            controller("ReplicaSet", "-7d9f8b6c5d"),
            Some("ReplicaSet/-7d9f8b6c5d"),
        ),
        (
            controller("Job", "job-7d9f8b6c5d"),
            Some("Job/job-7d9f8b6c5d"),
        ),
    ] {
        assert_eq!(owner(references).as_deref(), expected);
    }
}

#[test]
fn session_policies_are_read_from_their_annotations() {
    let mut object = full_pod();
    object["metadata"]["annotations"]["podiam.io/session-policy"] = json!("{}");
    object["metadata"]["annotations"]["podiam.io/session-policy-arns"] = json!("arn:x");
    let annotations = pod(object).unwrap().annotations;
    assert_eq!(annotations.session_policy.as_deref(), Some("{}"));
    assert_eq!(annotations.session_policy_arns.as_deref(), Some("arn:x"));
}

#[test]
fn what_no_source_or_guard_reads_is_not_kept() {
    let all = AnnotationKeys {
        session_name: Some("name".into()),
        service_account_role: Some("own".into()),
        eks_role: true,
        namespace_role: Some("default".into()),
        permitted: Some("permitted".into()),
        ..test_keys()
    };
    let annotations = json!({
        "name": "session", "own": "a", EKS_ROLE_ANNOTATION: "b", "default": "c", "permitted": "d",
    });
    let object = json!({"metadata": {"name": "n", "namespace": "shop", "uid": "u", "annotations": annotations}});
    let account = |keys: &AnnotationKeys| {
        let account: ServiceAccount = serde_json::from_value(object.clone()).unwrap();
        let account = account.into_service_account(keys).unwrap();
        (account.role, account.eks_role)
    };
    let namespace = |keys: &AnnotationKeys| {
        let namespace: Namespace = serde_json::from_value(object.clone()).unwrap();
        let namespace = namespace.into_namespace(keys).unwrap();
        (namespace.role, namespace.permitted)
    };
    let session_name = |keys: &AnnotationKeys| {
        let pod: Pod = serde_json::from_value(object.clone()).unwrap();
        pod.into_workload(keys).unwrap().annotations.session_name
    };
    assert_eq!(account(&test_keys()), (None, None));
    assert_eq!(namespace(&test_keys()), (None, None));
    assert_eq!(session_name(&test_keys()), None);
    assert_eq!(account(&all), (Some("a".into()), Some("b".into())));
    assert_eq!(namespace(&all), (Some("c".into()), Some("d".into())));
    assert_eq!(session_name(&all), Some("session".into()));
}
