//! Judges how much of the agent one pod may use.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use crate::config::Limits;
use crate::config::check::Check;
use crate::config::flags::LimitFlags;

/// More than a process can have files.
const MOST: u32 = 1_000_000;

impl LimitFlags {
    pub(super) fn judge(self, check: &mut Check) -> Limits {
        let Self {
            max_connections,
            max_connections_per_pod,
            max_requests_per_pod,
            max_in_flight_per_pod,
        } = self;
        Limits {
            connections: number(check, "max-connections", &max_connections, 16..=MOST),
            connections_per_pod: number(
                check,
                "max-connections-per-pod",
                &max_connections_per_pod,
                1..=MOST,
            ),
            requests_per_pod: NonZeroU32::new(number(
                check,
                "max-requests-per-pod",
                &max_requests_per_pod,
                0..=MOST,
            )),
            in_flight_per_pod: number(
                check,
                "max-in-flight-per-pod",
                &max_in_flight_per_pod,
                1..=MOST,
            ),
        }
    }
}

/// The least of `range` stands in for what is wrong.
fn number<T: TryFrom<u32> + Default>(
    check: &mut Check,
    flag: &'static str,
    text: &str,
    range: RangeInclusive<u32>,
) -> T {
    let parsed = check.parse(flag, text, |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("write a number from {} to {}", range.start(), range.end()))
    });
    T::try_from(parsed.unwrap_or(*range.start())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[test]
    fn limits_have_defaults_and_only_the_rate_can_be_switched_off() {
        let limits = config(&[]).limits;
        assert_eq!(
            (
                limits.connections,
                limits.connections_per_pod,
                limits.requests_per_pod.map(u32::from),
                limits.in_flight_per_pod
            ),
            (2048, 512, Some(2000), 512)
        );
        assert_eq!(
            config(&["--max-requests-per-pod=0"])
                .limits
                .requests_per_pod,
            None
        );
        for (words, right) in [
            ("--max-connections=15", "16 to 1000000"),
            ("--max-connections-per-pod=0", "1 to 1000000"),
            ("--max-requests-per-pod=-1", "0 to 1000000"),
            ("--max-in-flight-per-pod=many", "1 to 1000000"),
        ] {
            let (flag, value) = words.split_once('=').unwrap();
            assert_one_problem(&[words], &format!("{flag}=\"{value}\": "), right);
        }
    }
}
