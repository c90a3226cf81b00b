//! The agent's flags as they were written, by topic: kube2iam's and podiam's own. Only names, help and defaults live
//! here; nothing is judged. [`super::validate`] takes each struct apart field by field, so that a new flag cannot be
//! forgotten. Its environment variable follows from its name, see [`super::cli`].
//!
//! Values stay text, because clap stops at the first bad one and an operator wants to see all of them.
#![allow(
    clippy::doc_markdown,
    reason = "these doc comments are the help that a terminal shows"
)]

use std::convert::Infallible;

use clap::Args;

use crate::secret::Secret;

/// Heading of the flags that kube2iam has too.
const KUBE2IAM: &str = "kube2iam's flags";
/// Heading of the flags that only podiam has.
const PODIAM: &str = "podiam's own flags";
/// The name of a switch's value in the help: what marks a flag as pflag's boolean.
pub(super) const SWITCH: &str = "BOOL";
/// The name of a port's value in the help.
pub(super) const PORT: &str = "PORT";

/// Every flag of the agent, by topic.
#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    pub(super) pods: PodFlags,
    #[command(flatten)]
    pub(super) node: NodeFlags,
    #[command(flatten)]
    pub(super) listen: ListenFlags,
    #[command(flatten)]
    pub(super) roles: RoleFlags,
    #[command(flatten)]
    pub(super) annotations: AnnotationFlags,
    #[command(flatten)]
    pub(super) sessions: SessionFlags,
    #[command(flatten)]
    pub(super) interception: InterceptionFlags,
    #[command(flatten)]
    pub(super) limits: LimitFlags,
    #[command(flatten)]
    pub(super) identity: IdentityFlags,
    #[command(flatten)]
    pub(super) startup: StartupFlags,
    #[command(flatten)]
    pub(super) metadata: MetadataFlags,
    #[command(flatten)]
    pub(super) logs: LogFlags,

    /// Print the version and exit
    #[arg(long, value_name = SWITCH, default_value = "false", help_heading = KUBE2IAM)]
    pub(super) version: String,

    /// Words that belong to no flag: pflag skips them, and `--debug false` leaves one.
    #[arg(hide = true)]
    pub(super) stray: Vec<String>,
}

/// Where pods come from.
#[derive(Args)]
#[command(next_help_heading = KUBE2IAM)]
pub(super) struct PodFlags {
    /// Kubeconfig for the API server; wins over --api-server [default: the pod's service account]
    #[arg(long, value_name = "PATH")]
    pub(super) kubeconfig: Option<String>,

    /// URL of the API server; needs --api-token
    #[arg(long, value_name = "URL")]
    pub(super) api_server: Option<String>,

    /// Bearer token for --api-server
    #[arg(long, value_name = "TOKEN", value_parser = |text: &str| Ok::<_, Infallible>(Secret::new(text)))]
    pub(super) api_token: Option<Secret>,

    /// Do not verify the API server's certificate
    #[arg(long, value_name = SWITCH, default_value = "false")]
    pub(super) insecure: String,

    /// List everything anew at least this often, beside watching; 0: never
    #[arg(long, value_name = "DURATION", default_value = "30m")]
    pub(super) cache_resync_period: String,

    /// Accepted and without effect: two live pods on one address are both refused
    #[arg(long, value_name = SWITCH, default_value = "false")]
    pub(super) resolve_duplicate_cache_ips: String,

    /// Accepted and without effect: an unknown pod waits for the watch event, at most 400ms
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub(super) backoff_max_interval: String,

    /// Accepted and without effect: an unknown pod waits for the watch event, at most 400ms
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub(super) backoff_max_elapsed_time: String,

    /// Take pods and namespaces from this manifest, or folder of manifests, and from no cluster
    #[arg(long, value_name = "PATH", help_heading = PODIAM)]
    pub(super) workloads: Option<String>,

    /// Socket of the node's container runtime, such as /run/containerd/containerd.sock: it tells pods' addresses before the
    /// Kubernetes API does
    #[arg(long, env = "PODIAM_CRI_SOCKET", value_name = "PATH", help_heading = PODIAM)]
    pub(super) cri_socket: Option<String>,
}

/// Which node this is.
#[derive(Args)]
#[command(next_help_heading = KUBE2IAM)]
pub(super) struct NodeFlags {
    /// Name of this node: only its pods are watched [default: every pod of the cluster]
    #[arg(long, value_name = "NAME")]
    pub(super) node: Option<String>,

    /// This node's address, as status.hostIP: where pods' requests are sent to, and part of /healthz. If it is one of IPv6,
    /// pods are answered at fd00:ec2::254 and refused at 169.254.169.254
    #[arg(long, value_name = "IP")]
    pub(super) host_ip: Option<String>,

