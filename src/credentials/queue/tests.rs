use proptest::prelude::*;

use super::*;

fn queue(rate: f64, concurrency: usize) -> Queue {
    Queue::new(Limits { rate, concurrency })
}

fn join(queue: &mut Queue, priority: Priority) -> Ticket {
    queue.join(priority, Arc::default())
}

/// Lets in, by the order of the queue, all that may go now.
fn admit(queue: &mut Queue, tickets: &[Ticket], now: Instant) -> Vec<Ticket> {
    let mut admitted = Vec::new();
    loop {
        let next = tickets
            .iter()
            .find(|ticket| queue.turn(**ticket, now) == Turn::Now);
        match next {
            Some(ticket) => admitted.push(*ticket),
            None => return admitted,
        }
    }
}

#[test]
fn requests_go_before_new_pods_and_new_pods_before_refreshes() {
    let mut queue = queue(0.0, 0);
    let refresh = join(&mut queue, Priority::Refresh);
    let new_pod = join(&mut queue, Priority::NewPod);
    let request = join(&mut queue, Priority::Request);
    let order = admit(&mut queue, &[refresh, new_pod, request], Instant::now());
    assert_eq!(order, [request, new_pod, refresh]);
}

#[test]
fn within_a_priority_the_first_to_come_is_the_first_to_go() {
    let mut queue = queue(0.0, 0);
    let tickets: Vec<_> = (0..5).map(|_| join(&mut queue, Priority::NewPod)).collect();
    let mut any_order = tickets.clone();
    any_order.reverse();
    assert_eq!(admit(&mut queue, &any_order, Instant::now()), tickets);
}

#[test]
fn a_prefetch_that_a_request_now_waits_for_moves_up_and_keeps_its_age() {
    let mut queue = queue(0.0, 0);
    let [early, prefetch] = [(); 2].map(|()| join(&mut queue, Priority::NewPod));
    let request = join(&mut queue, Priority::Request);
    let raised = queue.raise(prefetch, Priority::Request);
    let order = admit(&mut queue, &[early, request, raised], Instant::now());
    assert_eq!(order, [raised, request, early]);
}

#[test]
fn a_ticket_never_loses_urgency() {
    let mut queue = queue(0.0, 0);
    let request = join(&mut queue, Priority::Request);
    assert_eq!(queue.raise(request, Priority::Refresh), request);
}

#[test]
fn only_so_many_calls_are_under_way_at_once() {
    let mut queue = queue(0.0, 2);
    let tickets: Vec<_> = (0..3).map(|_| join(&mut queue, Priority::NewPod)).collect();
    let now = Instant::now();
    assert_eq!(admit(&mut queue, &tickets, now), tickets[..2]);
    queue.finished();
    assert_eq!(admit(&mut queue, &tickets, now), tickets[2..]);
}

#[test]
fn the_calls_of_one_second_may_come_together_and_then_one_at_a_time() {
    let mut queue = queue(4.0, 0);
    let tickets: Vec<_> = (0..6).map(|_| join(&mut queue, Priority::NewPod)).collect();
    let now = Instant::now();
    assert_eq!(admit(&mut queue, &tickets, now).len(), 4);
    let quarter = Duration::from_millis(250);
    assert_eq!(queue.turn(tickets[4], now), Turn::At(now + quarter));
    assert_eq!(queue.turn(tickets[5], now), Turn::Later);
    assert_eq!(admit(&mut queue, &tickets, now + quarter), [tickets[4]]);
    let idle = now + Duration::from_hours(1);
    let later: Vec<_> = (0..9).map(|_| join(&mut queue, Priority::NewPod)).collect();
    queue.leave(tickets[5]);
    assert_eq!(
        admit(&mut queue, &later, idle).len(),
        4,
        "a bucket, not savings"
    );
}

#[test]
fn less_than_one_call_a_second_is_a_rate_too() {
    let mut queue = queue(0.5, 0);
    let tickets: Vec<_> = (0..2).map(|_| join(&mut queue, Priority::NewPod)).collect();
    let now = Instant::now();
    assert_eq!(queue.turn(tickets[0], now), Turn::Now);
    let at = now + Duration::from_secs(2);
    assert_eq!(queue.turn(tickets[1], now), Turn::At(at));
    assert_eq!(queue.turn(tickets[1], at), Turn::Now);
}

#[test]
fn a_ticket_that_was_taken_back_holds_nobody_up() {
    let mut queue = queue(0.0, 0);
    let [gone, next] = [(); 2].map(|()| join(&mut queue, Priority::Request));
    queue.leave(gone);
    assert_eq!(queue.turn(next, Instant::now()), Turn::Now);
    assert_eq!(queue.waiting(Priority::Request), 0);
}

proptest! {
    #[test]
    fn no_window_of_time_holds_more_calls_than_the_rate_allows(
        rate in 0.1_f64..50.0,
        steps in prop::collection::vec((0_u64..2000, 0_usize..20), 1..60),
    ) {
        let mut queue = queue(rate, 0);
        let mut now = Instant::now();
        let mut calls = Vec::new();
        for (pause, joining) in steps {
            now += Duration::from_millis(pause);
            let tickets: Vec<_> = (0..joining).map(|_| join(&mut queue, Priority::NewPod)).collect();
            calls.extend(admit(&mut queue, &tickets, now).iter().map(|_| now));
            for ticket in tickets {
                queue.leave(ticket);
            }
        }
        let burst = rate.max(1.0);
        for (first, start) in calls.iter().enumerate() {
            for (last, end) in calls.iter().enumerate().skip(first) {
                let seconds = (*end - *start).as_secs_f64();
                #[allow(clippy::cast_precision_loss, reason = "a few hundred at most")]
                let count = (last - first + 1) as f64;
                prop_assert!(count <= burst + rate * seconds + 1e-3, "{count} in {seconds} s");
            }
        }
    }
}
