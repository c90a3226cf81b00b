use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use podiam_iam::{ExternalId, RoleArn, SessionName};
use prometheus::IntCounter;

use super::*;
use crate::authorize::Attributes;
use crate::sts::Kind;
use crate::sts::fake::{FakeSts, Mode};

mod budget;
mod clock;
mod model;
mod outage;
mod pods;
mod random;
mod refusal;

const HOUR: Duration = Duration::from_hours(1);
const ALMOST_AN_HOUR: Duration = Duration::from_secs(3599);
const ONE_HOUR: Mode = Mode::Succeed(HOUR);

/// The time that a pod's request waits.
const PATIENCE: Duration = Duration::from_millis(400);

/// Counts what the engine reports.
struct Counts {
    hits: IntCounter,
    /// Counters of hits that were asked for.
    handles: AtomicUsize,
    /// The priorities of the calls that ended.
    calls: Mutex<Vec<Priority>>,
    /// The sessions that were obtained.
    sessions: Mutex<Vec<(Grant, String)>>,
    /// Requests refused from memory.
    refused: AtomicUsize,
    /// For each request that waited in vain, whether its call was still in the queue.
    expired: Mutex<Vec<bool>>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            hits: IntCounter::new("hits", "of all roles").unwrap(),
            handles: AtomicUsize::default(),
            calls: Mutex::default(),
            sessions: Mutex::default(),
            refused: AtomicUsize::default(),
            expired: Mutex::default(),
        }
    }
}

impl Observer for Counts {
    fn call_finished(&self, call: &Call<'_>) {
        self.calls.lock().unwrap().push(call.priority);
    }

    fn cache_hits(&self, _role: &RoleArn) -> IntCounter {
        self.handles.fetch_add(1, Ordering::Relaxed);
        self.hits.clone()
    }

    fn session_obtained(&self, grant: &Grant, issued: &Issued) {
        let session = (grant.clone(), issued.access_key_id.clone());
        self.sessions.lock().unwrap().push(session);
    }

    fn refused_from_memory(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn request_expired(&self, queued: bool) {
        self.expired.lock().unwrap().push(queued);
    }
}

/// The engine under a paused `tokio` clock and a held wall clock.
struct Bench {
    clock: Clock,
    sts: FakeSts,
    counts: Arc<Counts>,
    credentials: Credentials,
}

impl Bench {
    fn new(mode: Mode) -> Self {
        Self::limited(
            mode,
            Limits {
                rate: 0.0,
                concurrency: 8,
            },
        )
    }

    fn limited(mode: Mode, limits: Limits) -> Self {
        let clock = Clock::held_at("2026-01-01T00:00:00Z".parse().unwrap());
        let sts = FakeSts::new(clock.clone(), mode);
        let terms = Terms {
            refresh_age: HOUR / 2,
            error_ttl: Duration::ZERO,
        };
        let counts = Arc::<Counts>::default();
        let credentials = Credentials::new(
            Arc::new(sts.clone()),
            clock.clone(),
            terms,
            limits,
            Arc::clone(&counts) as _,
            Handle::current(),
        );
        Self {
            clock,
            sts,
            counts,
            credentials,
        }
    }

    async fn obtain(&self, grant: &Arc<Grant>) -> Result<Arc<Issued>, Reason> {
        let deadline = Instant::now() + PATIENCE;
        self.credentials.obtain(grant, deadline).await
    }

