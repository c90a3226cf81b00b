//! STS says no: the negative cache.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_at_once_remembered_a_while_and_asked_again_on_demand() {
    let bench = Bench::new(Mode::Fail(Kind::Final));
    let web = grant("web", None);
    assert_eq!(bench.obtain(&web).await, Err(Reason::StsRefused));
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(bench.obtain(&web).await, Err(Reason::StsRefused));
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    bench.pass(Duration::from_millis(4900)).await;
    assert_eq!(bench.obtain(&web).await, Err(Reason::StsRefused));
    assert_eq!(bench.sts.count(), 1, "remembered for 5 s at least");

    bench.pass(HOUR).await;
    assert_eq!(bench.sts.count(), 1, "nobody asks, so it does not either");
    bench.sts.set(ONE_HOUR);
    assert_eq!(key_of(&bench.obtain(&web).await.unwrap()), "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_leaves_what_is_held_and_is_tried_again() {
    let bench = Bench::new(ONE_HOUR);
    let web = grant("web", None);
    bench.obtain(&web).await.unwrap();
    bench.sts.set(Mode::Fail(Kind::Final));
    bench.pass(Duration::from_mins(45)).await;
    assert_eq!(key_of(&bench.credentials.get(&web).unwrap()), "ASIA1");
    let calls = bench.sts.count();
    assert!((3..=20).contains(&calls), "{calls}");
    bench.sts.set(ONE_HOUR);
    bench.pass(Duration::from_mins(6)).await;
    assert_ne!(key_of(&bench.credentials.get(&web).unwrap()), "ASIA1");
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_asked_again_when_its_pod_or_namespace_changes_and_only_then() {
    let bench = Bench::new(Mode::Fail(Kind::Final));
    let [web, job] = [grant("web", None), grant("job", None)];
    bench
        .credentials
        .set_wanted([Arc::clone(&web), Arc::clone(&job)]);
    bench.pass(Duration::from_secs(2)).await;
    assert_eq!(bench.sts.count(), 2);
    bench.credentials.reconsider([&web]);
    bench.credentials.reconsider([&web]);
    bench.pass(Duration::from_secs(4)).await;
    assert_eq!(bench.sts.count(), 3, "two changes before one call");
    assert_eq!(*bench.sts.calls().last().unwrap(), *web);

    bench.sts.set(ONE_HOUR);
    assert_eq!(bench.obtain(&web).await, Err(Reason::StsRefused));
    bench.credentials.reconsider([&web]);
    bench.pass(Duration::from_secs(1)).await;
    assert!(bench.credentials.get(&web).is_some());
    bench.credentials.reconsider([&web]);
    bench.pass(HOUR / 4).await;
    assert_eq!(bench.sts.count(), 4, "what is granted is left alone");
}

#[tokio::test(start_paused = true)]
async fn changes_in_a_tight_loop_make_one_call_a_second_at_most() {
    let bench = Bench::new(Mode::Fail(Kind::Final));
    let web = grant("web", None);
    bench.credentials.set_wanted([Arc::clone(&web)]);
    for _ in 0..100 {
        bench.credentials.reconsider([&web]);
        bench.pass(Duration::from_millis(100)).await;
    }
    assert!(
        (9..=12).contains(&bench.sts.count()),
        "{}",
        bench.sts.count()
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_is_remembered_no_longer_than_any_refusal_once_nothing_is_held() {
    let bench = Bench::new(ONE_HOUR);
    let web = grant("web", None);
    bench.obtain(&web).await.unwrap();
    bench.sts.set(Mode::Fail(Kind::Final));
    bench.pass(ALMOST_AN_HOUR).await;
    assert!(bench.credentials.get(&web).is_some());
    bench.sts.set(ONE_HOUR);
    bench.pass(Duration::from_secs(31)).await;
    assert!(bench.obtain(&web).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn requests_refused_from_memory_are_counted() {
    let bench = Bench::new(Mode::Fail(Kind::Final));
    let web = grant("web", None);
    for _ in 0..5 {
        assert_eq!(bench.obtain(&web).await, Err(Reason::StsRefused));
    }
    assert_eq!(bench.counts.refused.load(Ordering::Relaxed), 4);
}
