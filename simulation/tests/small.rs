//! A small cluster, by the minute: what docs/scaling.md says of a large one holds for it.

#![allow(
    clippy::unwrap_used,
    reason = "what cannot be had fails the test there"
)]

use std::time::Duration;

use podiam::credentials::Limits;
use podiam_simulation::cluster::{Setting, Size};
use podiam_simulation::report::quantile;
use podiam_simulation::scenario::{Outcome, Scenario};

/// As many nodes and calls for each other as 5,000 nodes and a quota of 600.
const SIZE: Size = Size {
    nodes: 50,
    pods: 20,
    roles: 50,
    quota: 6.0,
};
const SHARE: f64 = 6.0 / 50.0;

fn run(scenario: Scenario, rate: f64, seed: u64) -> Outcome {
    let setting = Setting {
        name: "",
        limits: Limits {
            rate,
            concurrency: 8,
        },
        shared: false,
    };
    scenario.run(SIZE, setting, seed).unwrap()
}

/// Calls that were served, and those that were throttled.
fn calls(outcome: &Outcome) -> (u32, u32) {
    let seconds = outcome.seconds.iter();
    seconds.fold((0, 0), |sum, it| (sum.0 + it.served, sum.1 + it.throttled))
}

fn last(outcome: &Outcome) -> Duration {
    assert_eq!(outcome.without, 0, "everybody has credentials in the end");
    quantile(&outcome.seen.firsts, 100)
}

#[test]
fn all_agents_at_once_are_warm_in_little_more_than_the_quota_takes_and_no_session_is_asked_for_twice()
 {
    let outcome = run(Scenario::AllAtOnce, 20.0, 1);
    let pods = SIZE.nodes * SIZE.pods;
    // 1,000 sessions at 6 a second.
    let least = Duration::from_secs(166);
    assert!(last(&outcome) >= least, "the quota holds");
    assert!(last(&outcome) < least * 3 / 2, "{:?}", last(&outcome));
    let (served, throttled) = calls(&outcome);
    assert!(throttled > served, "they hammer at it: {throttled}");
    // Once each, and once again at half of its life.
    assert_eq!(usize::try_from(served).unwrap(), 2 * pods);
}

#[test]
fn agents_that_keep_to_their_exact_share_are_hardly_ever_throttled_and_pay_for_it_in_time() {
    let hasty = run(Scenario::AllAtOnce, 20.0, 1);
    let fair = run(Scenario::AllAtOnce, SHARE, 1);
    let ((_, hasty_throttled), (_, throttled)) = (calls(&hasty), calls(&fair));
    assert!(
        throttled * 10 < hasty_throttled,
        "{throttled}, {hasty_throttled}"
    );
    let (fair, hasty) = (last(&fair), last(&hasty));
    assert!(hasty < fair && fair < hasty * 2, "{fair:?}, {hasty:?}");
}

#[test]
fn a_call_a_second_of_each_node_is_enough_for_a_roll_out_a_lost_zone_and_new_pods_all_over() {
    for scenario in [
        Scenario::RollOut,
        Scenario::ZoneOutage,
        Scenario::MassReschedule,
    ] {
        let outcome = run(scenario, 1.0, 1);
        assert_eq!(calls(&outcome).1, 0, "{scenario:?}: throttled");
        assert_eq!(outcome.seen.refused, 0, "{scenario:?}: told to come again");
        let last = last(&outcome);
        assert!(last < Duration::from_secs(20), "{scenario:?}: {last:?}");
    }
}

#[test]
fn a_share_that_leaves_no_room_is_what_the_pods_of_a_lost_zone_wait_for() {
    let outcome = run(Scenario::ZoneOutage, SHARE, 1);
    assert_eq!(calls(&outcome).1, 0, "nobody is throttled");
    assert!(outcome.seen.refused > 100, "pods are told to come again");
    assert!(last(&outcome) > Duration::from_mins(2));
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_another() {
    let seconds = |seed| run(Scenario::ZoneOutage, 20.0, seed).seconds;
    let first = seconds(1);
    assert_eq!(first, seconds(1));
    assert_ne!(first, seconds(2));
}
