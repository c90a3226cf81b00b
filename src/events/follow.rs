//! Tells of each decision against a pod when it is made: once for each thing that the pod is refused for, or would be.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::sleep;

use super::Events;
use crate::index::{Entry, Reader};
use crate::reason::Reason;
use crate::workload::PodUid;

/// Until what was one too many is told again.
const AGAIN: Duration = Duration::from_secs(10);

/// What a pod was told: the refusal, and what audit mode overlooked.
#[derive(PartialEq, Eq)]
struct Told(Option<Reason>, Vec<Reason>);

/// Follows the pods until their source is gone.
pub async fn follow<G>(pods: Reader<G>, events: Events) {
    let mut generations = pods.generations();
    let mut told: HashMap<PodUid, Told> = HashMap::new();
    loop {
        let snapshot = pods.snapshot();
        told.retain(|uid, _| snapshot.pod(uid).is_some());
        let mut all_told = true;
        for entry in snapshot.pods().filter(|entry| entry.workload.is_live()) {
            let uid = &entry.workload.uid;
            let news = Told(
                entry.decision.as_ref().err().cloned(),
                entry.basis.overlooked.clone(),
            );
            if told.get(uid) == Some(&news) {
                continue;
            }
            if tell(&events, entry) {
                told.insert(uid.clone(), news);
            } else {
                all_told = false;
            }
        }
        let changed = tokio::select! {
            changed = generations.changed() => changed,
            () = sleep(AGAIN), if !all_told => Ok(()),
        };
        if changed.is_err() {
            return;
        }
    }
}

fn tell<G>(events: &Events, entry: &Entry<G>) -> bool {
    let pod = &entry.workload;
    let refused = entry.decision.as_ref().err();
    refused.is_none_or(|reason| events.refused(pod, reason))
        && entry
            .basis
            .overlooked
            .iter()
            .all(|reason| events.audited(pod, reason))
}
