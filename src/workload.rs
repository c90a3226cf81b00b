//! The lean picture of what we watch: one pod, one namespace, one service account. Made by `watch` out of Kubernetes objects or manifests,
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
    /// What the container runtime of the node says that the pod's sandbox has, whether or not the object shows it yet. Only
    /// `index` fills it in.
    pub sandbox_addresses: Vec<IpAddr>,
    /// `metadata.creationTimestamp`.
    pub created_at: Timestamp,
    /// `spec.hostNetwork`: such a pod has the node's address and never owns it.
    pub host_network: bool,
    /// `status.phase` is Succeeded or Failed: its address may belong to another pod already.
    pub terminal: bool,
    /// The annotations that podiam reads.
    pub annotations: PodAnnotations,
    /// The labels that become session tags, as far as the pod has them.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// What made the pod. `None`: nobody but its author did.
    pub owner: Option<Box<Owner>>,
}

/// The controller of a pod; of a Deployment's pods the Deployment, not its `ReplicaSet` of the day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job` and so on.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

impl Workload {
    /// A pod that runs, of which nothing else is known.
    pub fn new(uid: PodUid, namespace: &str, name: &str) -> Self {
        Self {
            uid,
            namespace: namespace.into(),
            name: name.into(),
            service_account: None,
            addresses: Vec::new(),
            sandbox_addresses: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
            host_network: false,
            terminal: false,
            annotations: PodAnnotations::default(),
            labels: Box::default(),
            owner: None,
        }
    }

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
        let all = self.addresses.iter().chain(&self.sandbox_addresses);
        let mut addresses: Vec<IpAddr> = all.map(IpAddr::to_canonical).collect();
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
    /// `--session-name-key`: what the pod wants its session to be called; read only where the key is given.
    pub session_name: Option<Box<str>>,
    /// `podiam.io/imdsv2`: `required` makes the agent refuse requests of this pod without an IMDSv2 token.
    pub imdsv2: Option<Box<str>>,
    /// `podiam.io/session-policy`: an IAM policy document that narrows the session.
    pub session_policy: Option<Box<str>>,
    /// `podiam.io/session-policy-arns`: managed policies that narrow it.
    pub session_policy_arns: Option<Box<str>>,
}

/// What we know of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `--namespace-key`: a JSON array of role patterns, as written.
    pub allowed_roles: Option<Box<str>>,
    /// `--namespace-permitted-key`: kiam's regular expression, as written.
    pub permitted: Option<Box<str>>,
    /// `--namespace-role-key`: the role of its pods that name none.
    pub role: Option<Box<str>>,
}

/// What we know of one service account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAccount {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `--service-account-role-key`: the role of its pods that name none.
    pub role: Option<Box<str>>,
    /// [`EKS_ROLE_ANNOTATION`], as IAM roles for service accounts use it.
    pub eks_role: Option<Box<str>>,
}

/// What is known around a pod and may speak for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings<'a> {
    /// The pod's namespace; `None` while it is not known.
    pub namespace: Option<&'a Namespace>,
    /// The pod's service account; `None` while it is not known, and where none is watched.
    pub service_account: Option<&'a ServiceAccount>,
}

/// Where a pod's role may be named, in the order in which they are asked: the first that names one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RoleSource {
    /// The pod's annotation, `--iam-role-key`.
    Pod,
    /// The annotation of its service account, `--service-account-role-key`.
    ServiceAccount,
    /// The same account's [`EKS_ROLE_ANNOTATION`].
    Eks,
    /// The annotation of its namespace, `--namespace-role-key`.
    Namespace,
    /// `--default-role`.
    Default,
}

impl RoleSource {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [
        Self::Pod,
        Self::ServiceAccount,
        Self::Eks,
        Self::Namespace,
        Self::Default,
    ];

    /// Its name on the command line, in the log and in /debug/store. Stable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::ServiceAccount => "service-account",
            Self::Eks => "eks",
            Self::Namespace => "namespace",
            Self::Default => "default",
        }
    }

    /// Whether service accounts have to be watched for it.
    pub fn needs_service_accounts(self) -> bool {
        matches!(self, Self::ServiceAccount | Self::Eks)
    }
}

impl fmt::Display for RoleSource {
    /// Whose annotation it is, as a reason tells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "the pod's",
            Self::ServiceAccount | Self::Eks => "the service account's",
            Self::Namespace => "the namespace's",
            Self::Default => "the operator's",
        })
    }
}

/// The annotation keys to keep; every other annotation is dropped when an object arrives. An optional key that is
/// `None` is not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnotationKeys {
    /// `--iam-role-key`.
    pub role: String,
    /// `--iam-external-id`.
    pub external_id: String,
    /// `--namespace-key`.
    pub allowed_roles: String,
    /// `--session-tag-labels`: keys of labels, the only ones that are kept.
    pub labels: Vec<String>,
    /// `--session-name-key`.
    pub session_name: Option<String>,
    /// `--service-account-role-key`, where that source is on.
    pub service_account_role: Option<String>,
    /// Whether [`EKS_ROLE_ANNOTATION`] is read.
    pub eks_role: bool,
    /// `--namespace-role-key`, where that source is on.
    pub namespace_role: Option<String>,
    /// `--namespace-permitted-key`, where that guard is on.
    pub permitted: Option<String>,
}

impl AnnotationKeys {
    /// Whether service accounts have to be watched at all: no right to read them is needed where not.
    pub fn reads_service_accounts(&self) -> bool {
        self.service_account_role.is_some() || self.eks_role
    }
}

/// The key by which a pod asks that only IMDSv2 be answered: `podiam.io/imdsv2: required`.
pub const IMDSV2_ANNOTATION: &str = "podiam.io/imdsv2";

/// The key by which IAM roles for service accounts (IRSA) name a service account's role, always as an ARN.
pub const EKS_ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";
/// The key by which a pod narrows its session with a policy document.
pub const SESSION_POLICY_ANNOTATION: &str = "podiam.io/session-policy";

/// The key by which a pod narrows its session with managed policies: their ARNs, separated by commas or white space.
pub const SESSION_POLICY_ARNS_ANNOTATION: &str = "podiam.io/session-policy-arns";