    /// This node's IPv6 address beside an IPv4 --host-ip: where pods' requests to fd00:ec2::254 are sent to
    /// [default: they are refused]
    #[arg(long, env = "PODIAM_HOST_IP6", value_name = "IP", help_heading = PODIAM)]
    pub(super) host_ip6: Option<String>,
}

/// Sockets, and the threads behind them.
#[derive(Args)]
#[command(next_help_heading = KUBE2IAM)]
pub(super) struct ListenFlags {
    /// Port that pods are answered on, at --host-ip or at every address; 0: any free one, without --intercept
    #[arg(long, value_name = PORT, default_value = "8181")]
    pub(super) app_port: String,

    /// Port of /metrics, /healthz and /readyz, at --host-ip or at every address; the same as --app-port means the default
    /// [default: 9181, at --host-ip and at 127.0.0.1]
    #[arg(long, value_name = PORT)]
    pub(super) metrics_port: Option<String>,

    /// Serve /debug/store, on the port of /metrics and never on the pods'
    #[arg(long, value_name = SWITCH, default_value = "false")]
    pub(super) debug: String,

    /// Threads that answer pods, 1 to 64
    #[arg(long, value_name = "NUMBER", default_value = "2", help_heading = PODIAM)]
    pub(super) data_workers: String,
}

/// Which role a pod may have.
#[derive(Args)]
#[command(next_help_heading = KUBE2IAM)]
pub(super) struct RoleFlags {
    /// What completes a role's name to an ARN, such as arn:aws:iam::123456789012:role/
    #[arg(long, value_name = "ARN")]
    pub(super) base_role_arn: Option<String>,

    /// Take the base ARN from this instance's profile
    #[arg(long, value_name = SWITCH, default_value = "false")]
    pub(super) auto_discover_base_arn: String,

    /// Take the base ARN and the default role from this instance's profile
    #[arg(long, value_name = SWITCH, default_value = "false")]
    pub(super) auto_discover_default_role: String,

    /// Role of the pods that have no role annotation: a name, a path and name, or an ARN; pods of every namespace may have
    /// it, also with --namespace-restrictions
    #[arg(long, value_name = "ROLE")]
    pub(super) default_role: Option<String>,

    /// Let a pod have only the roles that its namespace's annotation lists, and the default role: true or enforce; audit
    /// refuses nobody and tells whom enforce would refuse
    #[arg(long, value_name = SWITCH, default_value = "false")]
    pub(super) namespace_restrictions: String,

    /// How the namespace's list is read: glob, or regexp (anchored at both ends)
    #[arg(long, value_name = "FORMAT", default_value = "glob")]
    pub(super) namespace_restriction_format: String,

    /// Who may name a pod's role: a comma list, in this order, of pod, service-account, eks (the service account's
    /// annotation eks.amazonaws.com/role-arn), namespace and default (--default-role); the first that speaks wins
    #[arg(long, value_name = "LIST", default_value = "pod,default", help_heading = PODIAM)]
    pub(super) role_sources: String,

    /// Let a pod have only the roles that kiam's regular expression in its namespace's annotation matches from the first
    /// character to the last: off, audit or enforce
    #[arg(long, value_name = "MODE", default_value = "off", help_heading = PODIAM)]
    pub(super) namespace_permitted: String,

    /// File of what no annotation can exceed: allowed and denied roles, for the cluster and by namespace, and external
    /// IDs; read again when it changes
    #[arg(long, value_name = "PATH", help_heading = PODIAM)]
    pub(super) ceiling: Option<String>,
}

/// The annotations that are read.
#[derive(Args)]
#[command(next_help_heading = KUBE2IAM)]
pub(super) struct AnnotationFlags {
    /// Key of the pod annotation that names the role
    #[arg(long, value_name = "KEY", default_value = "iam.amazonaws.com/role")]
    pub(super) iam_role_key: String,

    /// Key of the pod annotation that holds the external ID
    #[arg(
        long,
        value_name = "KEY",
        default_value = "iam.amazonaws.com/external-id"
    )]
    pub(super) iam_external_id: String,

    /// Key of the namespace annotation that lists roles
    #[arg(
        long,
        value_name = "KEY",
        default_value = "iam.amazonaws.com/allowed-roles"
    )]
    pub(super) namespace_key: String,

    /// Key of the service account's annotation that names a role, for --role-sources=service-account
    #[arg(long, value_name = "KEY", default_value = "podiam.io/role", help_heading = PODIAM)]
    pub(super) service_account_role_key: String,

    /// Key of the namespace's annotation that names a role, for --role-sources=namespace
    #[arg(long, value_name = "KEY", default_value = "podiam.io/default-role", help_heading = PODIAM)]
    pub(super) namespace_role_key: String,

    /// Key of the namespace's annotation for --namespace-permitted
    #[arg(long, value_name = "KEY", default_value = "iam.amazonaws.com/permitted", help_heading = PODIAM)]
    pub(super) namespace_permitted_key: String,

    /// Key of the pod annotation that names its session, such as kiam's iam.amazonaws.com/session-name; CloudTrail then
    /// shows what the pod's author wrote [default: not read]
    #[arg(long, value_name = "KEY", help_heading = PODIAM)]
    pub(super) session_name_key: Option<String>,
}

