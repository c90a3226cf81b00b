//! Whatever happens, in whatever order: nothing that is served is expired, belongs to another grant, or ends before what
//! was served before; nobody waits longer than a client does; and STS is asked no oftener than the model allows.

use std::collections::HashMap;

use proptest::prelude::*;

use super::model::{Journal, What};
use super::*;

/// The budget under test.
const LIMITS: Limits = Limits {
    rate: 5.0,
    concurrency: 2,
};

#[derive(Clone, Debug)]
enum Step {
    /// STS behaves so from now on.
    Sts(Mode),
    /// Time passes, seconds.
    Pass(u64),
    /// The wall clock is set, seconds.
    Jump(i64),
    /// A pod asks for the grant of this number, so many at once.
    Ask(usize, usize),
    /// Pods need the grants of these bits.
    Want(u8),
    /// A pod with the grant of this number changes.
    Change(usize),
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        4 => (1_u64..7200).prop_map(|life| Mode::Succeed(Duration::from_secs(life))),
        1 => Just(Mode::Succeed(Duration::ZERO)),
        1 => Just(Mode::Fail(Kind::Final)),
        1 => Just(Mode::Fail(Kind::Transient)),
        1 => Just(Mode::Fail(Kind::Throttled)),
        1 => Just(Mode::Hang),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => mode().prop_map(Step::Sts),
        4 => (1_u64..3000).prop_map(Step::Pass),
        2 => (1_u64..10).prop_map(Step::Pass),
        1 => (-7200_i64..7200).prop_map(Step::Jump),
        6 => (0_usize..4, 1_usize..4).prop_map(|(grant, callers)| Step::Ask(grant, callers)),
        1 => any::<u8>().prop_map(Step::Want),
        2 => (0_usize..4).prop_map(Step::Change),
    ]
}

fn grants() -> [Arc<Grant>; 4] {
    [
        grant("web", None),
        grant("web", Some("one")),
        grant("web", Some("two")),
        grant("job", None),
    ]
}

/// Checks one answer against everything that was served before.
fn check(
    outcome: Result<Arc<Issued>, Reason>,
    grant: &Arc<Grant>,
    clock: &Clock,
    served: &mut HashMap<Arc<Grant>, Timestamp>,
) -> Result<(), TestCaseError> {
    let issued = match outcome {
        Ok(issued) => issued,
        Err(Reason::StsRefused) => return Ok(()),
        Err(reason) => {
            prop_assert_eq!(reason.status(), 503);
            return Ok(());
        }
    };
    let body = read(&issued);
    let expires: Timestamp = body["Expiration"].as_str().unwrap().parse().unwrap();
    prop_assert!(expires > clock.now(), "expired at {expires}");
    prop_assert_eq!(
        body["SecretAccessKey"].as_str().unwrap(),
        FakeSts::secret_of(grant)
    );
    let last = served.entry(Arc::clone(grant)).or_insert(expires);
    prop_assert!(expires >= *last, "{expires} after {last}");
    *last = expires;
    Ok(())
}

async fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let bench = Bench::limited(ONE_HOUR, LIMITS);
    let grants = grants();
    bench.credentials.set_wanted(grants.iter().take(2).cloned());
    let mut served = HashMap::new();
    let mut journal = Journal::default();
    for step in steps {
        match step {
            Step::Sts(mode) => bench.sts.set(mode),
            Step::Pass(seconds) => bench.pass_coarsely(Duration::from_secs(seconds)).await,
            Step::Jump(seconds) => {
                bench.clock.advance(SignedDuration::from_secs(seconds));
                journal.note(What::Jump);
            }
            Step::Ask(number, callers) => {
                let grant = &grants[number];
                let start = Instant::now();
                let asked = futures::future::join_all((0..callers).map(|_| bench.obtain(grant)));
                for outcome in asked.await {
                    check(outcome, grant, &bench.clock, &mut served)?;
                }
                prop_assert!(start.elapsed() <= PATIENCE);
            }
            Step::Want(bits) => {
                let (wanted, retired): (Vec<_>, Vec<_>) = (0..)
                    .zip(&grants)
                    .partition(|(number, _)| bits & (1 << number) != 0);
                let wanted = wanted.into_iter().map(|(_, grant)| Arc::clone(grant));
                bench.credentials.set_wanted(wanted);
                for (_, grant) in retired {
                    // The pods that knew what was served before are gone.
                    served.remove(grant);
                    journal.note(What::Retired(Arc::clone(grant)));
                }
                // Aborted calls end when their tasks are next looked at.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Step::Change(number) => {
                bench.credentials.reconsider([&grants[number]]);
                journal.note(What::Changed(Arc::clone(&grants[number])));
            }
        }
        for grant in &grants {
            let valid = bench.credentials.get(grant).ok_or(Reason::UnknownPod);
            check(valid, grant, &bench.clock, &mut served)?;
        }
    }
    let sessions = bench.counts.sessions.lock().unwrap().clone();
    journal.check(&bench.sts.records(), &sessions, LIMITS)
}

impl Bench {
    async fn pass_coarsely(&self, time: Duration) {
        let step = Duration::from_secs(5);
        let mut left = time;
        while !left.is_zero() {
            let step = step.min(left);
            self.clock.advance(SignedDuration::try_from(step).unwrap());
            tokio::time::sleep(step).await;
            left -= step;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_is_served_is_right_in_time_and_asked_for_no_oftener_than_the_model_allows(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(steps))?;
    }
}
