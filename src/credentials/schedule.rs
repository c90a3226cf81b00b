//! When to ask STS again. Every time is spread by a throw of dice, so that slots that began together part.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// What is left of a session when it is refreshed, at the least: SDKs begin to worry below it.
const FLOOR: Duration = Duration::from_mins(10);

/// With less than this left, a refresh is as urgent as a new pod: it must not starve behind those.
pub(super) const URGENT: Duration = Duration::from_mins(5);

/// No slot asks more often than this, whatever STS answers and whoever wants it.
pub(super) const MINIMUM: Duration = Duration::from_secs(1);

/// The longest wait after a failure that may go away.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// A number from 0 up to 1, not for secrets: the standard library's hasher has random keys.
pub(super) fn dice() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(bits).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
}

/// A share of `span` between `low` and `high`.
fn share(span: Duration, low: f64, high: f64, dice: f64) -> Duration {
    span.mul_f64(low + (high - low) * dice)
}

/// The age at which a session of `life` is refreshed: `wanted`, give or take a tenth; but so early that the floor is
/// left, or half of a life that is too short for that.
pub(super) fn refresh_after(life: Duration, wanted: Duration, dice: f64) -> Duration {
    let latest = life.saturating_sub(FLOOR).max(life / 2);
    share(wanted, 0.9, 1.1, dice)
        .min(share(latest, 0.9, 1.0, dice))
        .max(MINIMUM)
}

/// The wait after the `failures`th failure in a row that may go away: 1-2 s, 2-4 s ... 30-60 s.
pub(super) fn retry_after(failures: u32, dice: f64) -> Duration {
    let doublings = failures.clamp(1, 6);
    let span = Duration::from_secs(1 << doublings).min(LONGEST_RETRY);
    share(span, 0.5, 1.0, dice)
}

/// How long a final refusal is remembered: `configured`, or 5-30 s where nothing is.
pub(super) fn refused_for(configured: Duration, dice: f64) -> Duration {
    if configured.is_zero() {
        share(Duration::from_secs(30), 1.0 / 6.0, 1.0, dice)
    } else {
        configured.max(MINIMUM)
    }
}

/// The wait after a final refusal while the last session is still valid: no pod is waiting for it.
pub(super) fn refused_refresh_after(dice: f64) -> Duration {
    share(Duration::from_mins(5), 0.2, 1.0, dice)
}

/// The time between two tries of the node for pods that ask while STS is down: 2-4 s.
pub(super) fn probe_after(dice: f64) -> Duration {
    share(Duration::from_secs(4), 0.5, 1.0, dice)
}

/// The wait after which a slot goes back to an STS that has come back: within a second.
pub(super) fn return_after(dice: f64) -> Duration {
    share(Duration::from_secs(1), 0.0, 1.0, dice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DICE: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 0.999_999];

    #[test]
    fn an_hour_is_refreshed_at_half_its_life_give_or_take_a_tenth() {
        let life = Duration::from_hours(1);
        for dice in DICE {
            let age = refresh_after(life, life / 2, dice);
            assert!((Duration::from_mins(27)..=Duration::from_mins(33)).contains(&age));
        }
        assert_ne!(
            refresh_after(life, life / 2, 0.1),
            refresh_after(life, life / 2, 0.9)
        );
    }

    #[test]
    fn ten_minutes_are_left_however_late_the_operator_wants_the_refresh() {
        let life = Duration::from_hours(1);
        for dice in DICE {
            let age = refresh_after(life, Duration::from_hours(5), dice);
            assert!(age <= Duration::from_mins(50), "{age:?}");
            assert!(age >= Duration::from_mins(45), "{age:?}");
        }
    }

    #[test]
    fn a_short_life_is_refreshed_by_its_half_and_never_in_a_tight_loop() {
        for dice in DICE {
            let age = refresh_after(Duration::from_mins(15), Duration::from_mins(30), dice);
            assert!(age <= Duration::from_secs(450), "{age:?}");
            let age = refresh_after(Duration::from_millis(3), Duration::from_mins(30), dice);
            assert_eq!(age, MINIMUM);
        }
    }

    #[test]
    fn retries_wait_from_one_second_up_to_one_minute() {
        for dice in DICE {
            let mut last = Duration::ZERO;
            for failures in 1..100 {
                let wait = retry_after(failures, dice);
                assert!((MINIMUM..=LONGEST_RETRY).contains(&wait), "{wait:?}");
                assert!(wait >= last, "never shorter than before");
                last = wait;
            }
            assert!(last >= LONGEST_RETRY / 2);
        }
    }

    #[test]
    fn a_refusal_is_remembered_as_configured_or_five_to_thirty_seconds() {
        for dice in DICE {
            let minute = Duration::from_mins(1);
            assert_eq!(refused_for(minute, dice), minute);
            let span = Duration::from_secs(5)..=Duration::from_secs(30);
            assert!(span.contains(&refused_for(Duration::ZERO, dice)));
        }
    }

    #[test]
    fn the_dice_fall_all_over_the_range() {
        let mut tenths = [false; 10];
        for _ in 0..1000 {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let tenth = (dice() * 10.0) as usize;
            tenths[tenth] = true;
        }
        assert_eq!(tenths, [true; 10]);
    }
}
