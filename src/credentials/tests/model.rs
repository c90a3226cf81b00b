//! How often STS may be asked: the rules of the schedule, said once more and otherwise.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::sts::fake::Record;

/// What may bring a call forward, with its time.
#[derive(Default)]
pub(super) struct Journal(Vec<(Instant, What)>);

pub(super) enum What {
    /// The wall clock was set.
    Jump,
    /// The last pod that needed this went.
    Retired(Arc<Grant>),
    /// A pod with this was changed.
    Changed(Arc<Grant>),
}

/// How far the tests' two clocks are apart while time passes in coarse steps.
const SKEW: Duration = Duration::from_secs(6);

impl Journal {
    pub(super) fn note(&mut self, what: What) {
        self.0.push((Instant::now(), what));
    }

    fn has(&self, since: Instant, until: Instant, is_it: impl Fn(&What) -> bool) -> bool {
        let mut between = self.0.iter().filter(|(at, _)| (since..=until).contains(at));
        between.any(|(_, what)| is_it(what))
    }

    /// Holds every call against the model. `sessions` are those that the engine has taken.
    pub(super) fn check(
        &self,
        calls: &[Record],
        sessions: &[(Grant, String)],
        limits: Limits,
    ) -> Result<(), TestCaseError> {
        for (number, call) in calls.iter().enumerate() {
            let later = &calls[number + 1..];
            let Some(next) = later.iter().find(|next| next.grant == call.grant) else {
                continue;
            };
            let between = |is_it: &dyn Fn(&What) -> bool| self.has(call.begun, next.begun, is_it);
            let is_retired = |what: &What| matches!(what, What::Retired(it) if **it == call.grant);
            if between(&is_retired) {
                continue;
            }
            let Some(ended) = call.ended.filter(|ended| *ended <= next.begun) else {
                return Err(TestCaseError::fail(format!(
                    "two at once: {call:?}, {next:?}"
                )));
            };
            let is_jump = |what: &What| matches!(what, What::Jump);
            let is_changed = |what: &What| matches!(what, What::Changed(it) if **it == call.grant);
            let key = (call.grant.clone(), FakeSts::key_id(number));
            let taken = sessions.contains(&key);
            let least = match call.answer {
                _ if between(&is_jump) => Duration::from_secs(1),
                Some(Mode::Succeed(life)) if taken => {
                    let latest = (life / 2).max(life.saturating_sub(Duration::from_mins(10)));
                    (HOUR / 2).min(latest).mul_f64(0.9).saturating_sub(SKEW)
                }
                Some(Mode::Fail(Kind::Final)) if !between(&is_changed) => Duration::from_secs(5),
                _ => Duration::from_secs(1),
            };
            let gap = next.begun - ended;
            prop_assert!(gap >= least, "{gap:?} after {call:?}, at least {least:?}");
        }
        check_budget(calls, limits)
    }
}

fn check_budget(calls: &[Record], limits: Limits) -> Result<(), TestCaseError> {
    for (number, call) in calls.iter().enumerate() {
        let running = calls[..number]
            .iter()
            .filter(|other| other.ended.is_none_or(|ended| ended > call.begun))
            .count();
        prop_assert!(running < limits.concurrency, "{running} beside {call:?}");
        let second = calls[..number]
            .iter()
            .filter(|other| call.begun - other.begun < Duration::from_secs(1))
            .count();
        #[allow(clippy::cast_precision_loss, reason = "a few at most")]
        let second = second as f64;
        prop_assert!(second < 2.0 * limits.rate, "{second} calls in a second");
    }
    Ok(())
}
