//! What an operator needs to know of each reason, in one table: code, status, meaning, likely cause, what to do. The
//! compiler sees to it that no reason is without; docs/reasons.md is made of it (`tests/reasons.rs`).

use super::Reason;

/// What there is to know of a reason. Nothing in it depends on the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// A short, stable name: metric label, log field, `podiam explain`.
    pub code: &'static str,
    /// The HTTP status that makes every AWS SDK do the right thing: 404 and 403 are final, 503 is asked again, and 401
    /// makes it fetch a new token.
    pub status: u16,
    /// Which question it answers.
    pub question: Question,
    /// What it says, in one sentence.
    pub meaning: &'static str,
    /// What mostly brings it about.
    pub cause: &'static str,
    /// What to do about it.
    pub fix: &'static str,
}

/// The questions of ARCHITECTURE.md, in the order in which a request meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Who is asking? Told to the client at that address.
    Identity,
    /// How much of the agent may one pod use? Told to the client at that address.
    Share,
    /// Which role may it have? Told to the pod, and by `podiam explain`.
    Role,
    /// What are its credentials? Told to the pod, and by `podiam explain`.
    Credentials,
    /// Is the request itself in order? Told to the pod.
    Request,
}

impl Question {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [
        Self::Identity,
        Self::Share,
        Self::Role,
        Self::Credentials,
        Self::Request,
    ];
}

/// Writes the table down twice: as the match that the compiler checks for completeness, and as a list.
macro_rules! facts {
    ($($reason:ident { $code:literal, $status:literal, $question:ident, $meaning:literal, $cause:literal, $fix:literal })+) => {
        impl Reason {
            /// Everything there is to know of every reason, in the order of the enum.
            pub const ALL: &[Facts] = &[$(facts!(@one $code, $status, $question, $meaning, $cause, $fix)),+];

            /// What an operator needs to know of this one.
            pub fn facts(&self) -> &'static Facts {
                match self {
                    $(Self::$reason { .. } => {
                        const { &facts!(@one $code, $status, $question, $meaning, $cause, $fix) }
                    })+
                }
            }
        }
    };
    (@one $code:literal, $status:literal, $question:ident, $meaning:literal, $cause:literal, $fix:literal) => {
        Facts {
            code: $code,
            status: $status,
            question: Question::$question,
            meaning: $meaning,
            cause: $cause,
            fix: $fix,
        }
    };
}

