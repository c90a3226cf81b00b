//! How many Events may be told: a token bucket for each pod, and one for the node. client-go has the same two limits
//! for each object; ours begin lower, because every pod of a cluster may be refused at once.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::workload::PodUid;

/// What a pod may have at once, and after which time once more (as client-go's `EventSpamFilter`).
const POD: Rate = Rate {
    burst: 5,
    every: Duration::from_mins(5),
};

/// The same of the node: a mass refusal of the largest node is told within four minutes.
const NODE: Rate = Rate {
    burst: 25,
    every: Duration::from_secs(1),
};

/// Pods that are remembered at once. Only those are that have told something within 25 minutes.
const PODS: usize = 1024;

struct Rate {
    burst: u32,
    every: Duration,
}

/// A token bucket, told by the time at which it is full again.
#[derive(Clone, Copy)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// The bucket with one token less; `None` where it has none.
    fn taken(self, rate: &Rate, now: Instant) -> Option<Self> {
        let full_at = self.full_at.max(now) + rate.every;
        (full_at - now <= rate.every * rate.burst).then_some(Self { full_at })
    }
}

/// All buckets.
#[derive(Default)]
pub(super) struct Rates {
    node: Option<Bucket>,
    pods: HashMap<PodUid, Bucket>,
}

impl Rates {
    /// Takes a token of the pod and one of the node, or none at all.
    pub(super) fn admit(&mut self, pod: &PodUid, now: Instant) -> bool {
        let full = Bucket { full_at: now };
        let known = self.pods.get(pod).copied();
        if known.is_none() && self.pods.len() >= PODS {
            self.pods.retain(|_, bucket| bucket.full_at > now);
            if self.pods.len() >= PODS {
                return false;
            }
        }
        let own = known.unwrap_or(full).taken(&POD, now);
        let all = self.node.unwrap_or(full).taken(&NODE, now);
        let (Some(own), Some(all)) = (own, all) else {
            return false;
        };
        self.pods.insert(pod.clone(), own);
        self.node = Some(all);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: usize) -> PodUid {
        PodUid::new(&number.to_string())
    }

    #[test]
    fn a_pod_has_a_burst_and_then_one_every_five_minutes_and_takes_nothing_of_another() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let told =
            |rates: &mut Rates, pod, now| (0..100).filter(|_| rates.admit(&uid(pod), now)).count();
        assert_eq!(told(&mut rates, 1, start), 5);
        assert_eq!(told(&mut rates, 1, start + Duration::from_secs(299)), 0);
        assert_eq!(told(&mut rates, 1, start + Duration::from_mins(5)), 1);
        assert_eq!(told(&mut rates, 2, start + Duration::from_mins(5)), 5);
        assert_eq!(told(&mut rates, 1, start + Duration::from_hours(24)), 5);
    }

    #[test]
    fn all_pods_of_the_node_together_have_a_burst_and_then_one_a_second() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let told =
            |rates: &mut Rates, now| (0..250).filter(|pod| rates.admit(&uid(*pod), now)).count();
        assert_eq!(told(&mut rates, start), 25);
        assert_eq!(told(&mut rates, start), 0);
        let mut all = 25;
        for second in 1..=225 {
            all += told(&mut rates, start + Duration::from_secs(second));
        }
        assert_eq!(all, 250, "each second one more");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_when_it_no_longer_matters() {
        let (mut rates, mut now) = (Rates::default(), Instant::now());
        for pod in 0..PODS * 4 {
            assert!(rates.admit(&uid(pod), now), "pod {pod}");
            now += NODE.every;
        }
        assert!(rates.pods.len() <= PODS);
    }
}
