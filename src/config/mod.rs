//! The validated configuration of the agent. The command line is read by `cli` (kube2iam's flags, pflag's habits),
//! judged as a whole by `validate`, and from there on only these types are used: what is here is consistent.

mod check;
mod cli;
mod container;
mod findings;
mod flags;
mod intercept;
mod pflag;
mod validate;
mod values;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use podiam_iam::BaseArn;
use podiam_intercept::{Interfaces, Mode, ReversePath};

pub use check::{Problem, Problems};
pub use cli::{AgentArgs, Written, one_line};
pub use container::Container;
pub use findings::Finding;
pub use intercept::{Install, InstallFlags, ModeFlags, PrintFlags};

use crate::workload::{AnnotationKeys, RoleSource};

/// What the agent was started as. It decides some defaults, and whether what kube2iam let pass is let pass here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `podiam agent`.
    Podiam,
    /// `kube2iam`, by argv\[0\]: its manifests must go on working.
    Kube2iam,
}

/// Everything the agent needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which node this is.
    pub node: Node,
    /// Where the agent listens.
    pub listen: Listen,
    /// Where pods come from.
    pub pods: PodSource,
    /// `--cri-socket`: the container runtime, which adds addresses. Only with pods from the Kubernetes API.
    pub cri_socket: Option<PathBuf>,
    /// The annotations that are read.
    pub annotations: AnnotationKeys,
    /// Which role a pod may have.
    pub roles: Roles,
    /// How sessions are made.
    pub sessions: Sessions,
    /// The real metadata service, and what of it pods may see.
    pub metadata: Metadata,
    /// How the pods' requests reach us.
    pub interception: Interception,
    /// How much of the agent one pod may use.
    pub limits: Limits,
    /// By what a connection is known to be its pod's.
    pub identity: Identification,
    /// What the agent proves, and what it does once it is ready.
    pub startup: Startup,
    /// Logs.
    pub logs: Logs,
    /// Where the token key is kept (mode 0600), so that tokens outlive a restart. `None`: a key for this run only.
    pub state_dir: Option<PathBuf>,
    /// Things that are legal but that an operator should know; logged once at the start.
    pub notices: Vec<String>,
}

/// The node the agent runs on.
#[derive(Clone, Debug)]
pub struct Node {
    /// `--node`: only this node's pods are watched. `None`: every pod of the cluster, as kube2iam does without it.
    pub name: Option<String>,
    /// `--host-ip`: the node's own address, target of the DNAT and part of /healthz.
    pub host_ip: Option<IpAddr>,
    /// `--host-ip6`: the node's own IPv6 address, target of the DNAT of `fd00:ec2::254`. `None` where that is refused.
    pub host_ip6: Option<Ipv6Addr>,
}

impl Node {
    /// Whether `address` is the node's own, as far as it is configured.
    pub fn owns(&self, address: IpAddr) -> bool {
        Some(address) == self.host_ip || Some(address) == self.host_ip6.map(IpAddr::V6)
    }
}

/// Sockets.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The pods' socket: host-ip (or every address) and `--app-port`; port 0 only without interception.
    pub pods: SocketAddr,
    /// The pods' socket for IPv6: host-ip6 and the same port. `None` without `--host-ip6`.
    pub pods_v6: Option<SocketAddrV6>,
    /// The admin socket: /healthz, /readyz, /metrics, /status, /debug. Never the pods' port, except that both may be 0.
    pub admin: SocketAddr,
    /// The same port of 127.0.0.1, where `podiam status` and `kubectl port-forward` ask. `None` where `admin` is on loopback
    /// or every address anyway, and for port 0.
    pub admin_loopback: Option<SocketAddr>,
    /// `--debug`: serve /debug/store on the admin socket.
    pub debug_store: bool,
    /// `--data-workers`: threads that serve pods, 1..=64.
    pub data_workers: usize,
}

/// Where pods come from.
#[derive(Clone, Debug)]
pub enum PodSource {
    /// The Kubernetes API.
    Kubernetes(ApiAccess),
    /// A file or a folder of manifests: no cluster needed.
    Files(PathBuf),
}

/// How to reach the API server.
#[derive(Clone, Debug)]
pub struct ApiAccess {
    /// Address and credentials.
    pub endpoint: ApiEndpoint,
    /// `--insecure`: do not verify the API server's certificate.
    pub insecure: bool,
    /// `--cache-resync-period`: a full re-list at least this often. Zero: never.
    pub resync: Duration,
}

