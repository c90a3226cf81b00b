//! What the runtime is worth: how long before the API it tells an address, for the metrics.

use std::collections::HashMap;
use std::net::IpAddr;

use tokio::time::Instant;

use super::Sandboxes;
use crate::index::Snapshot;
use crate::metrics::Metrics;
use crate::workload::PodUid;

/// When the runtime told each address.
pub(super) struct Lead<'a> {
    metrics: &'a Metrics,
    /// `None`: the API has shown it, too.
    told: HashMap<(PodUid, IpAddr), Option<Instant>>,
    /// What is in the first list was there before us.
    first: bool,
}

impl<'a> Lead<'a> {
    pub(super) fn new(metrics: &'a Metrics) -> Self {
        Self {
            metrics,
            told: HashMap::new(),
            first: true,
        }
    }

    /// The runtime has told these.
    pub(super) fn told<G>(&mut self, sandboxes: &Sandboxes, pods: &Snapshot<G>) {
        let now = Instant::now();
        self.told.retain(|(uid, address), _| {
            sandboxes.get(uid).is_some_and(|all| all.contains(address))
        });
        for (uid, addresses) in sandboxes {
            for address in addresses {
                let key = (uid.clone(), *address);
                if self.told.contains_key(&key) {
                    continue;
                }
                let known = self.first || shows(pods, uid, *address);
                if known && !self.first {
                    self.metrics.sources.api_was_first();
                }
                self.told.insert(key, (!known).then_some(now));
            }
        }
        self.first = false;
    }

    /// The API shows these pods.
    pub(super) fn shown<G>(&mut self, pods: &Snapshot<G>) {
        for ((uid, address), told) in &mut self.told {
            if told.is_some() && shows(pods, uid, *address) {
                let lead = told.take().map(|told| told.elapsed()).unwrap_or_default();
                self.metrics.sources.runtime_was_first(lead);
                tracing::debug!(
                    pod.uid = %uid,
                    %address,
                    lead_ms = u64::try_from(lead.as_millis()).unwrap_or(u64::MAX),
                    "the runtime told the address before the API",
                );
            }
        }
    }
}

fn shows<G>(pods: &Snapshot<G>, uid: &PodUid, address: IpAddr) -> bool {
    let address = address.to_canonical();
    pods.pod(uid).is_some_and(|entry| {
        let mut shown = entry.workload.addresses.iter();
        shown.any(|own| own.to_canonical() == address)
    })
}
