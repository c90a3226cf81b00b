//! Moments by two clocks. AWS speaks in wall-clock time, and the wall clock jumps: it is set, or the machine sleeps.
//! The monotonic clock does not jump, and does not count sleep. A moment has come when either clock says so, which is
//! the safe side for an expiry and the early side for everything else.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::clock::Clock;

/// Now, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    wall: Timestamp,
    monotonic: Instant,
}

/// A moment ahead, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    wall: Timestamp,
    monotonic: Instant,
}

impl Now {
    pub(super) fn of(clock: &Clock) -> Self {
        Self {
            wall: clock.now(),
            monotonic: Instant::now(),
        }
    }

    /// The time until `wall` by the wall clock; zero when it has passed.
    pub(super) fn until(&self, wall: Timestamp) -> Duration {
        Duration::try_from(wall.duration_since(self.wall)).unwrap_or_default()
    }

    /// The moment that comes after `wait`.
    pub(super) fn after(&self, wait: Duration) -> Moment {
        Moment {
            wall: self.wall.saturating_add(wait).unwrap_or(Timestamp::MAX),
            monotonic: self.monotonic + wait,
        }
    }

    /// The moment at which the wall clock should show `wall`.
    pub(super) fn when(&self, wall: Timestamp) -> Moment {
        Moment {
            wall,
            monotonic: self.monotonic + self.until(wall),
        }
    }
}

impl Moment {
    pub(super) fn has_come(&self, now: Now) -> bool {
        now.wall >= self.wall || now.monotonic >= self.monotonic
    }

    pub(super) fn wall(&self) -> Timestamp {
        self.wall
    }

    pub(super) fn monotonic(&self) -> Instant {
        self.monotonic
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn clock() -> Clock {
        Clock::held_at("2026-01-01T00:00:00Z".parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_comes_by_whichever_clock_is_first() {
        let clock = clock();
        let moment = Now::of(&clock).after(Duration::from_mins(1));
        assert!(!moment.has_come(Now::of(&clock)));

        clock.advance(SignedDuration::from_mins(1));
        assert!(moment.has_come(Now::of(&clock)), "the wall clock jumped");

        clock.advance(SignedDuration::from_mins(-30));
        assert!(!moment.has_come(Now::of(&clock)), "and back");

        tokio::time::advance(Duration::from_mins(1)).await;
        assert!(moment.has_come(Now::of(&clock)), "a minute went by");
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_has_passed_is_a_moment_that_has_come() {
        let clock = clock();
        let now = Now::of(&clock);
        let past = "2025-12-31T23:00:00Z".parse().unwrap();
        assert_eq!(now.until(past), Duration::ZERO);
        assert!(now.when(past).has_come(now));
    }
}
