//! Reports how the source of pods stands, to /readyz and the metrics (the log has it from `watch`), and whom guards in
//! audit mode would refuse, to the log. Started by `app`, once for the life of the agent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::authorize::Grant;
use crate::clock::Clock;
use crate::index::Reader;
use crate::lifecycle::Condition;
use crate::metrics::Metrics;
use crate::reason::Reason;
use crate::watch::SourceStatus;
use crate::workload::{PodUid, RoleSource};

/// Between two looks at the age of a view that nobody follows.
const TICK: Duration = Duration::from_secs(1);

/// Reports each change of `status`, and while something is out of sync how its age grows, until the source is gone.
pub(super) async fn source(
    mut status: watch::Receiver<SourceStatus>,
    condition: Condition,
    metrics: Arc<Metrics>,
    clock: Clock,
) {
    loop {
        let seen = status.borrow_and_update().clone();
        let now = clock.now();
        for (resource, view) in seen.views() {
            let name = resource.to_string();
            metrics.sources.set_synced(&name, view.is_synced());
            metrics.sources.set_failures(&name, view.failures);
            if let Some(age) = view.age(now) {
                metrics.sources.set_age(&name, age);
            }
        }
        let unfit = seen.unfit(now);
        if unfit.is_empty() {
            condition.met();
        } else {
            condition.missing(unfit.join("; "));
        }
        let changed = if seen.is_synced() {
            status.changed().await
        } else {
            // The end of the tick is a reason to look again, like a change.
            timeout(TICK, status.changed()).await.unwrap_or(Ok(()))
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Logs each pod that a guard in audit mode would refuse: once for each thing that it would be refused for.
pub(super) async fn audited(pods: Reader<Grant>) {
    let mut generations = pods.generations();
    let mut told: HashMap<PodUid, Vec<Reason>> = HashMap::new();
    loop {
        let snapshot = pods.snapshot();
        told.retain(|uid, _| snapshot.pod(uid).is_some());
        for entry in snapshot.pods() {
            let (pod, overlooked) = (&entry.workload, &entry.basis.overlooked);
            if told.get(&pod.uid).map_or(&[][..], Vec::as_slice) == overlooked.as_slice() {
                continue;
            }
            for reason in overlooked {
                tracing::warn!(
                    ns.name = &*pod.namespace,
                    pod.name = &*pod.name,
                    pod.iam.source = entry.basis.source.map(RoleSource::name),
                    reason = reason.code(),
                    "audit: would be refused if the guard were in force: {reason}",
                );
            }
            told.insert(pod.uid.clone(), overlooked.clone());
        }
        if generations.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use tokio::time::sleep;

    use super::*;
    use crate::lifecycle::Readiness;
    use crate::watch::{MAX_VIEW_AGE, Resource, SyncState};

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    /// A source that a test speaks for, and what is reported of it.
    struct Scene {
        status: watch::Sender<SourceStatus>,
        clock: Clock,
        readiness: Readiness,
        metrics: Arc<Metrics>,
    }

    impl Scene {
        fn new() -> Self {
            let (status, seen) = watch::channel(SourceStatus::default());
            let scene = Self {
                status,
                clock: Clock::held_at(START),
                readiness: Readiness::default(),
                metrics: Arc::new(Metrics::new().unwrap()),
            };
            let condition = scene.readiness.condition("pods");
            let (metrics, clock) = (Arc::clone(&scene.metrics), scene.clock.clone());
            tokio::spawn(source(seen, condition, metrics, clock));
            scene
        }

        fn set(&self, resource: Resource, state: SyncState) {
            self.status
                .send_if_modified(|status| status.set(resource, state));
        }

        fn synced(&self) {
            for resource in [Resource::Pods, Resource::Namespaces] {
                self.set(resource, SyncState::Synced { since: START });
            }
        }

        /// The API server goes away now.
        fn fail(&self) {
            let error = "no route".to_owned();
            self.set(
                Resource::Pods,
                SyncState::Failing {
                    error,
                    since: START,
                },
            );
        }

        /// Lets the reporter look: in paused time, once all else has been done.
        async fn look(&self) {
            sleep(TICK).await;
        }

        fn is_ready(&self) -> bool {
            self.readiness.missing().is_empty()
        }

        fn metric(&self, name: &str, resource: &str) -> Option<String> {
            let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
            let start = format!("{name}{{resource=\"{resource}\"}} ");
            text.lines()
                .find_map(|line| line.strip_prefix(&start))
                .map(str::to_owned)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_agent_stays_ready_while_its_view_of_the_pods_is_not_too_old() {
        let scene = Scene::new();
        scene.look().await;
        assert!(!scene.is_ready(), "nothing was read yet");
        let age = |scene: &Scene| scene.metric("podiam_source_age_seconds", "pods");
        assert_eq!(age(&scene), None);

        scene.synced();
        scene.look().await;
        assert!(scene.is_ready());
        assert_eq!(age(&scene).as_deref(), Some("0"));

        // Nobody tells anything from here on: the view only grows older.
        scene.fail();
        scene
            .clock
            .advance(SignedDuration::try_from(MAX_VIEW_AGE).unwrap());
        scene.look().await;
        scene.look().await;
        assert!(scene.is_ready());
        assert_eq!(age(&scene).as_deref(), Some("300"));
        let synced = scene.metric("podiam_source_synced", "pods");
        assert_eq!(synced.as_deref(), Some("0"));

        scene.clock.advance(SignedDuration::from_secs(1));
        scene.look().await;
        scene.look().await;
        assert!(!scene.is_ready());
        assert_eq!(age(&scene).as_deref(), Some("301"));

        scene.synced();
        scene.look().await;
        assert!(scene.is_ready());
        assert_eq!(age(&scene).as_deref(), Some("0"));
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_is_counted_also_those_that_nobody_looked_at() {
        let scene = Scene::new();
        scene.synced();
        scene.fail();
        scene.look().await;
        let count = |resource| scene.metric("podiam_source_errors_total", resource);
        assert_eq!(count("pods").as_deref(), Some("1"));
        for _ in 0..3 {
            scene.fail();
        }
        scene.synced();
        scene.look().await;
        assert_eq!(count("pods").as_deref(), Some("4"));
        assert_eq!(count("namespaces").as_deref(), Some("0"));
    }
}