    /// Lets time pass by both clocks, in steps that are small beside every wait of the engine.
    async fn pass(&self, time: Duration) {
        let step = Duration::from_millis(250);
        let mut left = time;
        while !left.is_zero() {
            let step = step.min(left);
            self.clock.advance(SignedDuration::try_from(step).unwrap());
            tokio::time::sleep(step).await;
            left -= step;
        }
    }
}

fn grant(name: &str, external_id: Option<&str>) -> Arc<Grant> {
    Arc::new(Grant {
        role: RoleArn::parse(&format!("arn:aws:iam::123456789012:role/{name}")).unwrap(),
        external_id: external_id.map(|id| ExternalId::parse(id).unwrap()),
        session_name: SessionName::parse("session").unwrap(),
        duration: HOUR,
        attributes: Attributes::default(),
    })
}

fn read(issued: &Issued) -> serde_json::Value {
    serde_json::from_slice(&issued.body()).unwrap()
}

fn key_of(issued: &Issued) -> String {
    let key = read(issued)["AccessKeyId"].as_str().unwrap().to_owned();
    assert_eq!(key, issued.access_key_id);
    key
}

#[tokio::test(start_paused = true)]
async fn five_hundred_callers_of_one_grant_make_one_call() {
    let bench = Bench::new(Mode::Hang);
    let web = grant("web", None);
    let callers: Vec<_> = (0..500)
        .map(|_| {
            let (credentials, web) = (bench.credentials.clone(), Arc::clone(&web));
            tokio::spawn(async move { credentials.obtain(&web, Instant::now() + PATIENCE).await })
        })
        .collect();
    bench.sts.called(1).await;
    bench.sts.set(ONE_HOUR);
    for caller in callers {
        assert_eq!(key_of(&caller.await.unwrap().unwrap()), "ASIA1");
    }
    assert_eq!(bench.sts.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_hangs_up_does_not_cancel_the_call_for_those_who_wait() {
    let bench = Bench::new(Mode::Hang);
    let web = grant("web", None);
    let first = tokio::spawn({
        let (credentials, web) = (bench.credentials.clone(), Arc::clone(&web));
        async move { credentials.obtain(&web, Instant::now() + PATIENCE).await }
    });
    bench.sts.called(1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let (second, ()) = tokio::join!(bench.obtain(&web), async { bench.sts.set(ONE_HOUR) });
    assert_eq!(key_of(&second.unwrap()), "ASIA1");
    assert_eq!(bench.sts.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_answered_from_memory_are_counted_by_a_handle_that_is_asked_for_once() {
    let bench = Bench::new(ONE_HOUR);
    let web = grant("web", None);
    bench.obtain(&web).await.unwrap();
    assert_eq!(bench.counts.hits.get(), 0, "the first one waited for STS");
    for _ in 0..1000 {
        assert!(bench.credentials.get(&web).is_some());
    }
    assert_eq!(bench.counts.hits.get(), 1000);
    assert_eq!(bench.counts.handles.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wanted_grant_is_there_before_anybody_asks() {
    let bench = Bench::new(ONE_HOUR);
    let web = grant("web", None);
    assert!(bench.credentials.get(&web).is_none());
    bench
        .credentials
        .set_wanted([Arc::clone(&web), Arc::clone(&web)]);
    bench.pass(Duration::from_secs(1)).await;
    assert!(bench.credentials.get(&web).is_some());
    assert_eq!(bench.sts.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_needs_any_more_is_neither_kept_nor_refreshed() {
    let bench = Bench::new(ONE_HOUR);
    let (web, job) = (grant("web", None), grant("job", None));
    bench
        .credentials
        .set_wanted([Arc::clone(&web), Arc::clone(&job)]);
    bench.pass(Duration::from_secs(1)).await;
    bench.credentials.set_wanted([Arc::clone(&job)]);
    assert!(bench.credentials.get(&web).is_none());
    assert!(bench.credentials.get(&job).is_some());
    bench.pass(HOUR * 2).await;
    let calls = bench.sts.calls();
    assert_eq!(calls.iter().filter(|call| **call == *web).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_grant_that_is_dropped_meanwhile_is_answered_all_the_same() {
    let bench = Bench::new(Mode::Hang);
    let web = grant("web", None);
    let (body, ()) = tokio::join!(bench.obtain(&web), async {
        bench.sts.called(1).await;
        bench.credentials.set_wanted([]);
        bench.sts.set(ONE_HOUR);
    });
    assert_eq!(key_of(&body.unwrap()), "ASIA1");
}

#[tokio::test(start_paused = true)]
async fn two_external_ids_of_one_role_never_share() {
    let bench = Bench::new(ONE_HOUR);
    let grants = [
        grant("web", None),
        grant("web", Some("one")),
        grant("web", Some("two")),
    ];
    for grant in &grants {
        let body = bench.obtain(grant).await.unwrap();
        assert_eq!(read(&body)["SecretAccessKey"], FakeSts::secret_of(grant));
    }
    assert_eq!(bench.sts.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_refreshed_at_about_half_of_its_life() {
    let bench = Bench::new(ONE_HOUR);
    let web = grant("web", None);
    bench.obtain(&web).await.unwrap();
    bench.pass(Duration::from_mins(26)).await;
    assert_eq!(bench.sts.count(), 1);
    bench.pass(Duration::from_mins(8)).await;
    assert_eq!(bench.sts.count(), 2);
    assert_eq!(key_of(&bench.credentials.get(&web).unwrap()), "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_expired_when_it_arrives_is_never_served() {
    let bench = Bench::new(Mode::Succeed(Duration::ZERO));
    let web = grant("web", None);
    assert_eq!(bench.obtain(&web).await, Err(Reason::StsUnavailable));
    assert!(bench.credentials.get(&web).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_would_end_before_the_last_one_is_not_handed_out() {
    let bench = Bench::new(ONE_HOUR);
    let web = grant("web", None);
    bench.obtain(&web).await.unwrap();
    bench.sts.set(Mode::Succeed(Duration::from_mins(15)));
    bench.pass(Duration::from_mins(34)).await;
    assert!(bench.sts.count() > 1);
    assert_eq!(key_of(&bench.credentials.get(&web).unwrap()), "ASIA1");
}

#[tokio::test(start_paused = true)]
async fn the_status_tells_the_state_without_a_secret() {
    let bench = Bench::new(ONE_HOUR);
    let web = grant("web", None);
    bench.obtain(&web).await.unwrap();
    let status = bench.credentials.status();
    assert_eq!((status[0].state, status[0].valid), ("ready", true));
    assert_eq!(
        status[0].expires_at.unwrap().to_string(),
        "2026-01-01T01:00:00Z"
    );
    bench.sts.set(Mode::Fail(Kind::Final));
    bench.pass(HOUR).await;
    let status = bench.credentials.status();
    assert_eq!((status[0].state, status[0].valid), ("refused", false));
}
