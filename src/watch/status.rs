//! How a source stands: what /readyz, the metrics and the log tell about it.
//!
//! A view that was read whole once goes on being served when its source fails, and it ages. [`MAX_VIEW_AGE`] says for
//! how long that is nobody's concern but the metrics'.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};

use crate::workload::AnnotationKeys;

/// The oldest view with which the agent still counts as ready. Known pods are served from an older one all the same;
/// but pods that came since have been refused for so long that somebody should look. Five minutes are longer than a
/// control plane takes to come back from an upgrade, and what Kubernetes itself gives an unreachable node
/// (`tolerationSeconds` of the taint `node.kubernetes.io/unreachable`, 300 by default).
pub const MAX_VIEW_AGE: Duration = Duration::from_mins(5);

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Pods.
    Pods,
    /// Namespaces.
    Namespaces,
    /// Service accounts, where a source of roles reads them.
    ServiceAccounts,
}

impl fmt::Display for Resource {
    /// As in a Kubernetes RBAC rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
            Self::ServiceAccounts => "serviceaccounts",
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

/// What we have of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Whether it is up to date.
    pub state: SyncState,
    /// How often listing or watching it has failed since the agent started.
    pub failures: u64,
    /// Whether it was ever read whole: only then is there something that can grow old.
    read: bool,
}

impl View {
    /// How old it is: zero while it is followed, else the time since the trouble began; `None` while nothing was ever
    /// read whole.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        match self.state {
            _ if !self.read => None,
            SyncState::Failing { since, .. } => {
                // A wall clock may be set back meanwhile.
                Some(Duration::try_from(now.duration_since(since)).unwrap_or_default())
            }
            SyncState::Starting | SyncState::Synced { .. } => Some(Duration::ZERO),
        }
    }

    /// Whether it is up to date.
    pub fn is_synced(&self) -> bool {
        matches!(self.state, SyncState::Synced { .. })
    }

    /// Why the agent is not ready with it; `None` if it is. The words stay the same while the cause does.
    fn unfit(&self, now: Timestamp) -> Option<String> {
        match &self.state {
            SyncState::Synced { .. } => None,
            SyncState::Starting => Some("not read yet".to_owned()),
            SyncState::Failing { error, since } => match self.age(now) {
                None => Some(error.clone()),
                Some(age) if age > MAX_VIEW_AGE => {
                    Some(format!("{error} (not up to date since {since:.0})"))
                }
                Some(_) => None,
            },
        }
    }
}

/// How the source of pods stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// The pods.
    pub pods: View,
    /// The namespaces.
    pub namespaces: View,
    /// The service accounts; `None` where they are not watched.
    pub service_accounts: Option<View>,
}

impl SourceStatus {
    /// Nothing read yet of what these keys need.
    pub fn expecting(keys: &AnnotationKeys) -> Self {
        Self {
            service_accounts: keys.reads_service_accounts().then(View::default),
            ..Self::default()
        }
    }

    /// Every view that is kept, each with what it is of.
    pub fn views(&self) -> impl Iterator<Item = (Resource, &View)> {
        let always = [
            (Resource::Pods, &self.pods),
            (Resource::Namespaces, &self.namespaces),
        ];
        let accounts = self.service_accounts.as_ref();
        always
            .into_iter()
            .chain(accounts.map(|view| (Resource::ServiceAccounts, view)))
    }

    /// Whether all of them are up to date.
    pub fn is_synced(&self) -> bool {
        self.views().all(|(_, view)| view.is_synced())
    }

    /// Why the agent is not ready, a line for each view that is missing or older than [`MAX_VIEW_AGE`]; empty when it
    /// is ready.
    pub fn unfit(&self, now: Timestamp) -> Vec<String> {
        let line = |(resource, view): (Resource, &View)| {
            let why = view.unfit(now)?;
            Some(format!("{resource}: {why}"))
        };
        self.views().filter_map(line).collect()
    }

