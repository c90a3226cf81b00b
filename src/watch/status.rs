//! How a source stands: what /readyz, the metrics and the log tell about it.

use std::fmt;

use jiff::Timestamp;
use tracing::{info, warn};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Pods.
    Pods,
    /// Namespaces.
    Namespaces,
}

impl fmt::Display for Resource {
    /// As in a Kubernetes RBAC rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
        })
    }
}

/// Whether what we know of a resource is up to date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SyncState {
    /// Not read yet.
    #[default]
    Starting,
    /// Read whole, and followed since.
    Synced {
        /// When it was last read whole.
        since: Timestamp,
    },
    /// Not followed at the moment. What was known before is still served, and grows old.
    Failing {
        /// One line: the likely cause and what to do.
        error: String,
        /// When the trouble began.
        since: Timestamp,
    },
}

/// How the source of pods stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// The pods.
    pub pods: SyncState,
    /// The namespaces.
    pub namespaces: SyncState,
}

impl SourceStatus {
    /// Whether both are up to date.
    pub fn is_synced(&self) -> bool {
        self.problems().is_empty()
    }

    /// What keeps the source from being up to date, a line each; empty when nothing does.
    pub fn problems(&self) -> Vec<String> {
        [
            (Resource::Pods, &self.pods),
            (Resource::Namespaces, &self.namespaces),
        ]
        .into_iter()
        .filter_map(|(resource, state)| match state {
            SyncState::Synced { .. } => None,
            SyncState::Starting => Some(format!("{resource} are not read yet")),
            SyncState::Failing { error, .. } => Some(format!("{resource}: {error}")),
        })
        .collect()
    }

    /// Sets one state, logs it where it is news, and says whether anything changed.
    pub(super) fn set(&mut self, resource: Resource, new: SyncState) -> bool {
        let state = match resource {
            Resource::Pods => &mut self.pods,
            Resource::Namespaces => &mut self.namespaces,
        };
        if *state == new {
            return false;
        }
        match (&*state, &new) {
            (SyncState::Synced { .. }, SyncState::Synced { .. }) | (_, SyncState::Starting) => {}
            (_, SyncState::Synced { .. }) => info!(%resource, "in sync"),
            (SyncState::Failing { error: old, .. }, SyncState::Failing { error, .. })
                if old == error => {}
            (_, SyncState::Failing { error, .. }) => {
                warn!(%resource, error, "not in sync; what is known stays, and it is tried again");
            }
        }
        *state = new;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_synced_only_when_both_resources_are_and_else_says_what_is_missing() {
        let since = Timestamp::UNIX_EPOCH;
        let mut status = SourceStatus::default();
        assert_eq!(
            status.problems(),
            ["pods are not read yet", "namespaces are not read yet"]
        );
        assert!(status.set(Resource::Pods, SyncState::Synced { since }));
        assert!(!status.is_synced());
        assert!(status.set(Resource::Namespaces, SyncState::Synced { since }));
        assert!(status.is_synced());
        let failing = SyncState::Failing {
            error: "no route".into(),
            since,
        };
        assert!(status.set(Resource::Pods, failing.clone()));
        assert!(
            !status.set(Resource::Pods, failing),
            "the same again is no change"
        );
        assert_eq!(status.problems(), ["pods: no route"]);
    }
}
