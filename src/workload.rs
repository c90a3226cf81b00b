//! The lean picture of what we watch: one pod, one namespace. Made by `watch` out of Kubernetes objects or manifests,
//! kept by `index`, judged by `authorize`. Nothing else of the objects (containers, environment, managedFields) is kept.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

/// A pod's UID: the one identity that is never reused. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUid(Arc<str>);

impl PodUid {
    /// Takes the UID as the API server wrote it.
    pub fn new(uid: &str) -> Self {
        Self(uid.into())
    }

    /// The UID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What we know of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// `metadata.uid`.
    pub uid: PodUid,
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `spec.serviceAccountName`.
    pub service_account: Option<Arc<str>>,
    /// Every address of `status.podIPs` (or `status.podIP`), IPv4 and IPv6.
    pub addresses: Vec<IpAddr>,
    /// `metadata.creationTimestamp`.
    pub created_at: Timestamp,
    /// `spec.hostNetwork`: such a pod has the node's address and never owns it.
    pub host_network: bool,
    /// `status.phase` is Succeeded or Failed: its address may belong to another pod already.
    pub terminal: bool,
    /// The annotations that podiam reads.
    pub annotations: PodAnnotations,
}

impl Workload {
    /// Whether it may use what it is granted: a terminal one has ended, and a hostNetwork one cannot be told from the node.
    pub fn is_live(&self) -> bool {
        !self.terminal && !self.host_network
    }

    /// The addresses that it owns, sorted, IPv4-mapped ones as IPv4: none unless it is live. The kubelet gives a terminal
    /// pod's address back while its status still shows it, and a hostNetwork pod shows the node's.
    pub fn owned_addresses(&self) -> Vec<IpAddr> {
        if !self.is_live() {
            return Vec::new();
        }
        let mut addresses: Vec<IpAddr> = self.addresses.iter().map(IpAddr::to_canonical).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

/// A pod's annotations, as written; `None` where the key is absent, which is not the same as empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodAnnotations {
    /// `--iam-role-key`: the role's name, path and name, or ARN. Empty: the pod wants no role.
    pub role: Option<Box<str>>,
    /// `--iam-external-id`: the external ID for `AssumeRole`.
    pub external_id: Option<Box<str>>,
    /// `podiam.io/imdsv2`: `required` makes the agent refuse requests of this pod without an IMDSv2 token.
    pub imdsv2: Option<Box<str>>,
}

/// What we know of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `--namespace-key`: a JSON array of role patterns, as written.
    pub allowed_roles: Option<Box<str>>,
}

/// The annotation keys to keep; every other annotation is dropped when an object arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationKeys {
    /// `--iam-role-key`.
    pub role: String,
    /// `--iam-external-id`.
    pub external_id: String,
    /// `--namespace-key`.
    pub allowed_roles: String,
}

/// The key by which a pod asks that only IMDSv2 be answered: `podiam.io/imdsv2: required`.
pub const IMDSV2_ANNOTATION: &str = "podiam.io/imdsv2";
