//! Whatever happens, in whatever order: nothing that is served is expired, belongs to another grant, or ends before
//! what was served before.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

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
        2 => mode().prop_map(Step::Sts),
        3 => (1_u64..3000).prop_map(Step::Pass),
        1 => (-7200_i64..7200).prop_map(Step::Jump),
        4 => (0_usize..4, 1_usize..4).prop_map(|(grant, callers)| Step::Ask(grant, callers)),
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
    let Ok(body) = outcome else { return Ok(()) };
    let body = read(&body);
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
    let bench = Bench::new(ONE_HOUR);
    let grants = grants();
    bench.credentials.set_wanted(grants.iter().take(2).cloned());
    let mut served = HashMap::new();
    for step in steps {
        match step {
            Step::Sts(mode) => bench.sts.set(mode),
            Step::Pass(seconds) => bench.pass_coarsely(Duration::from_secs(seconds)).await,
            Step::Jump(seconds) => bench.clock.advance(SignedDuration::from_secs(seconds)),
            Step::Ask(number, callers) => {
                let grant = &grants[number];
                let start = Instant::now();
                let asked = futures::future::join_all((0..callers).map(|_| bench.obtain(grant)));
                for outcome in asked.await {
                    check(outcome, grant, &bench.clock, &mut served)?;
                }
                prop_assert!(start.elapsed() <= PATIENCE);
            }
        }
        for grant in &grants {
            let body = bench.credentials.get(grant).ok_or(Reason::UnknownPod);
            check(body, grant, &bench.clock, &mut served)?;
        }
    }
    Ok(())
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
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_served_is_expired_or_anothers_or_ends_before_what_was_served_before(
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
