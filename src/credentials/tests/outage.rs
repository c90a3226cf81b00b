//! STS is down, slow, or says "not so fast".

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_held_is_served_through_an_outage_to_its_end_and_not_beyond() {
    let bench = Bench::new(ONE_HOUR);
    let web = grant("web", None);
    bench.obtain(&web).await.unwrap();
    bench.sts.set(Mode::Fail(Kind::Transient));
    bench.pass(ALMOST_AN_HOUR).await;
    assert!(bench.sts.count() > 20, "it keeps trying");
    assert_eq!(key_of(&bench.credentials.get(&web).unwrap()), "ASIA1");

    bench.pass(Duration::from_secs(1)).await;
    assert!(bench.credentials.get(&web).is_none());
    let start = Instant::now();
    assert_eq!(bench.obtain(&web).await, Err(Reason::StsUnavailable));
    assert_eq!(start.elapsed(), PATIENCE);

    bench.sts.set(ONE_HOUR);
    bench.pass(Duration::from_mins(1)).await;
    assert!(bench.credentials.get(&web).is_some());
}

#[tokio::test(start_paused = true)]
async fn retries_back_off_to_one_a_minute() {
    let bench = Bench::new(Mode::Fail(Kind::Transient));
    bench.credentials.set_wanted([grant("web", None)]);
    bench.pass(Duration::from_mins(2)).await;
    let before = bench.sts.count();
    assert!((6..=10).contains(&before), "{before}");
    bench.pass(Duration::from_mins(10)).await;
    let calls = bench.sts.count() - before;
    assert!((10..=20).contains(&calls), "{calls}");
}

#[tokio::test(start_paused = true)]
async fn throttling_is_told_apart_from_an_outage() {
    let bench = Bench::new(Mode::Fail(Kind::Throttled));
    let web = grant("web", None);
    assert_eq!(bench.obtain(&web).await, Err(Reason::StsThrottled));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_sts_holds_a_request_no_longer_than_its_deadline() {
    let bench = Bench::new(Mode::Hang);
    let start = Instant::now();
    let outcome = bench.obtain(&grant("web", None)).await;
    assert_eq!(outcome, Err(Reason::CredentialsPending));
    assert_eq!(start.elapsed(), PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_requests_make_the_node_try_every_few_seconds_and_no_oftener() {
    let bench = Bench::new(Mode::Fail(Kind::Transient));
    let wanted: Vec<_> = (0..20).map(|n| grant(&format!("r{n}"), None)).collect();
    bench.credentials.set_wanted(wanted.clone());
    bench.pass(Duration::from_mins(5)).await;
    let before = bench.sts.count();
    bench.pass(Duration::from_mins(2)).await;
    let by_itself = bench.sts.count() - before;

    let before = bench.sts.count();
    let start = Instant::now();
    while start.elapsed() < Duration::from_mins(2) {
        let asked = futures::future::join_all(wanted.iter().map(|grant| bench.obtain(grant)));
        let outcomes = asked.await;
        assert!(outcomes.iter().all(|it| *it == Err(Reason::StsUnavailable)));
        bench.pass(Duration::from_millis(250)).await;
    }
    let calls = bench.sts.count() - before;
    assert!(
        (10..=by_itself + 80).contains(&calls),
        "{calls}, {by_itself}"
    );
}

#[tokio::test(start_paused = true)]
async fn when_sts_is_back_every_pod_has_credentials_within_seconds_and_within_the_budget() {
    let bench = Bench::limited(
        Mode::Fail(Kind::Transient),
        Limits {
            rate: 20.0,
            concurrency: 8,
        },
    );
    let wanted: Vec<_> = (0..110).map(|n| grant(&format!("r{n}"), None)).collect();
    bench.credentials.set_wanted(wanted.clone());
    bench.pass(Duration::from_mins(20)).await;
    bench.sts.set(ONE_HOUR);
    let before = bench.sts.count();
    // One pod asks; its try ends the outage for all.
    let _ = bench.obtain(&wanted[0]).await;
    bench.pass(Duration::from_secs(12)).await;
    let slots = bench.credentials.status();
    let valid = slots.iter().filter(|slot| slot.valid).count();
    assert_eq!(valid, 110);
    assert_eq!(bench.sts.count() - before, 110, "each asked once");
}

#[tokio::test(start_paused = true)]
async fn throttling_is_answered_by_waiting_whoever_asks() {
    let bench = Bench::new(Mode::Fail(Kind::Throttled));
    let web = grant("web", None);
    let start = Instant::now();
    while start.elapsed() < Duration::from_mins(5) {
        assert_eq!(bench.obtain(&web).await, Err(Reason::StsThrottled));
        bench.pass(Duration::from_millis(250)).await;
    }
    assert!(bench.sts.count() <= 15, "{}", bench.sts.count());
}
