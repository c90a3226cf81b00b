//! Pauses between tries: they double up to what the failure allows, and are jittered, so that the agents of a cluster
//! do not fall upon a restarted API server in step.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(50);

/// Counts the tries that failed in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
    longest: Duration,
}

impl Backoff {
    /// The pause before the next try: between half of the step and the whole, the step at most `longest`. It begins anew
    /// with another kind of failure: a server that has come back but is not ready yet is not punished for its absence.
    pub(super) fn pause(&mut self, longest: Duration) -> Duration {
        if self.longest != longest {
            *self = Self { tries: 0, longest };
        }
        let step = SHORTEST
            .saturating_mul(1 << self.tries.min(16))
            .min(longest);
        self.tries += 1;
        step / 2 + (step / 2).mul_f64(random_fraction())
    }

    /// All is well: the next failure is the first.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }

    /// Whether nothing has failed since the last reset.
    pub(super) fn is_fresh(&self) -> bool {
        self.tries == 0
    }
}

/// Between 0 and 1. The standard library's hasher is seeded at random, which is all that a jitter needs.
fn random_fraction() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or(0);
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_anew_with_another_kind_of_failure() {
        let mut backoff = Backoff::default();
        let fast = Duration::from_millis(500);
        for step in [50, 100, 200, 400, 500, 500] {
            let step = Duration::from_millis(step);
            let pause = backoff.pause(fast);
            assert!(
                pause >= step / 2 && pause <= step,
                "{pause:?} for a step of {step:?}"
            );
        }
        let pause = backoff.pause(Duration::from_secs(5));
        assert!(pause <= SHORTEST, "{pause:?}");
        for _ in 0..100 {
            assert!(backoff.pause(Duration::from_secs(5)) <= Duration::from_secs(5));
        }
        backoff.reset();
        assert!(backoff.is_fresh());
        assert!(backoff.pause(fast) <= SHORTEST);
    }
}
