//! `clock-skew`: this clock agrees with others', by the `Date` of their answers.

use jiff::{SignedDuration, Timestamp, fmt::rfc2822};

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;

const CHECK: Check = Check::ClockSkew;
/// AWS refuses signatures that are further off.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>
const REFUSED: SignedDuration = SignedDuration::from_mins(5);
/// Further off than any slow answer explains.
const OFF: SignedDuration = SignedDuration::from_secs(30);

/// What time somebody said it was, and what time it was here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Told {
    there: Timestamp,
    here: Timestamp,
}

impl Told {
    /// Reads a `Date` header; `None` where it is not one.
    pub(in crate::doctor) fn parse(date: &str, here: Timestamp) -> Option<Self> {
        let there = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
        Some(Self { there, here })
    }

    /// How far this clock is ahead, in whole seconds as `Date` has them.
    fn ahead(self) -> SignedDuration {
        SignedDuration::from_secs(self.here.duration_since(self.there).as_secs())
    }
}

/// What each of them said; the error says why one said nothing.
pub(in crate::doctor) fn judge(told: &[(&str, Result<Told, String>)]) -> Finding {
    let mut lines = Vec::new();
    let mut worst = None;
    for (who, told) in told {
        match told {
            Ok(told) => {
                let ahead = told.ahead();
                let (seconds, way) = (ahead.abs().as_secs(), ahead.is_negative());
                let way = if way { "behind" } else { "ahead of" };
                lines.push(format!("{seconds} s {way} {who}"));
                worst = worst.max(Some(ahead.abs()));
            }
            Err(why) => lines.push(format!("{who} does not tell: {why}")),
        }
    }
    let sum = lines.join("; ");
    let fix = "let chrony or ntpd set the clock: 169.254.169.123 is Amazon's time service on every instance";
    match worst {
        None => Finding::cannot_tell(CHECK, sum, "see sts-endpoint"),
        Some(worst) if worst >= REFUSED => Finding::wrong(CHECK, sum, fix),
        Some(worst) if worst >= OFF => Finding::warning(CHECK, sum, fix),
        Some(_) => Finding::ok(CHECK, sum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn five_minutes_off_are_wrong_in_both_directions_and_half_a_minute_is_worth_a_word() {
        for (here, verdict, words) in [
            ("2026-01-01T00:00:02Z", Verdict::Ok, "2 s ahead of STS"),
            (
                "2026-01-01T00:00:30Z",
                Verdict::Warning,
                "30 s ahead of STS",
            ),
            ("2026-01-01T00:05:00Z", Verdict::Wrong, "300 s ahead of STS"),
            ("2025-12-31T23:54:59Z", Verdict::Wrong, "301 s behind STS"),
        ] {
            let told = Told::parse("Thu, 01 Jan 2026 00:00:00 GMT", here.parse().unwrap());
            let finding = judge(&[
                ("STS", Ok(told.unwrap())),
                ("the API server", Err("no cluster".into())),
            ]);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.evidence[0].contains(words), "{finding:?}");
        }
        assert_eq!(
            judge(&[("STS", Err("down".into()))]).verdict,
            Verdict::CannotTell
        );
        assert_eq!(Told::parse("yesterday", Timestamp::UNIX_EPOCH), None);
    }
}