facts! {
    UnknownPod {
        "unknown-pod", 503, Identity,
        "No live pod of this node is known at the address that the request came from.",
        "The pod is seconds old and its address has not reached the Kubernetes API; or the agent's watch fails; or the \
         client is no pod of this node.",
        "Wait a moment. If it lasts, look at /readyz and at `podiam_source_synced` of the agent on the pod's node, and \
         at the pod's status.podIPs."
    }
    AmbiguousAddress {
        "ambiguous-address", 503, Identity,
        "More than one live pod claims the address, so it belongs to none of them.",
        "The address was given to a new pod while the Kubernetes API still shows it on an old one.",
        "Goes away when the old pod does: delete pods that hang in Terminating, or whose node is gone. `podiam explain` \
         names the others."
    }
    NodeAddress {
        "node-address", 403, Identity,
        "The request came from the node's own address, which is no pod's.",
        "A pod with hostNetwork, or a network plug-in that rewrites pods' addresses to the node's (SNAT) before the \
         agent sees them.",
        "Give the pod a network of its own; what runs on the host's network has to use other credentials. Keep the \
         plug-in from rewriting addresses of traffic to 169.254.169.254."
    }
    PodChanged {
        "pod-changed", 503, Identity,
        "The pod that opened this connection no longer owns its address.",
        "The pod was replaced and the address was used again while a connection was kept open.",
        "None needed: the connection is closed, and the next one is the new pod's."
    }
    NotIntercepted {
        "not-intercepted", 403, Identity,
        "The connection was not made to the metadata service's address.",
        "Somebody asks the agent's port itself, or a rule other than the agent's brings requests there.",
        "Ask 169.254.169.254. Remove redirect rules of other tools (kube2iam's, kiam's); see docs/interception.md."
    }
    WrongLink {
        "wrong-link", 503, Identity,
        "The connection came in on another link than the pod's that has the address.",
        "The address was given to a new pod of which the watch has not told yet; or another pod took it.",
        "Goes away within seconds for a new pod. If it lasts, look for a pod with NET_RAW on that link: see \
         docs/identity.md."
    }
    NotThePodsConnection {
        "not-the-pods-connection", 503, Identity,
        "The network namespace of the pod that has the address does not have this connection.",
        "The address was given to a new pod of which the watch has not told yet; or another pod took it.",
        "Goes away within seconds for a new pod. If it lasts, look for a pod with NET_RAW on that bridge: see \
         docs/identity.md."
    }
    SharedLink {
        "shared-link", 503, Identity,
        "Pods share a link here and nothing tells them apart.",
        "The nodes' pods are on a bridge, and the agent may not look into their network namespaces.",
        "Let it: the agent's log says what to grant. Or accept the risk with --allow-shared-bridge: see \
         docs/identity.md."
    }
    IdentityPending {
        "identity-pending", 503, Identity,
        "Where the pod at this address is has not been learned yet.",
        "The pod or the agent is seconds old.",
        "Wait a moment. If it lasts, look at the condition `identity` in /readyz."
    }
    TooManyConnections {
        "too-many-connections", 503, Share,
        "The address, or all of them together, have as many connections as they may.",
        "A client opens a connection for each request and closes none.",
        "Mend the client, which should keep its credentials until they expire; or raise --max-connections-per-pod or \
         --max-connections."
    }
    TooManyRequests {
        "too-many-requests", 503, Share,
        "The address sends more requests a second than one pod may.",
        "A client asks for credentials in a loop instead of keeping them.",
        "Mend the client; or raise --max-requests-per-pod."
    }
    TooManyInFlight {
        "too-many-in-flight", 503, Share,
        "More requests of the address wait for their answers than one pod may have.",
        "Many processes of a pod start at once while STS is slow or refuses.",
        "See why answers take so long (`podiam explain`); or raise --max-in-flight-per-pod."
    }
    NoRole {
        "no-role", 404, Role,
        "Nobody names a role for the pod: none of the sources that are on, and there is no default role.",
        "The annotation is missing, misspelt, or on the Deployment instead of on its pod template; or its source is not \
         in --role-sources.",
        "Annotate the pod template (spec.template.metadata.annotations) with iam.amazonaws.com/role, or switch the \
         source on."
    }
    OptedOut {
        "opted-out", 404, Role,
        "The first source that speaks says nothing: its annotation is there and empty.",
        "Somebody wants the pod to have no role; or a template left the value empty.",
        "Fill the annotation in, or remove it so that the next source is asked."
    }
    MalformedRole {
        "malformed-role", 403, Role,
        "What names the role is not a role that IAM could have.",
        "A space, a slash at the beginning, an instance profile's or a user's ARN in place of a role's.",
        "Write the role's name, its path and name, or its ARN (arn:aws:iam::123456789012:role/name)."
    }
    NoBaseArn {
        "no-base-arn", 403, Role,
        "The role is given by name, and nothing completes it to an ARN.",
        "The agent runs without --base-role-arn and without --auto-discover-base-arn.",
        "Write the whole ARN, or give the agent --base-role-arn."
    }
    MalformedExternalId {
        "malformed-external-id", 403, Role,
        "The pod's external ID is not one that STS accepts.",
        "It is shorter than 2 characters, longer than 1224, or has others than letters, digits and +=,.@:/-_.",
        "Correct the annotation iam.amazonaws.com/external-id."
    }
    MalformedSessionPolicy {
        "malformed-session-policy", 403, Role,
        "The pod's session policy is not one that STS accepts.",
        "It is no JSON object with a Statement, has more than 2048 characters, or names more than 10 managed policies.",
        "Correct the annotations podiam.io/session-policy and podiam.io/session-policy-arns."
    }
    MalformedSessionTag {
        "malformed-session-tag", 403, Role,
        "A session tag that the agent would send is not one that STS accepts.",
        "A label in --session-tag-labels, or a name, is longer than a tag may be.",
        "Shorten the pod's label, or take its key out of --session-tag-labels."
    }
    MalformedSessionName {
        "malformed-session-name", 403, Role,
        "The session name that the pod asks for is not one that STS accepts.",
        "It is shorter than 2 characters, longer than 64, or has others than letters, digits and +=,.@-_.",
        "Correct the annotation that --session-name-key names."
    }
    UnknownServiceAccount {
        "unknown-service-account", 503, Role,
        "The pod's service account is not known yet, and it may name the role.",
        "The watch has not told of it yet; the account was deleted; or the agent may not read service accounts.",
        "Wait a moment. If it lasts, see that the account exists and look at /readyz for a missing right."
    }
    CeilingDenies {
        "ceiling-denies", 403, Role,
        "The ceiling denies the role in the whole cluster.",
        "The cluster's operator put it on the list `deny`.",
        "Use another role, or have the operator change the ceiling: see docs/guards.md."
    }
    CeilingAllowsOthers {
        "ceiling-allows-others", 403, Role,
        "The ceiling has a list of allowed roles, and this one is not on it.",
        "A role of another account or path than the operator's list `allow` has.",
        "Use another role, or have the operator add it to the ceiling: see docs/guards.md."
    }
    CeilingForbidsInNamespace {
        "ceiling-forbids-in-namespace", 403, Role,
        "The ceiling does not allow the role in the pod's namespace.",
        "The first entry of the ceiling's `namespaces` that matches the namespace does not allow the role, or denies it.",
        "Use another role or namespace, or have the operator change the ceiling: see docs/guards.md."
    }
    ExternalIdForbidden {
        "external-id-forbidden", 403, Role,
        "The pod names an external ID for a role for which the ceiling forbids that.",
        "The operator keeps external IDs for that role in the ceiling's `externalIds`.",
        "Remove the pod's annotation iam.amazonaws.com/external-id, or have the operator change the ceiling."
    }
    UnknownNamespace {
        "unknown-namespace", 503, Role,
        "The pod's namespace is not known yet, and what it says matters.",
        "The watch has not told of it yet; or the agent may not read namespaces.",
        "Wait a moment. If it lasts, look at /readyz for a missing right."
    }
    NamespaceAllowsNothing {
        "namespace-allows-nothing", 403, Role,
        "A guard of the namespace is on, and the namespace has no annotation for it, so it allows no role.",
        "Restrictions were switched on before the namespace was annotated.",
        "Annotate the namespace with iam.amazonaws.com/allowed-roles (a JSON array), or iam.amazonaws.com/permitted for \
         kiam's guard."
    }
    NamespaceAnnotationInvalid {
        "namespace-annotation-invalid", 403, Role,
        "A guard of the namespace is on, and the namespace's annotation for it cannot be read, so it allows no role.",
        "Not a JSON array of strings, or a regular expression that does not compile; one bad element spoils the list.",
        "Correct the annotation; the reason's text names the element."
    }
    NamespaceForbids {
        "namespace-forbids", 403, Role,
        "A guard of the namespace is on, and what the namespace allows does not include the role.",
        "The list is anchored at both ends: app does not allow app-admin; a name without an ARN means the base ARN's \
         account.",
        "Add the role to the namespace's annotation, or use one that is on it."
    }
    NotThePodsRole {
        "not-the-pods-role", 403, Request,
        "The client asked for another role than the pod's.",
        "The application has a role's name in its configuration, or the annotation changed while it was running.",
        "Ask for the role list first, as SDKs do; restart what keeps an old name."
    }
    StsRefused {
        "sts-refused", 403, Credentials,
        "AWS STS says no to this node's AssumeRole, and will until somebody changes something.",
        "The role does not exist, its trust policy does not let the node's role in, or a policy denies it.",
        "Check that the role exists, that its trust policy lets the node's role assume it (with the pod's external ID, and \
         sts:TagSession if sessions have tags), and that the node's policy allows sts:AssumeRole on it. `podiam explain` \
         on the pod's node shows what AWS said and the commands that make the right documents. It is asked again after 5-30 s, or when the pod or its namespace changes."
    }
    StsUnavailable {
        "sts-unavailable", 503, Credentials,
        "AWS STS cannot be asked, and no credentials are left that are still valid.",
        "No path to the STS endpoint (security group, VPC endpoint, DNS, proxy), or the node has no credentials of its \
         own.",
        "`podiam explain` on the pod's node shows what failed; see also the condition `node-credentials` in /readyz."
    }
    StsThrottled {
        "sts-throttled", 503, Credentials,
        "AWS STS limits the calls of the node's account, and no credentials are left that are still valid.",
        "Too many AssumeRole calls in the account: many pods at once, or other tools.",
        "Wait: it is asked again. Lower --sts-rate, share sessions with --session=workload or --session=role; see \
         docs/scaling.md."
    }
    CredentialsPending {
        "credentials-pending", 503, Credentials,
        "The first credentials are being fetched and did not come within the 400 ms that a client waits.",
        "The pod is seconds old, or many pods started at once and wait for the budget (--sts-rate).",
        "Wait a moment: SDKs ask again. If it lasts, look at `podiam_sts_queue_waiting` and at the path to STS."
    }
    TokenInvalid {
        "token-invalid", 401, Request,
        "The request has no valid IMDSv2 token where one is required, or a bad one.",
        "An SDK that only speaks IMDSv1 with --imdsv2=required or podiam.io/imdsv2: required; or the token is another \
         pod's or has expired.",
        "Update the SDK, or allow IMDSv1 for the pod."
    }
    UpstreamUnavailable {
        "upstream-unavailable", 503, Request,
        "The instance's real metadata service cannot be asked.",
        "The agent does not run on an EC2 instance, or a rule or the hop limit keeps it from 169.254.169.254.",
        "Ask 169.254.169.254 from the node itself; see --metadata-addr."
    }
}
