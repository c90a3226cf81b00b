//! What whoever reads an Event can do about it; and which reasons are told at all.

use crate::reason::Reason;

/// What to do. `None`: no Event is written, because the pod asked for nothing, the reason passes by itself, or the pod at
/// this address need not be the one that asked.
pub(super) fn advice(reason: &Reason) -> Option<&'static str> {
    let advice = match reason {
        Reason::AmbiguousAddress => {
            "Delete the pod that is stuck, or wait until the API server has told that it is gone."
        }
        Reason::MalformedRole { .. } => {
            "Write a role's name, its path and name, or its ARN (arn:aws:iam::ACCOUNT:role/NAME) into the annotation."
        }
        Reason::NoBaseArn { .. } => {
            "Write the role's whole ARN into the annotation, or start the agents with --base-role-arn."
        }
        Reason::MalformedExternalId { .. } => {
            "Write the external ID that the role's trust policy asks for: 2 to 1224 of letters, digits and +=,.@:/-"
        }
        Reason::MalformedSessionPolicy { .. } => {
            "Correct the pod's annotation podiam.io/session-policy or podiam.io/session-policy-arns."
        }
        Reason::MalformedSessionTag { .. } => {
            "Correct the pod's label, or take it out of the agents' --session-tag-labels."
        }
        Reason::MalformedSessionName { .. } => {
            "Correct the pod's annotation: 2 to 64 of letters, digits and _=,.@-"
        }
        Reason::CeilingDenies { .. }
        | Reason::CeilingAllowsOthers { .. }
        | Reason::CeilingForbidsInNamespace { .. } => {
            "Name another role, or ask the cluster's operator to change the agents' --ceiling."
        }
        Reason::ExternalIdForbidden { .. } => {
            "Take the annotation of the external ID away: the cluster's operator decides it for this role."
        }
        Reason::NamespaceAllowsNothing { .. } | Reason::NamespaceForbids { .. } => {
            "Name a role that the namespace's annotation allows, or have it added there by whoever owns the namespace."
        }
        Reason::NamespaceAnnotationInvalid { .. } => {
            "Have the namespace's annotation corrected by whoever owns the namespace."
        }
        Reason::NotThePodsRole { .. } => {
            "Let the client ask for the role that security-credentials/ lists, or change the pod's annotation."
        }
        Reason::StsRefused => {
            "Check that the role exists, that its trust policy lets the node's role assume it (with the pod's external ID, and sts:TagSession if sessions have tags), and that the node's policy allows sts:AssumeRole on it."
        }
        Reason::NoRole { .. }
        | Reason::OptedOut { .. }
        | Reason::UnknownPod
        | Reason::NodeAddress
        | Reason::PodChanged
        | Reason::NotIntercepted
        | Reason::WrongLink
        | Reason::NotThePodsConnection
        | Reason::SharedLink
        | Reason::IdentityPending
        | Reason::TooManyConnections
        | Reason::TooManyRequests
        | Reason::TooManyInFlight
        | Reason::UnknownServiceAccount { .. }
        | Reason::UnknownNamespace { .. }
        | Reason::StsUnavailable
        | Reason::StsThrottled
        | Reason::CredentialsPending
        | Reason::TokenInvalid
        | Reason::UpstreamUnavailable => return None,
    };
    Some(advice)
}
