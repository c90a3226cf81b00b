//! What a pod's session says of the pod: the operator chooses what, the pod's own objects say it. EKS Pod Identity's
//! names are used where it has one, so that policies written for it hold here too.

use podiam_iam::SessionName;

use super::attributes::{Attributes, Tag};
use super::session_policy::SessionPolicy;
use crate::config::{Attribution, SourceIdentity, TagSource};
use crate::reason::Reason;
use crate::workload::Workload;

/// The attributes of a pod's session, or what of the pod cannot be said to STS.
pub(super) fn attributes(rules: &Attribution, pod: &Workload) -> Result<Attributes, Reason> {
    let annotations = &pod.annotations;
    let policy = SessionPolicy::parse(
        annotations.session_policy.as_deref(),
        annotations.session_policy_arns.as_deref(),
    )
    .map_err(|error| Reason::MalformedSessionPolicy {
        problem: error.to_string(),
    })?;
    let sources = rules
        .tags
        .iter()
        .filter_map(|source| Some((source.key(), value(*source, rules, pod)?)));
    let labels = rules.labels.iter().filter_map(|key| {
        let (_, value) = pod.labels.iter().find(|(known, _)| **known == **key)?;
        Some((key.as_str(), &**value))
    });
    let tags = sources
        .chain(labels)
        .map(|(key, value)| {
            Tag::new(key, value).map_err(|error| Reason::MalformedSessionTag {
                key: key.to_owned(),
                problem: error.to_string(),
            })
        })
        .collect::<Result<_, _>>()?;
    let source_identity = rules.source_identity.map(|kind| match kind {
        SourceIdentity::Pod => pod_name(pod),
        SourceIdentity::ServiceAccount => {
            let account = pod.service_account.as_deref().unwrap_or("default");
            named(pod, "ServiceAccount", account)
        }
    });
    Ok(Attributes::new(
        tags,
        rules.transitive,
        source_identity,
        policy,
    ))
}

/// What a tag says of the pod. `None`: nothing is known, and the tag is left out.
fn value<'a>(source: TagSource, rules: &'a Attribution, pod: &'a Workload) -> Option<&'a str> {
    match source {
        TagSource::Cluster => rules.cluster.as_deref(),
        TagSource::Namespace => Some(&pod.namespace),
        TagSource::ServiceAccount => pod.service_account.as_deref(),
        TagSource::Pod => Some(&pod.name),
        TagSource::Uid => Some(pod.uid.as_str()),
        TagSource::Node => rules.node.as_deref(),
    }
}

/// `NAMESPACE.POD@HASH`, with a hash of the pod's UID.
pub(super) fn pod_name(pod: &Workload) -> SessionName {
    SessionName::pod(&pod.namespace, &pod.name, pod.uid.as_str())
}

/// `NAMESPACE.OWNER@HASH`: the same for all pods of a Deployment, `StatefulSet` or other controller. A pod without one
/// is its own workload.
pub(super) fn workload_name(pod: &Workload) -> SessionName {
    match &pod.owner {
        Some(owner) => named(pod, &owner.kind, &owner.name),
        None => pod_name(pod),
    }
}

/// The name of something in the pod's namespace. The hash keeps apart what reads alike, such as names that were cut.
fn named(pod: &Workload, kind: &str, name: &str) -> SessionName {
    let whole = format!("{kind}/{}/{name}", pod.namespace);
    SessionName::pod(&pod.namespace, name, &whole)
}
