//! Which reasons are told by an Event.

use crate::reason::Reason;

/// Not where the pod asked for nothing, the reason passes by itself, or the pod at this address need not be the one that
/// asked.
pub(super) fn is_told(reason: &Reason) -> bool {
    match reason {
        Reason::AmbiguousAddress
        | Reason::MalformedRole { .. }
        | Reason::NoBaseArn { .. }
        | Reason::MalformedExternalId { .. }
        | Reason::MalformedSessionPolicy { .. }
        | Reason::MalformedSessionTag { .. }
        | Reason::MalformedSessionName { .. }
        | Reason::CeilingDenies { .. }
        | Reason::CeilingAllowsOthers { .. }
        | Reason::CeilingForbidsInNamespace { .. }
        | Reason::ExternalIdForbidden { .. }
        | Reason::NamespaceAllowsNothing { .. }
        | Reason::NamespaceForbids { .. }
        | Reason::NamespaceAnnotationInvalid { .. }
        | Reason::NotThePodsRole { .. }
        | Reason::StsRefused => true,
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
        | Reason::UpstreamUnavailable => false,
    }
}