/// How sessions are made.
#[derive(Args)]
#[command(next_help_heading = KUBE2IAM)]
pub(super) struct SessionFlags {
    /// Age at which a session is refreshed: 1s or more, and less than --iam-session-duration [default: half of
    /// --iam-session-duration]
    #[arg(long, value_name = "DURATION")]
    pub(super) iam_role_session_ttl: Option<String>,

    /// How long a role that STS refuses is not asked for again; 0: 5s to 30s
    #[arg(long, value_name = "DURATION", default_value = "0")]
    pub(super) iam_role_error_ttl: String,

    /// Accepted and without effect: STS is always asked at its regional endpoint
    #[arg(long, value_name = SWITCH, default_value = "false")]
    pub(super) use_regional_sts_endpoint: String,

    /// What a session is named after: pod (namespace, pod and UID), workload (namespace and Deployment or other controller,
    /// one session on each node), or role (one session per role and node) [default: pod; role when started as kube2iam]
    #[arg(long, value_name = "KIND", help_heading = PODIAM)]
    pub(super) session: Option<String>,

    /// Session tags: a comma list of cluster, namespace, service-account, pod, uid and node; trust policies must allow
    /// sts:TagSession [default: none]
    #[arg(
        long,
        value_name = "TAGS",
        value_delimiter = ',',
        help_heading = PODIAM
    )]
    pub(super) session_tags: Vec<String>,

    /// Keys of pod labels that become session tags too: a comma list [default: none]
    #[arg(
        long,
        value_name = "KEYS",
        value_delimiter = ',',
        help_heading = PODIAM
    )]
    pub(super) session_tag_labels: Vec<String>,

    /// Let session tags follow into the roles that a session assumes
    #[arg(long, value_name = SWITCH, default_value = "false", help_heading = PODIAM)]
    pub(super) session_tags_transitive: String,

    /// Source identity of sessions: none, pod or service-account; trust policies must allow sts:SetSourceIdentity
    #[arg(long, value_name = "KIND", default_value = "none", help_heading = PODIAM)]
    pub(super) source_identity: String,

    /// Name of this cluster, for --session-tags=cluster
    #[arg(long, value_name = "NAME", help_heading = PODIAM)]
    pub(super) cluster_name: Option<String>,

    /// Life of a session, 15m to 12h; AWS allows at most 1h where the node's own credentials are a role's
    #[arg(long, value_name = "DURATION", default_value = "1h", help_heading = PODIAM)]
    pub(super) iam_session_duration: String,

    /// Region of the STS endpoint [default: from AWS_REGION, the profile or the instance]
    #[arg(long, value_name = "REGION", help_heading = PODIAM)]
    pub(super) aws_region: Option<String>,

    /// Calls that this node makes to STS per second in the long run, 0.01 to 1000; as many may come at once. 0: no limit
    #[arg(long, value_name = "NUMBER", default_value = "20", help_heading = PODIAM)]
    pub(super) sts_rate: String,

    /// Calls to STS under way at once, 1 to 1000; each takes about 0.1 MiB while it lasts. 0: no limit [default: 8, and
    /// 128 with --sts-rate=0]
    #[arg(long, value_name = "NUMBER", help_heading = PODIAM)]
    pub(super) sts_concurrency: Option<String>,
}

/// How pods' requests reach the agent.
#[derive(Args)]
#[command(next_help_heading = KUBE2IAM)]
pub(super) struct InterceptionFlags {
    /// The same as --intercept=nftables
    #[arg(long, value_name = SWITCH, default_value = "false")]
    pub(super) iptables: String,

    /// Interfaces that pods come in on: a comma list such as eni+, cali+,veth0 or !eth0 [default: every interface]
    #[arg(long, value_name = "INTERFACES")]
    pub(super) host_interface: Option<String>,

    /// How pods' requests get here: nftables (podiam's own table), iptables (podiam's own chains, through the node's
    /// programs), cilium (a policy that you apply), or none (rules of your own); the first two need --host-ip
    /// [default: none]
    #[arg(long, value_name = "MODE", help_heading = PODIAM)]
    pub(super) intercept: Option<String>,

    /// Whether requests are refused whose source address belongs behind another interface: on, or off where pods' routes
    /// depend on the interface (vlan+ and lxc+ are never checked)
    #[arg(long, env = "PODIAM_REVERSE_PATH", value_name = "on|off", default_value = "on", help_heading = PODIAM)]
    pub(super) reverse_path: String,
}

