//! The lean Kubernetes objects that are read from the API server and from manifests.
//!
//! Only the fields below are ever deserialised: containers, their environment and managedFields are skipped by the
//! parser and never in memory as values; of labels only those are kept that become session tags. [`kube`] wants an [`ObjectMeta`], so one is filled with what we read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::core::{ClusterResourceScope, NamespaceResourceScope, ObjectMeta};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::workload::{
    AnnotationKeys, EKS_ROLE_ANNOTATION, IMDSV2_ANNOTATION, Namespace as LeanNamespace, Owner,
    PodAnnotations, PodUid, SESSION_POLICY_ANNOTATION, SESSION_POLICY_ARNS_ANNOTATION,
    ServiceAccount as LeanServiceAccount, Workload,
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
            labels,
            owner_references,
            ..
        } = self.metadata;
        let labels = labels.unwrap_or_default();
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
            sandbox_addresses: Vec::new(),
            created_at: creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            host_network: spec.host_network.unwrap_or(false),
            terminal: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            annotations: PodAnnotations {
                role: annotation(&keys.role),
                external_id: annotation(&keys.external_id),
                session_name: keys.session_name.as_deref().and_then(&mut annotation),
                imdsv2: annotation(IMDSV2_ANNOTATION),
                session_policy: annotation(SESSION_POLICY_ANNOTATION),
                session_policy_arns: annotation(SESSION_POLICY_ARNS_ANNOTATION),
            },
            owner: owner(owner_references.unwrap_or_default(), &labels),
            labels: keys
                .labels
                .iter()
                .filter_map(|key| Some((key.as_str().into(), labels.get(key)?.as_str().into())))
                .collect(),
        })
    }
}

/// The controller among the owners. A `ReplicaSet` whose name ends in the pods' template hash is a Deployment's, named
/// after it.
fn owner(owners: Vec<OwnerReference>, labels: &BTreeMap<String, String>) -> Option<Box<Owner>> {
    let controller = owners
        .into_iter()
        .find(|owner| owner.controller == Some(true))?;
    let deployment = labels.get("pod-template-hash").and_then(|hash| {
        let name = controller
            .name
            .strip_suffix(hash.as_str())?
            .strip_suffix('-')?;
        (controller.kind == "ReplicaSet" && !name.is_empty()).then(|| Owner {
            kind: "Deployment".into(),
            name: name.into(),
        })
    });
    Some(Box::new(deployment.unwrap_or(Owner {
        kind: controller.kind.into(),
        name: controller.name.into(),
    })))
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
        labels: Option<BTreeMap<String, String>>,
        owner_references: Option<Vec<OwnerReference>>,
    }
    let lean = Option::<Lean>::deserialize(deserializer)?.unwrap_or_default();
    Ok(ObjectMeta {
        name: lean.name,
        namespace: lean.namespace,
        uid: lean.uid,
        resource_version: lean.resource_version,
        creation_timestamp: lean.creation_timestamp.map(Time),
        annotations: lean.annotations,
        labels: lean.labels,
        owner_references: lean.owner_references,
        ..ObjectMeta::default()
    })
}

/// What `kube` has to know of an object of the core API: its kind, its resource, its scope, and whether the API server is
/// asked for metadata alone.
macro_rules! core_resource {
    ($object:ident, $plural:literal, $scope:ty, metadata_alone: $metadata_alone:literal) => {
        impl kube::Resource for $object {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($object).into()
            }

            fn group((): &()) -> Cow<'_, str> {
                "".into()
            }

            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn metadata_api() -> bool {
                $metadata_alone
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

core_resource!(Pod, "pods", NamespaceResourceScope, metadata_alone: false);
core_resource!(Namespace, "namespaces", ClusterResourceScope, metadata_alone: true);
core_resource!(ServiceAccount, "serviceaccounts", NamespaceResourceScope, metadata_alone: true);

#[cfg(test)]
pub(super) fn test_keys() -> AnnotationKeys {
    AnnotationKeys {
        role: "iam.amazonaws.com/role".into(),
        external_id: "iam.amazonaws.com/external-id".into(),
        allowed_roles: "iam.amazonaws.com/allowed-roles".into(),
        labels: vec!["app".into()],
        ..AnnotationKeys::default()
    }
}

#[cfg(test)]
mod tests;
