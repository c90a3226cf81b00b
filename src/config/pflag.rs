//! The values that Go's pflag reads and nobody else writes the same way: booleans and durations, as `strconv.ParseBool`
//! and `time.ParseDuration` understand them. Called by [`super::check`] only; how flags and words are paired is left to
//! clap (see [`super::cli`]).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// Reads a boolean as Go does: `1 t T TRUE true True`, `0 f F FALSE false False`, and nothing else.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// A duration as Go has it: signed nanoseconds, about 292 years each way. `Display` writes it as Go does (`15m0s`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GoDuration(i64);

/// Why a text is no Go duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum DurationError {
    #[error("it has no digits where a number is expected")]
    NoNumber,
    #[error("a number has no unit; the units are ns, us, ms, s, m and h, as in `15m` or `1h30m`")]
    NoUnit,
    #[error("it has an unknown unit; the units are ns, us, ms, s, m and h")]
    UnknownUnit,
    #[error("it is longer than 292 years")]
    TooLong,
}

/// The units, each in nanoseconds. Go accepts both code points that look like a micro sign.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
];

const SECOND: u64 = 1_000_000_000;

/// Digits of a fraction that can still matter: a nanosecond is 3.6e12 times smaller than the largest unit.
const FRACTION_DIGITS: usize = 18;

impl GoDuration {
    /// The same as a [`Duration`]; `None` where it is negative.
    pub(crate) fn to_std(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(DurationError::NoNumber);
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let (nanoseconds, remaining) = leading_term(rest)?;
            total = total
                .checked_add(nanoseconds)
                .ok_or(DurationError::TooLong)?;
            rest = remaining;
        }
        i64::try_from(if negative { -total } else { total })
            .map(Self)
            .map_err(|_| DurationError::TooLong)
    }
}

/// Reads `1.5h` off the front: nanoseconds, and what is left.
fn leading_term(text: &str) -> Result<(i128, &str), DurationError> {
    let (whole, rest) = leading_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => leading_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::NoNumber);
    }
    let end = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    if unit.is_empty() {
        return Err(DurationError::NoUnit);
    }
    let &(_, unit) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or(DurationError::UnknownUnit)?;

    let whole = if whole.is_empty() {
        0
    } else {
        whole.parse::<u64>().map_err(|_| DurationError::TooLong)?
    };
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS)];
    let scale = fraction.bytes().fold(1_i128, |scale, _| scale * 10);
    let fraction = fraction
        .bytes()
        .fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    Ok((
        i128::from(whole) * i128::from(unit) + fraction * i128::from(unit) / scale,
        rest,
    ))
}

fn leading_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

impl From<Duration> for GoDuration {
    /// The same, or Go's longest where it is longer than that.
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match nanoseconds {
            0 => return f.write_str("0s"),
            1..1_000 => return write!(f, "{nanoseconds}ns"),
            1_000..1_000_000 => return write_decimal(f, nanoseconds, 1_000, "\u{b5}s"),
            1_000_000..SECOND => return write_decimal(f, nanoseconds, 1_000_000, "ms"),
            _ => {}
        }
        let minutes = nanoseconds / (60 * SECOND);
        if minutes >= 60 {
            write!(f, "{}h", minutes / 60)?;
        }
        if minutes > 0 {
            write!(f, "{}m", minutes % 60)?;
        }
        write_decimal(f, nanoseconds % (60 * SECOND), SECOND, "s")
    }
}