/// How much of the agent one pod may use.
#[derive(Args)]
#[command(next_help_heading = PODIAM)]
#[allow(clippy::struct_field_names, reason = "they are the flags' names")]
pub(super) struct LimitFlags {
    /// Connections of all pods together, 16 to 1000000; fewer where the process may not have as many files
    #[arg(long, value_name = "NUMBER", default_value = "2048")]
    pub(super) max_connections: String,

    /// Connections of one pod, 1 to 1000000; beyond its first four, never more than it leaves to others
    #[arg(long, value_name = "NUMBER", default_value = "512")]
    pub(super) max_connections_per_pod: String,

    /// Requests and new connections of one pod a second, and as many at once after a quiet second; 0: no limit
    #[arg(long, value_name = "NUMBER", default_value = "2000")]
    pub(super) max_requests_per_pod: String,

    /// Requests of one pod that wait for their answers, 1 to 1000000
    #[arg(long, value_name = "NUMBER", default_value = "512")]
    pub(super) max_in_flight_per_pod: String,
}

/// By what a connection is known to be its pod's.
#[derive(Args)]
#[command(next_help_heading = PODIAM)]
pub(super) struct IdentityFlags {
    /// What proves that a connection is its pod's, beside its source address: interface (the link it came in on), netns
    /// (the sockets of the pod's network namespace), auto (the one or the other), or ip (nothing)
    #[arg(long, value_name = "PROOF", default_value = "auto")]
    pub(super) identity: String,

    /// Let the source address be enough where pods share a bridge and the agent may not look into their network namespaces:
    /// a pod with NET_RAW can then take its neighbour's role
    #[arg(long, value_name = SWITCH, default_value = "false")]
    pub(super) allow_shared_bridge: String,
}

/// What the agent proves, and what it does once it is ready.
#[derive(Args)]
#[command(next_help_heading = PODIAM)]
pub(super) struct StartupFlags {
    /// How often it is tested, from a pod's network namespace, that requests for 169.254.169.254 get here; 0: never
    #[arg(
        long,
        env = "PODIAM_SELF_TEST_INTERVAL",
        value_name = "DURATION",
        default_value = "1m"
    )]
    pub(super) self_test_interval: String,

    /// Key of a taint that is removed from --node once the agent is ready, and never put there
    #[arg(long, env = "PODIAM_STARTUP_TAINT", value_name = "KEY")]
    pub(super) startup_taint: Option<String>,
}

/// The real metadata service, and what of it pods may see.
#[derive(Args)]
#[command(next_help_heading = PODIAM)]
pub(super) struct MetadataFlags {
    /// Host, or host:port, of the real metadata service
    #[arg(long, value_name = "HOST", default_value = "169.254.169.254", help_heading = KUBE2IAM)]
    pub(super) metadata_addr: String,

    /// Requests without an IMDSv2 token: optional answers them, required refuses them
    #[arg(long, value_name = "MODE", default_value = "optional")]
    pub(super) imdsv2: String,

    /// Folder for the key of IMDSv2 tokens, so that they outlive a restart [default: a key for each run]
    #[arg(long, value_name = "PATH")]
    pub(super) state_dir: Option<String>,

    /// What pods may read of the real metadata service: none, minimal (what SDKs need) or safe (what SDKs and common tools
    /// need)
    #[arg(long, value_name = "PROFILE", default_value = "safe")]
    pub(super) metadata: String,

    /// A further document that pods may read, such as meta-data/placement/host-id; repeatable, or a comma list
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub(super) metadata_allow: Vec<String>,

    /// Let pods read user-data, which often holds bootstrap secrets
    #[arg(long, value_name = SWITCH, default_value = "false")]
    pub(super) allow_user_data: String,
}

/// Logs.
#[derive(Args)]
#[command(next_help_heading = KUBE2IAM)]
pub(super) struct LogFlags {
    /// text, or json (one object a line)
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(super) log_format: String,

    /// panic, fatal, error, warn, warning, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(super) log_level: String,

    /// Log at debug level, whatever --log-level says
    #[arg(long, value_name = SWITCH, default_value = "false")]
    pub(super) verbose: String,

    /// Which requests are logged: all, refused (and failed) or none
    #[arg(long, value_name = "WHICH", default_value = "refused", help_heading = PODIAM)]
    pub(super) access_log: String,

    /// Write an Event on a pod that is refused, with why and what to do; needs create and patch on events of the group
    /// events.k8s.io. Never with --workloads
    #[arg(long, env = "PODIAM_EVENTS", value_name = SWITCH, default_value = "true", help_heading = PODIAM)]
    pub(super) events: String,
}
