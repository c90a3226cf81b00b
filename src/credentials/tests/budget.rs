//! What the node may ask of STS, and who comes first.

use super::*;

fn grants(count: usize) -> Vec<Arc<Grant>> {
    (0..count)
        .map(|number| grant(&format!("role-{number}"), None))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn no_more_than_eight_calls_are_under_way_at_once() {
    let bench = Bench::new(Mode::Hang);
    bench.credentials.set_wanted(grants(50));
    bench.pass(Duration::from_secs(10)).await;
    assert_eq!(bench.sts.count(), 8);
    bench.sts.set(ONE_HOUR);
    bench.pass(Duration::from_secs(1)).await;
    assert_eq!(bench.sts.count(), 50);
    assert!(bench.credentials.status().iter().all(|slot| slot.valid));
}

#[tokio::test(start_paused = true)]
async fn the_rate_holds_for_prefetches_and_leaves_them_in_the_order_of_their_coming() {
    let bench = Bench::limited(
        ONE_HOUR,
        Limits {
            rate: 10.0,
            concurrency: 0,
        },
    );
    bench.credentials.set_wanted(grants(110));
    bench.pass(Duration::from_secs(5)).await;
    assert!(
        (55..=61).contains(&bench.sts.count()),
        "{}",
        bench.sts.count()
    );
    let waiting = bench.credentials.budget().waiting;
    assert_eq!(waiting, [0, 110 - bench.sts.count(), 0]);
    bench.pass(Duration::from_secs(6)).await;
    assert_eq!(bench.sts.count(), 110);
}

#[tokio::test(start_paused = true)]
async fn a_request_overtakes_the_prefetches_even_its_own_that_waits_among_them() {
    let bench = Bench::limited(
        ONE_HOUR,
        Limits {
            rate: 10.0,
            concurrency: 0,
        },
    );
    bench.credentials.set_wanted(grants(110));
    bench.pass(Duration::from_secs(1)).await;
    for waiting in bench
        .credentials
        .status()
        .into_iter()
        .filter(|slot| !slot.valid)
        .take(5)
    {
        let start = Instant::now();
        bench.obtain(&waiting.grant).await.unwrap();
        // One token's time; tokio's timer counts in milliseconds and rounds up.
        assert!(start.elapsed() <= Duration::from_millis(105));
    }
    let priorities = bench.counts.calls.lock().unwrap().clone();
    let requests = |calls: &[Priority]| {
        calls
            .iter()
            .filter(|call| **call == Priority::Request)
            .count()
    };
    assert_eq!(requests(&priorities), 5);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_the_budget_in_vain_is_told_from_one_that_waits_for_sts() {
    let bench = Bench::limited(
        Mode::Hang,
        Limits {
            rate: 0.0,
            concurrency: 1,
        },
    );
    let [called, queued] = [grant("called", None), grant("queued", None)];
    assert_eq!(bench.obtain(&called).await, Err(Reason::CredentialsPending));
    assert_eq!(bench.obtain(&queued).await, Err(Reason::CredentialsPending));
    assert_eq!(*bench.counts.expired.lock().unwrap(), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_gives_its_place_back() {
    let bench = Bench::limited(
        Mode::Hang,
        Limits {
            rate: 0.0,
            concurrency: 1,
        },
    );
    bench.credentials.set_wanted(grants(20));
    bench.sts.called(1).await;
    bench.credentials.set_wanted([]);
    bench.pass(Duration::from_secs(1)).await;
    assert_eq!(bench.credentials.budget(), BudgetStatus::default());
    bench.sts.set(ONE_HOUR);
    bench.obtain(&grant("another", None)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn refreshes_wait_for_new_pods_and_nobody_notices() {
    let bench = Bench::limited(
        ONE_HOUR,
        Limits {
            rate: 1.0,
            concurrency: 0,
        },
    );
    let mut wanted = grants(30);
    bench.credentials.set_wanted(wanted.clone());
    bench.pass(Duration::from_mins(26)).await;
    wanted.extend((0..600).map(|number| grant(&format!("new-{number}"), None)));
    bench.credentials.set_wanted(wanted.clone());
    bench.pass(Duration::from_mins(11)).await;
    let slots = bench.credentials.status();
    assert!(slots.iter().all(|slot| slot.valid));
    let calls = bench.counts.calls.lock().unwrap().clone();
    let first_refresh = calls.iter().position(|call| *call == Priority::Refresh);
    assert!(
        first_refresh.is_some_and(|first| first >= 600),
        "{first_refresh:?}"
    );
}
