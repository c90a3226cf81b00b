//! Why a request was refused: one list, told in the same words to the pod, the log and the metric label.
//!
//! A reason holds no secret and no text from AWS; what a pod's author wrote is quoted and escaped, so that one line
//! stays one line. What an operator needs to know of each is in `facts`.

mod facts;

use thiserror::Error;

use crate::workload::RoleSource;

pub use facts::{Facts, Question};

/// Why a pod gets no credentials. The text is what the pod reads; [`Reason::code`] is stable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Error)]
pub enum Reason {
    /// No pod is known at the address the request came from.
    #[error("no pod is known at this address yet")]
    UnknownPod,
    /// Two live pods claim the address.
    #[error("more than one pod claims this address; refused until only one is left")]
    AmbiguousAddress,
    /// The request came from one of the node's own addresses.
    #[error(
        "the request came from the node's own address; a pod cannot be told from it (hostNetwork or SNAT)"
    )]
    NodeAddress,
    /// The pod that opened the connection no longer owns the address.
    #[error(
        "the address belongs to another pod than when the connection was opened; connect again"
    )]
    PodChanged,
    /// The connection did not get here by the metadata service's address.
    #[error("the agent answers only what is sent to the metadata service's address")]
    NotIntercepted,
    /// The connection came in on another link than the pod's: its address is used by another pod by now, of which the
    /// watch has not told yet, or was taken.
    #[error(
        "the connection did not come in on the link of the pod that has this address; ask again"
    )]
    WrongLink,
    /// The pod's own network namespace does not have the connection, for one of the same two causes.
    #[error("the pod that has this address did not open this connection; ask again")]
    NotThePodsConnection,
    /// The pod shares its link with others, and the agent has no other means to tell them apart.
    #[error(
        "pods that share a link cannot be told apart on this node; the agent's log says what to grant"
    )]
    SharedLink,
    /// Where the pod is has not been learned yet.
    #[error("it is not known yet where the pod at this address is; ask again")]
    IdentityPending,
    /// The address, or all of them together, have as many connections as they may.
    #[error("too many connections from this address; close some, or ask again later")]
    TooManyConnections,
    /// More requests a second than one address may send.
    #[error("too many requests from this address; ask again later")]
    TooManyRequests,
    /// More requests that wait for their answers than one address may have.
    #[error("too many unanswered requests from this address; ask again later")]
    TooManyInFlight,
    /// No source of roles that is on names one.
    #[error("{}", no_role(key.as_deref(), elsewhere))]
    NoRole {
        /// The key of the pod's annotation; `None` where it is not read.
        key: Option<String>,
        /// The other annotations that are absent, each with whose it is.
        elsewhere: Vec<(RoleSource, String)>,
    },
    /// The first annotation that is present is empty: its author wants no role.
    #[error("{whose} annotation {key:?} is empty: it asks for no role")]
    OptedOut {
        /// Whose annotation it is.
        whose: RoleSource,
        /// The annotation's key.
        key: String,
    },
    /// The role is not one that IAM could have.
    #[error("the role {value:?} is malformed: {problem}")]
    MalformedRole {
        /// What the annotation says.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A role by name, and no base ARN to complete it.
    #[error("the role {value:?} is a name, and no base ARN is configured to complete it")]
    NoBaseArn {
        /// What the annotation says.
        value: String,
    },
    /// The external ID is not one that STS accepts.
    #[error("the external ID is malformed: {problem}")]
    MalformedExternalId {
        /// What is wrong with it.
        problem: String,
    },
    /// The session policy is not one that STS accepts.
    #[error("the pod's session policy is malformed: {problem}")]
    MalformedSessionPolicy {
        /// What is wrong with it.
        problem: String,
    },
    /// A session tag is not one that STS accepts.
    #[error("the session tag {key:?} is malformed: {problem}")]
    MalformedSessionTag {
        /// The tag's key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The session name that the pod asks for is not one that STS accepts.
    #[error("the session name is malformed: {problem}")]
    MalformedSessionName {
        /// What is wrong with it.
        problem: String,
    },
    /// The pod's service account is not known yet, and it may name the role.
    #[error("the service account {name:?} of the namespace {namespace:?} is not known yet")]
    UnknownServiceAccount {
        /// The namespace's name.
        namespace: String,
        /// The service account's name.
        name: String,
    },
    /// The ceiling denies the role everywhere.
    #[error("the role {role} is denied in this cluster")]
    CeilingDenies {
        /// The role's ARN.
        role: String,
    },
    /// The ceiling allows others only.
    #[error("the role {role} is not among those that are allowed in this cluster")]
    CeilingAllowsOthers {
        /// The role's ARN.
        role: String,
    },
    /// The ceiling has a list for the namespace, and the role is not on it, or is denied there.
    #[error("the cluster's operator does not allow the role {role} in the namespace {namespace:?}")]
    CeilingForbidsInNamespace {
        /// The role's ARN.
        role: String,
        /// The namespace's name.
        namespace: String,
    },
    /// The ceiling forbids pods to bring an external ID of their own for the role.
    #[error("pods may not name an external ID for the role {role} in this cluster")]
    ExternalIdForbidden {
        /// The role's ARN.
        role: String,
    },
    /// The pod's namespace is not known yet, and what it says matters.
    #[error("the namespace {namespace:?} is not known yet")]
    UnknownNamespace {
        /// The namespace's name.
        namespace: String,
    },
    /// Restrictions are on and the namespace lists no roles.
    #[error("the namespace {namespace:?} has no annotation {key:?}, so no role is allowed in it")]
    NamespaceAllowsNothing {
        /// The namespace's name.
        namespace: String,
        /// The annotation's key.
        key: String,
    },
    /// Restrictions are on and the namespace's list cannot be read.
    #[error("the namespace {namespace:?} has an invalid annotation {key:?}: {problem}")]
    NamespaceAnnotationInvalid {
        /// The namespace's name.
        namespace: String,
        /// The annotation's key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Restrictions are on and no entry of the namespace's list matches.
    #[error("the role {role} is not allowed in the namespace {namespace:?}")]
    NamespaceForbids {
        /// The role's ARN.
        role: String,
        /// The namespace's name.
        namespace: String,
    },
    /// The role that the client asked for is not the pod's.
    #[error("Invalid role {requested:?}: not the role of this pod")]
    NotThePodsRole {
        /// What the client asked for.
        requested: String,
    },
    /// STS says no, and will say so again.
    #[error("AWS STS refuses this role to the node; the agent's log has the details")]
    StsRefused,
    /// STS cannot be asked now, and nothing valid is left.
    #[error("AWS STS cannot be reached at the moment")]
    StsUnavailable,
    /// STS limits the node's calls, and nothing valid is left.
    #[error("AWS STS is limiting requests at the moment")]
    StsThrottled,
    /// Credentials are on their way and did not arrive within the time a client waits.
    #[error("credentials are being fetched; ask again")]
    CredentialsPending,
    /// The request carries no valid IMDSv2 token where one is required, or carries a bad one.
    #[error("a valid IMDSv2 token is required")]
    TokenInvalid,
    /// The real metadata service cannot be asked.
    #[error("the metadata service of this instance cannot be reached at the moment")]
    UpstreamUnavailable,
}

/// One sentence over all annotations that could have named a role.
fn no_role(key: Option<&str>, elsewhere: &[(RoleSource, String)]) -> String {
    let pods = key.map(|key| format!("the pod has no annotation {key:?}"));
    let others = elsewhere
        .iter()
        .map(|(whose, key)| format!("{whose} annotation {key:?} is absent"));
    let absent: Vec<String> = pods.into_iter().chain(others).collect();
    if absent.is_empty() {
        "there is no default role, and no annotation is read".to_owned()
    } else {
        format!("{} and there is no default role", absent.join(", "))
    }
}

impl Reason {
    /// Whether the next watch event may settle it: something that decides is not known yet.
    pub fn is_unsettled(&self) -> bool {
        matches!(
            self,
            Self::UnknownNamespace { .. } | Self::UnknownServiceAccount { .. }
        )
    }

    /// A short, stable name: metric label and log field.
    pub fn code(&self) -> &'static str {
        self.facts().code
    }

    /// The HTTP status that makes every AWS SDK do the right thing.
    pub fn status(&self) -> u16 {
        self.facts().status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stays_one_line_whatever_the_annotation_says() {
        let reason = Reason::MalformedRole {
            value: "a\r\nSet-Cookie: x\u{2028}".into(),
            problem: "p".into(),
        };
        let line = reason.to_string();
        assert!(!line.contains(['\r', '\n', '\u{2028}']), "{line}");
    }

    #[test]
    fn only_what_is_not_known_yet_may_be_settled_by_the_next_watch_event() {
        let (namespace, name) = (|| "team".to_owned(), || "robot".to_owned());
        let of_namespace = Reason::UnknownNamespace {
            namespace: namespace(),
        };
        let of_account = Reason::UnknownServiceAccount {
            namespace: namespace(),
            name: name(),
        };
        for waits in [of_namespace, of_account] {
            assert!(waits.is_unsettled() && waits.status() == 503, "{waits}");
        }
        let forbids = Reason::NamespaceForbids {
            role: name(),
            namespace: namespace(),
        };
        assert!(!forbids.is_unsettled() && !Reason::UnknownPod.is_unsettled());
    }
}