    /// Sets one state, logs it where it is news, and says whether anything changed. Each failure counts, also one like
    /// the last.
    pub(crate) fn set(&mut self, resource: Resource, new: SyncState) -> bool {
        let view = match resource {
            Resource::Pods => &mut self.pods,
            Resource::Namespaces => &mut self.namespaces,
            Resource::ServiceAccounts => self.service_accounts.get_or_insert_default(),
        };
        match (&view.state, &new) {
            (old, SyncState::Synced { .. }) => {
                view.read = true;
                if !matches!(old, SyncState::Synced { .. }) {
                    info!(%resource, "in sync");
                }
            }
            (old, SyncState::Failing { error, .. }) => {
                view.failures += 1;
                if !matches!(old, SyncState::Failing { error: old, .. } if old == error) {
                    warn!(%resource, error, "not in sync; what is known stays, and it is tried again");
                }
            }
            (_, SyncState::Starting) => {}
        }
        let changed = view.state != new || matches!(new, SyncState::Failing { .. });
        view.state = new;
        changed
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn after(seconds: i64) -> Timestamp {
        START + SignedDuration::from_secs(seconds)
    }

    fn failing(error: &str, since: Timestamp) -> SyncState {
        SyncState::Failing {
            error: error.into(),
            since,
        }
    }

    fn synced() -> SourceStatus {
        let mut status = SourceStatus::default();
        for resource in [Resource::Pods, Resource::Namespaces] {
            assert!(status.set(resource, SyncState::Synced { since: START }));
        }
        status
    }

    #[test]
    fn a_source_is_fit_only_when_both_resources_were_read_and_else_says_what_is_missing() {
        let mut status = SourceStatus::default();
        let unread = ["pods: not read yet", "namespaces: not read yet"];
        assert_eq!(status.unfit(START), unread);
        assert!(status.set(Resource::Pods, SyncState::Synced { since: START }));
        assert!(!status.is_synced());
        assert_eq!(status.unfit(START), ["namespaces: not read yet"]);
        assert!(status.set(Resource::Namespaces, failing("no route", START)));
        assert_eq!(status.unfit(START), ["namespaces: no route"]);
        assert!(status.set(Resource::Namespaces, SyncState::Synced { since: START }));
        assert!(status.is_synced());
        assert!(status.unfit(START).is_empty());
    }

    #[test]
    fn a_view_that_was_complete_is_fit_until_it_is_too_old() {
        let mut status = synced();
        let limit = i64::try_from(MAX_VIEW_AGE.as_secs()).unwrap();
        assert_eq!(status.pods.age(after(9)), Some(Duration::ZERO));

        status.set(Resource::Pods, failing("no route", after(10)));
        assert!(!status.is_synced());
        assert!(status.unfit(after(10 + limit)).is_empty());
        assert_eq!(status.pods.age(after(10 + limit)), Some(MAX_VIEW_AGE));
        assert_eq!(
            status.unfit(after(11 + limit)),
            ["pods: no route (not up to date since 1970-01-01T00:00:10Z)"]
        );
        assert_eq!(
            status.pods.age(after(5)),
            Some(Duration::ZERO),
            "a clock that was set back"
        );

        status.set(Resource::Pods, SyncState::Synced { since: after(999) });
        assert!(status.unfit(after(999)).is_empty());
        assert_eq!(status.pods.age(after(2_000)), Some(Duration::ZERO));
    }

    #[test]
    fn what_was_never_complete_has_no_age_and_is_unfit_at_once() {
        let mut status = SourceStatus::default();
        assert_eq!(status.pods.age(after(1)), None);
        status.set(Resource::Pods, failing("no route", START));
        assert_eq!(status.pods.age(after(1)), None);
        assert_eq!(status.unfit(START)[0], "pods: no route");
    }

    #[test]
    fn each_failure_counts_also_one_like_the_last() {
        let mut status = synced();
        for count in 1..=3 {
            assert!(status.set(Resource::Pods, failing("no route", START)));
            assert_eq!(status.pods.failures, count);
        }
        status.set(Resource::Pods, SyncState::Synced { since: START });
        assert_eq!((status.pods.failures, status.namespaces.failures), (3, 0));
        assert!(
            !status.set(Resource::Pods, SyncState::Synced { since: START }),
            "the same again is no change"
        );
    }
}
