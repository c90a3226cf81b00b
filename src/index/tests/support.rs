//! Pods, namespaces and two deciders for the tests: a grant is simply the annotated role's name.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::index::{Basis, Decision, Index, Lookup, Reader, Verdict};
use crate::reason::Reason;
use crate::workload::{Namespace, PodUid, RoleSource, Surroundings, Workload};

pub(super) fn uid(name: &str) -> PodUid {
    PodUid::new(name)
}

pub(super) fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

pub(super) fn namespace(name: &str, allowed_roles: Option<&str>) -> Namespace {
    Namespace {
        name: name.into(),
        allowed_roles: allowed_roles.map(Into::into),
        ..Namespace::default()
    }
}

/// Builds a pod whose UID is its name.
pub(super) struct Pod(Workload);

impl Pod {
    pub(super) fn new(name: &str) -> Self {
        Self(Workload::new(uid(name), "default", name))
    }

    pub(super) fn at(mut self, address: &str) -> Self {
        self.0.addresses.push(ip(address));
        self
    }

    pub(super) fn role(mut self, role: &str) -> Self {
        self.0.annotations.role = Some(role.into());
        self
    }

    pub(super) fn terminal(mut self) -> Self {
        self.0.terminal = true;
        self
    }

    pub(super) fn host_network(mut self) -> Self {
        self.0.host_network = true;
        self
    }

    pub(super) fn build(self) -> Workload {
        self.0
    }
}

/// An index without namespace restrictions.
pub(super) fn unrestricted() -> (Index<String>, Reader<String>) {
    Index::new(|pod, _| role_of(pod))
}

/// An index with namespace restrictions: a namespace allows the one role that it names.
pub(super) fn restricted() -> (Index<String>, Reader<String>) {
    Index::new(decide_restricted)
}

pub(super) fn decide_restricted(pod: &Workload, namespace: Option<&Namespace>) -> Decision<String> {
    let role = role_of(pod)?;
    let name = pod.namespace.to_string();
    let namespace = namespace.ok_or(Reason::UnknownNamespace {
        namespace: name.clone(),
    })?;
    if namespace.allowed_roles.as_deref() == Some(role.as_str()) {
        Ok(role)
    } else {
        Err(Reason::NamespaceForbids {
            role: role.to_string(),
            namespace: name,
        })
    }
}

/// An index that asks everything there is to ask: the pod's role or its service account's, the namespace's say, and a
/// rule that may change: while it is strict, nobody is a writer.
pub(super) fn asking(strict: Arc<AtomicBool>) -> (Index<String>, Reader<String>) {
    Index::judging(move |pod, around| decide_asking(pod, around, strict.load(Ordering::Relaxed)))
}

pub(super) fn decide_asking(
    pod: &Workload,
    around: Surroundings<'_>,
    strict: bool,
) -> Verdict<String> {
    let (role, source) = match (&pod.annotations.role, around.service_account) {
        (Some(role), _) => (role.to_string(), RoleSource::Pod),
        (None, Some(account)) => {
            let role = account.role.as_deref().unwrap_or_default();
            (role.to_owned(), RoleSource::ServiceAccount)
        }
        (None, None) => {
            let unknown = Reason::UnknownServiceAccount {
                namespace: pod.namespace.to_string(),
                name: "account".into(),
            };
            return Err(unknown).into();
        }
    };
    let allowed = around
        .namespace
        .and_then(|known| known.allowed_roles.as_deref());
    let basis = Basis {
        source: Some(source),
        overlooked: Vec::new(),
    };
    let decision = if allowed == Some(role.as_str()) && !(strict && role == "writer") {
        Ok(Arc::new(role))
    } else {
        let namespace = pod.namespace.to_string();
        Err(Reason::NamespaceForbids { role, namespace })
    };
    Verdict { decision, basis }
}

fn role_of(pod: &Workload) -> Decision<String> {
    let role = pod.annotations.role.as_deref();
    role.map(|role| Arc::new(role.to_owned()))
        .ok_or(Reason::OptedOut {
            whose: RoleSource::Pod,
            key: "role".into(),
        })
}

/// The UID of the owner, or why there is none.
pub(super) fn owner(reader: &Reader<String>, address: &str) -> Result<String, &'static str> {
    match reader.lookup(ip(address)) {
        Lookup::Pod(entry) => Ok(entry.workload.uid.to_string()),
        Lookup::Ambiguous => Err("ambiguous"),
        Lookup::Unknown => Err("unknown"),
    }
}