/// Address and credentials of the API server.
#[derive(Clone)]
pub enum ApiEndpoint {
    /// The pod's own service account.
    InCluster,
    /// What `kubectl` would use: `$KUBECONFIG`, `~/.kube/config`, else the pod's own service account. Never the agent's.
    Inferred,
    /// `--kubeconfig`.
    Kubeconfig(PathBuf),
    /// `--api-server` and `--api-token`.
    Explicit {
        /// The server's URL.
        server: String,
        /// The bearer token.
        token: crate::secret::Secret,
    },
}

impl std::fmt::Debug for ApiEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InCluster => f.write_str("InCluster"),
            Self::Inferred => f.write_str("Inferred"),
            Self::Kubeconfig(path) => f.debug_tuple("Kubeconfig").field(path).finish(),
            Self::Explicit { server, .. } => f
                .debug_struct("Explicit")
                .field("server", server)
                .finish_non_exhaustive(),
        }
    }
}

/// What decides a pod's role.
#[derive(Clone, Debug)]
pub struct Roles {
    /// `--base-role-arn` or `--auto-discover-base-arn`.
    pub base: Discoverable<BaseArn>,
    /// `--default-role` (as written: a name, path and name, or ARN) or `--auto-discover-default-role`.
    pub default_role: Discoverable<String>,
    /// `--role-sources`: who may name a role.
    pub sources: Vec<RoleSource>,
    /// `--namespace-restrictions`: `None` when off.
    pub namespace_restrictions: Option<RestrictionFormat>,
    /// Whether these restrictions refuse, or only tell. Meaningless when off.
    pub enforcement: Enforcement,
    /// `--namespace-permitted`: `None` when off.
    pub permitted: Option<Enforcement>,
    /// `--ceiling`: the file that no annotation can exceed.
    pub ceiling: Option<PathBuf>,
}

/// What becomes of a guard's refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// The pod is refused.
    #[default]
    Enforce,
    /// The pod is answered as if the guard were off; log and metric tell that it would have been refused.
    Audit,
}

/// A value that is given, asked of the real IMDS at the start, or absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discoverable<T> {
    /// Not set.
    Absent,
    /// Given on the command line.
    Given(T),
    /// To be discovered from the instance profile at the start.
    Discover,
}

/// `--namespace-restriction-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestrictionFormat {
    /// `*` only, matches across `/`, both ends anchored.
    Glob,
    /// A regular expression, anchored at both ends (kube2iam's was not: a hole).
    Regexp,
}

/// How sessions are made.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// `--session`: what a session is named after, and so who shares one.
    pub naming: SessionNaming,
    /// What it says of its pod beside that.
    pub attribution: Attribution,
    /// `--iam-session-duration`: `DurationSeconds` of `AssumeRole`, 900 s..=43200 s; role chaining caps it at 3600 s.
    pub duration: Duration,
    /// Age at which a session is refreshed: `--iam-role-session-ttl`, or half of the duration.
    pub refresh_age: Duration,
    /// `--iam-role-error-ttl`: how long a final STS error is remembered. Zero: left to `credentials`, which
    /// spreads it.
    pub error_ttl: Duration,
    /// `--aws-region`: region of the STS endpoint; `None`: environment, profile or IMDS decide.
    pub region: Option<String>,
    /// `--sts-rate`: calls to STS per second, 0.01..=1000. Zero: no limit.
    pub sts_rate: f64,
    /// `--sts-concurrency`: calls to STS under way at once, 1..=1000. Zero: no limit.
    pub sts_concurrency: usize,
}

/// What a session is named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionNaming {
    /// Namespace, pod and a short hash of the UID: every pod its own session.
    Pod,
    /// Namespace and controller (Deployment, `StatefulSet` and so on): its pods on a node share a session.
    Workload,
    /// kube2iam's name, made of the node's address: one session per role and node.
    Role,
}

/// What sessions say of their pods beside their name. Nothing by default: each needs more of a role's trust policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// `--session-tags`.
    pub tags: Vec<TagSource>,
    /// `--session-tag-labels`: keys of pods' labels that become tags; none that reads like one of [`TagSource::key`].
    pub labels: Vec<String>,
    /// `--session-tags-transitive`: the tags follow into roles that the session assumes.
    pub transitive: bool,
    /// `--source-identity`.
    pub source_identity: Option<SourceIdentity>,
    /// `--cluster-name`; there where `tags` has [`TagSource::Cluster`].
    pub cluster: Option<String>,
    /// `--node`; there where `tags` has [`TagSource::Node`].
    pub node: Option<String>,
}

/// What a session tag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagSource {
    /// `--cluster-name`.
    Cluster,
    /// The pod's namespace.
    Namespace,
    /// The pod's service account.
    ServiceAccount,
    /// The pod's name.
    Pod,
    /// The pod's UID.
    Uid,
    /// `--node`.
    Node,
}