/// Writes `value / unit` with as many decimals as it needs.
fn write_decimal(f: &mut fmt::Formatter<'_>, value: u64, unit: u64, name: &str) -> fmt::Result {
    write!(f, "{}", value / unit)?;
    let fraction = value % unit;
    if fraction > 0 {
        // `unit` is a power of ten: it has as many zeros as the fraction has digits.
        let width = unit.ilog10() as usize;
        let digits = format!("{fraction:0width$}");
        write!(f, ".{}", digits.trim_end_matches('0'))?;
    }
    f.write_str(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nanoseconds(text: &str) -> Result<i64, DurationError> {
        text.parse().map(|GoDuration(nanoseconds)| nanoseconds)
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        const S: i64 = 1_000_000_000;
        for (text, expected) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("15m", 900 * S),
            ("15m0s", 900 * S),
            ("1h", 3_600 * S),
            ("1h30m", 5_400 * S),
            ("1.5h", 5_400 * S),
            ("500ms", S / 2),
            (".5s", S / 2),
            ("5.s", 5 * S),
            ("-2m3.4s", -123_400_000_000),
            ("+5s", 5 * S),
            ("12us", 12_000),
            ("12\u{b5}s", 12_000),
            ("12\u{3bc}s", 12_000),
            ("52763797000ns", 52_763_797_000),
            ("1m1m", 120 * S),
            ("0.9223372036854775807h", 3_320_413_933_267),
            ("1.0000000000000000000000001s", S),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(nanoseconds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_as_a_duration_is_refused_with_its_reason() {
        use DurationError::{NoNumber, NoUnit, TooLong, UnknownUnit};
        for (text, expected) in [
            ("", NoNumber),
            ("-", NoNumber),
            (".", NoNumber),
            (".s", NoNumber),
            ("s", NoNumber),
            ("abc", NoNumber),
            (" 1s", NoNumber),
            ("--1s", NoNumber),
            ("15", NoUnit),
            ("1m30", NoUnit),
            ("1.5", NoUnit),
            ("1d", UnknownUnit),
            ("1 s", UnknownUnit),
            ("1S", UnknownUnit),
            ("1s ", UnknownUnit),
            ("$(TTL)", NoNumber),
            ("3000000h", TooLong),
            ("2562047h47m16.854775808s", TooLong),
            ("9223372036854775808ns", TooLong),
            ("99999999999999999999999999s", TooLong),
        ] {
            assert_eq!(nanoseconds(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (nanoseconds, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (900_000_000_000, "15m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (-1, "-1ns"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(GoDuration(nanoseconds).to_string(), expected);
        }
    }

    #[test]
    fn only_gos_twelve_spellings_are_booleans() {
        for (text, expected) in [
            ("1", Some(true)),
            ("t", Some(true)),
            ("T", Some(true)),
            ("TRUE", Some(true)),
            ("true", Some(true)),
            ("True", Some(true)),
            ("0", Some(false)),
            ("f", Some(false)),
            ("F", Some(false)),
            ("FALSE", Some(false)),
            ("false", Some(false)),
            ("False", Some(false)),
            ("", None),
            ("yes", None),
            ("no", None),
            ("on", None),
            ("tRUE", None),
            (" true", None),
            ("01", None),
        ] {
            assert_eq!(parse_bool(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_negative_duration_has_no_unsigned_form() {
        assert_eq!(GoDuration(-1).to_std(), None);
        assert_eq!(
            GoDuration(1_500).to_std(),
            Some(Duration::from_nanos(1_500))
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_as_the_same(nanoseconds in any::<i64>()) {
            let duration = GoDuration(nanoseconds);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn terms_add_up_in_any_order(h in 0..1000_i64, m in 0..10_000_i64, ms in 0..1_000_000_i64) {
            let expected = ((h * 3_600 + m * 60) * 1_000 + ms) * 1_000_000;
            prop_assert_eq!(nanoseconds(&format!("{h}h{m}m{ms}ms")), Ok(expected));
            prop_assert_eq!(nanoseconds(&format!("{ms}ms{m}m{h}h")), Ok(expected));
            prop_assert_eq!(nanoseconds(&format!("-{m}m{h}h{ms}ms")), Ok(-expected));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,24}") {
            let _ = text.parse::<GoDuration>();
        }

        #[test]
        fn text_of_the_right_letters_does_not_panic_either(text in "[-+0-9.nuµμmsh]{0,40}") {
            let _ = text.parse::<GoDuration>();
        }

        #[test]
        fn a_boolean_is_read_only_from_gos_spellings(text in "[01tTfFrRuUeEaAlLsS]{0,5}") {
            let written = ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];
            prop_assert_eq!(parse_bool(&text).is_some(), written.contains(&text.as_str()));
        }
    }
}
