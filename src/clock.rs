//! The one clock. Everything that asks "what time is it" asks here, so that tests can hold time still or make it jump.
//!
//! Wall-clock time decides whether a credential is still valid (AWS speaks in wall-clock time); waiting is left to
//! `tokio::time`, which tests pause by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// A source of wall-clock time: the system's, or one that a test holds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Held(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still at `now` until [`Clock::advance`] moves it.
    pub fn held_at(now: Timestamp) -> Self {
        Self(Source::Held(Arc::new(AtomicI64::new(now.as_millisecond()))))
    }

    /// The time now, at most a millisecond coarse.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            #[allow(clippy::disallowed_methods, reason = "this is the one place")]
            Source::System => Timestamp::now(),
            Source::Held(milliseconds) => {
                Timestamp::from_millisecond(milliseconds.load(Ordering::SeqCst))
                    .unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Seconds since the Unix epoch.
    pub fn unix_seconds(&self) -> i64 {
        self.now().as_second()
    }

    /// Moves a held clock (also backwards); does nothing to the system's.
    pub fn advance(&self, by: SignedDuration) {
        if let Source::Held(milliseconds) = &self.0 {
            let step = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            milliseconds.fetch_add(step, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_clock_moves_only_when_it_is_told_to() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = Clock::held_at(start);
        let other_handle = clock.clone();
        assert_eq!(clock.now(), start);
        other_handle.advance(SignedDuration::from_secs(90));
        assert_eq!(clock.now(), "2026-01-01T00:01:30Z".parse().unwrap());
        other_handle.advance(SignedDuration::from_secs(-30));
        assert_eq!(clock.unix_seconds(), start.as_second() + 60);
    }
}
