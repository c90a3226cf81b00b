//! The lean Kubernetes objects that are read from the API server and from manifests.
//!
//! Only the fields below are ever deserialised: containers, their environment, labels and managedFields are skipped by
//! the parser and never in memory as values. [`kube`] wants an [`ObjectMeta`], so one is filled with what we read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::{ClusterResourceScope, NamespaceResourceScope, ObjectMeta};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::workload::{
    AnnotationKeys, EKS_ROLE_ANNOTATION, IMDSV2_ANNOTATION, Namespace as LeanNamespace,
    PodAnnotations, PodUid, ServiceAccount as LeanServiceAccount, Workload,
};

/// Why an object cannot be used.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum ObjectError {
    #[error("metadata.{0} is missing")]
    Missing(&'static str),
    #[error("status.podIPs: {0:?} is not an IP address")]
    Address(String),
}

/// A pod as it arrives.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Pod {
    #[serde(default, deserialize_with = "lean_metadata")]
    pub(super) metadata: ObjectMeta,
    pub(super) spec: Option<PodSpec>,
    pub(super) status: Option<PodStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub(super) node_name: Option<String>,
    pub(super) service_account_name: Option<String>,
    host_network: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp>>,
}

#[derive(Clone, Debug, Deserialize)]
struct PodIp {
    ip: Option<String>,
}

/// A namespace as it arrives: metadata only.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Namespace {
    #[serde(default, deserialize_with = "lean_metadata")]
    pub(super) metadata: ObjectMeta,
}

/// A service account as it arrives: metadata only, never its secrets.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ServiceAccount {
    #[serde(default, deserialize_with = "lean_metadata")]
    pub(super) metadata: ObjectMeta,
}

impl Pod {
    /// The part of it that the agent keeps.
    pub(super) fn into_workload(self, keys: &AnnotationKeys) -> Result<Workload, ObjectError> {
        let ObjectMeta {
            name,
            namespace,
            uid,
            creation_timestamp,
            annotations,
            ..
        } = self.metadata;
        let spec = self.spec.unwrap_or_default();
        let status = self.status.unwrap_or_default();
        let mut annotations = annotations.unwrap_or_default();
        let mut annotation = |key: &str| annotations.remove(key).map(String::into_boxed_str);
        Ok(Workload {
            uid: PodUid::new(&uid.ok_or(ObjectError::Missing("uid"))?),
            namespace: namespace.ok_or(ObjectError::Missing("namespace"))?.into(),
            name: name.ok_or(ObjectError::Missing("name"))?.into(),
            service_account: spec.service_account_name.map(Into::into),
            addresses: status.addresses()?,
            created_at: creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            host_network: spec.host_network.unwrap_or(false),
            terminal: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            annotations: PodAnnotations {
                role: annotation(&keys.role),
                external_id: annotation(&keys.external_id),
                session_name: keys.session_name.as_deref().and_then(&mut annotation),
                imdsv2: annotation(IMDSV2_ANNOTATION),
            },
        })
    }
}

impl PodStatus {
    /// `podIPs` in their order, and `podIP` where it is not among them.
    fn addresses(&self) -> Result<Vec<IpAddr>, ObjectError> {
        let all = self
            .pod_ips
            .iter()
            .flatten()
            .filter_map(|entry| entry.ip.as_deref());
        let mut addresses = Vec::new();
        for text in all
            .chain(self.pod_ip.as_deref())
            .filter(|text| !text.is_empty())
        {
            let address: IpAddr = text
                .parse()
                .map_err(|_| ObjectError::Address(text.to_owned()))?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }
}

impl Namespace {
    /// The part of it that the agent keeps.
    pub(super) fn into_namespace(
        self,
        keys: &AnnotationKeys,
    ) -> Result<LeanNamespace, ObjectError> {
        let ObjectMeta {
            name, annotations, ..
        } = self.metadata;
        let mut annotations = annotations.unwrap_or_default();
        let mut annotation = |key: &str| annotations.remove(key).map(String::into_boxed_str);
        Ok(LeanNamespace {
            name: name.ok_or(ObjectError::Missing("name"))?.into(),
            allowed_roles: annotation(&keys.allowed_roles),
            permitted: keys.permitted.as_deref().and_then(&mut annotation),
            role: keys.namespace_role.as_deref().and_then(&mut annotation),
        })
    }
}

impl ServiceAccount {
    /// The part of it that the agent keeps.
    pub(super) fn into_service_account(
        self,
        keys: &AnnotationKeys,
    ) -> Result<LeanServiceAccount, ObjectError> {
        let ObjectMeta {
            name,
            namespace,
            annotations,
            ..
        } = self.metadata;
        let mut annotations = annotations.unwrap_or_default();
        let mut annotation = |key: &str| annotations.remove(key).map(String::into_boxed_str);
        let own_key = keys.service_account_role.as_deref();
        Ok(LeanServiceAccount {
            namespace: namespace.ok_or(ObjectError::Missing("namespace"))?.into(),
            name: name.ok_or(ObjectError::Missing("name"))?.into(),
            role: own_key.and_then(&mut annotation),
            eks_role: keys
                .eks_role
                .then(|| annotation(EKS_ROLE_ANNOTATION))
                .flatten(),
        })
    }
}

/// Reads what we use of an object's metadata and skips the rest.
fn lean_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Lean {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        creation_timestamp: Option<Timestamp>,
        annotations: Option<BTreeMap<String, String>>,
    }
    let lean = Option::<Lean>::deserialize(deserializer)?.unwrap_or_default();
    Ok(ObjectMeta {
        name: lean.name,
        namespace: lean.namespace,
        uid: lean.uid,
        resource_version: lean.resource_version,
        creation_timestamp: lean.creation_timestamp.map(Time),
        annotations: lean.annotations,
        ..ObjectMeta::default()
    })
}

impl kube::Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl kube::Resource for Namespace {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Namespace".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "namespaces".into()
    }

    /// The API server is asked for metadata alone.
    fn metadata_api() -> bool {
        true
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl kube::Resource for ServiceAccount {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "ServiceAccount".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "serviceaccounts".into()
    }

    /// The API server is asked for metadata alone.
    fn metadata_api() -> bool {
        true
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
pub(super) fn test_keys() -> AnnotationKeys {
    AnnotationKeys {
        role: "iam.amazonaws.com/role".into(),
        external_id: "iam.amazonaws.com/external-id".into(),
        allowed_roles: "iam.amazonaws.com/allowed-roles".into(),
        ..AnnotationKeys::default()
    }
}

#[cfg(test)]
mod tests {
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
                "labels": {"app": "web"},
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
                created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
                host_network: false,
                terminal: false,
                annotations: PodAnnotations {
                    role: Some("reader".into()),
                    external_id: Some("id-1".into()),
                    imdsv2: Some("required".into()),
                    ..PodAnnotations::default()
                },
            }
        );
    }

    #[test]
    fn environment_labels_and_managed_fields_are_not_even_read() {
        let object: Pod = serde_json::from_value(full_pod()).unwrap();
        assert_eq!(object.metadata.managed_fields, None);
        assert_eq!(object.metadata.labels, None);
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
}
