//! The audit log: which pod has which credentials. One line, of the target `podiam::audit`, for each pod when a session is
//! obtained, and one when it is handed to the pod for the first time. It joins what `CloudTrail` shows (the access key
//! ID, the session name) to the pod. No secret is in it.

use super::body::Issued;
use crate::authorize::Grant;
use crate::workload::Workload;

/// A session was obtained; `pod` is one that it is meant for, `None` if none is known (any more).
pub fn obtained(pod: Option<&Workload>, grant: &Grant, issued: &Issued) {
    write("session obtained", pod, grant, issued);
}

/// A pod was given a session that it had not been given before.
pub fn handed_out(pod: &Workload, grant: &Grant, issued: &Issued) {
    write("session handed out", Some(pod), grant, issued);
}

fn write(event: &'static str, pod: Option<&Workload>, grant: &Grant, issued: &Issued) {
    tracing::info!(
        target: "podiam::audit",
        access_key_id = issued.access_key_id,
        expires_at = %issued.expires_at,
        role = grant.role.as_str(),
        session_name = grant.session_name.as_str(),
        source_identity = grant.attributes.source_identity().map(podiam_iam::SessionName::as_str),
        pod_uid = pod.map(|pod| pod.uid.as_str()),
        namespace = pod.map(|pod| &*pod.namespace),
        pod = pod.map(|pod| &*pod.name),
        service_account = pod.and_then(|pod| pod.service_account.as_deref()),
        "audit: {event}",
    );
}