impl TagSource {
    /// The tag's key: EKS Pod Identity's where it has one, and always with the prefix that no label's tag may have.
    pub fn key(self) -> &'static str {
        match self {
            Self::Cluster => "kubernetes-cluster",
            Self::Namespace => "kubernetes-namespace",
            Self::ServiceAccount => "kubernetes-service-account",
            Self::Pod => "kubernetes-pod-name",
            Self::Uid => "kubernetes-pod-uid",
            Self::Node => "kubernetes-node",
        }
    }
}

/// `--source-identity`: what `SourceIdentity` is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceIdentity {
    /// The pod, as [`SessionNaming::Pod`] names it.
    Pod,
    /// Namespace and service account.
    ServiceAccount,
}

/// The real metadata service.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// `--metadata-addr`: host, or host:port, of the real IMDS.
    pub address: String,
    /// The address that pods ask: the DNAT's match. Always 169.254.169.254, wherever the upstream is.
    pub intercepted: Ipv4Addr,
    /// `--metadata`: how much of it pods may see.
    pub profile: MetadataProfile,
    /// `--metadata-allow`: further paths, without version and without slashes around them (`meta-data/ami-id`,
    /// `dynamic/...`); never one that holds credentials, user-data, public keys or signatures.
    pub allow: Vec<String>,
    /// `--allow-user-data`: user-data often holds bootstrap secrets.
    pub allow_user_data: bool,
    /// `--imdsv2`: whether requests without a token are answered.
    pub imdsv2: Imdsv2,
}

/// How much of the real metadata service pods may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataProfile {
    /// Nothing.
    None,
    /// What SDKs need: region, availability zone, instance ID and type, the identity document.
    Minimal,
    /// What SDKs and common tools read.
    Safe,
}

/// Whether requests without a token are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imdsv2 {
    /// v1 and v2.
    Optional,
    /// v2 only.
    Required,
}

/// How the pods' requests reach us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interception {
    /// `--intercept`. Where it writes rules there is a host-ip, and the pods' port is not 0.
    pub mode: Mode,
    /// `--host-interface`: the interfaces that pods come in on.
    pub interfaces: Interfaces,
    /// `--reverse-path`: whether borrowed source addresses are refused.
    pub reverse_path: ReversePath,
}

/// How much of the agent one pod may use: each of a pod's addresses counts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `--max-connections`: of all pods together, 16 or more.
    pub connections: usize,
    /// `--max-connections-per-pod`, 1 or more. It shrinks as fewer are left: see `imds::limits`.
    pub connections_per_pod: usize,
    /// `--max-requests-per-pod`: a second; a new connection counts as one. `None`: no limit.
    pub requests_per_pod: Option<NonZeroU32>,
    /// `--max-in-flight-per-pod`, 1 or more.
    pub in_flight_per_pod: usize,
}

/// By what a connection is known to be its pod's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identification {
    /// `--identity`.
    pub mode: IdentityMode,
    /// `--allow-shared-bridge`: where pods share a link and nothing tells them apart, the source address is enough.
    pub allow_shared_bridge: bool,
}

/// `--identity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityMode {
    /// The source address alone, as kube2iam does.
    Ip,
    /// The link that a connection came in on.
    Interface,
    /// The sockets of the pod's own network namespace.
    Netns,
    /// The link where it is the pod's own, else the namespace.
    Auto,
}

impl IdentityMode {
    /// All of them, as the help lists them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Interface, Self::Netns, Self::Ip];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Interface => "interface",
            Self::Netns => "netns",
            Self::Ip => "ip",
        }
    }
}

/// What the agent proves, and what it does once it is ready.
#[derive(Clone, Debug)]
pub struct Startup {
    /// `--self-test-interval`: 1 s or more; `None`: no self-test.
    pub self_test_interval: Option<Duration>,
    /// `--startup-taint`: what to remove, once.
    pub taint: Option<StartupTaint>,
}

/// A taint of this node that keeps pods away until the agent is ready.
#[derive(Clone, Debug)]
pub struct StartupTaint {
    /// Its key; its value and effect do not matter.
    pub key: String,
    /// `--node`.
    pub node: String,
    /// The cluster that the node is one of.
    pub access: ApiAccess,
}

/// Logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logs {
    /// `--log-format`.
    pub format: LogFormat,
    /// `--log-level` and `--verbose`.
    pub level: tracing::Level,
    /// `--access-log`.
    pub access: AccessLog,
    /// `--events`: Events on refused pods, where they are of a cluster.
    pub events: bool,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `--access-log`: which requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Every request, as kube2iam does.
    All,
    /// Those that were refused or failed.
    Refused,
    /// None.
    None,
}
