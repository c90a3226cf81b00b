//! The wall clock jumps, or the machine sleeps.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_past_the_expiry_ends_the_session_and_the_next_request_gets_a_new_one() {
    let bench = Bench::new(ONE_HOUR);
    let web = grant("web", None);
    bench.obtain(&web).await.unwrap();
    bench.pass(Duration::from_secs(1)).await;
    bench.clock.advance(SignedDuration::from_hours(2));
    assert!(bench.credentials.get(&web).is_none());
    assert_eq!(key_of(&bench.obtain(&web).await.unwrap()), "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn after_a_jump_the_refresh_comes_within_a_minute_without_a_request() {
    let bench = Bench::new(ONE_HOUR);
    bench.credentials.set_wanted([grant("web", None)]);
    bench.pass(Duration::from_secs(1)).await;
    bench.clock.advance(SignedDuration::from_mins(40));
    bench.pass(Duration::from_mins(1)).await;
    assert_eq!(bench.sts.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_back_gives_no_session_a_longer_life() {
    let bench = Bench::new(ONE_HOUR);
    let web = grant("web", None);
    bench.obtain(&web).await.unwrap();
    bench.clock.advance(SignedDuration::from_hours(-5));
    bench.sts.set(Mode::Fail(Kind::Transient));
    bench.pass(ALMOST_AN_HOUR).await;
    assert!(bench.credentials.get(&web).is_some());
    bench.pass(Duration::from_secs(1)).await;
    assert!(bench.credentials.get(&web).is_none());
}

#[tokio::test(start_paused = true)]
async fn after_the_machine_slept_the_first_request_gets_a_new_session() {
    let bench = Bench::new(ONE_HOUR);
    let web = grant("web", None);
    bench.obtain(&web).await.unwrap();
    bench.pass(Duration::from_secs(1)).await;
    // Asleep, the wall clock goes on and the monotonic one stands still.
    bench.clock.advance(SignedDuration::from_hours(9));
    let start = Instant::now();
    assert_eq!(key_of(&bench.obtain(&web).await.unwrap()), "ASIA2");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_over_a_back_off_makes_no_slot_ask_twice_in_a_second() {
    let bench = Bench::new(Mode::Fail(Kind::Transient));
    let web = grant("web", None);
    assert_eq!(bench.obtain(&web).await, Err(Reason::StsUnavailable));
    bench.clock.advance(SignedDuration::from_secs(5));
    assert_eq!(bench.obtain(&web).await, Err(Reason::StsUnavailable));
    assert_eq!(bench.sts.count(), 1, "0.8 s after the first call");
    bench.pass(Duration::from_secs(1)).await;
    assert_eq!(bench.sts.count(), 2);
}
