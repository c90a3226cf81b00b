//! What the road does to STS's answers reaches no pod: what is held is served meanwhile, and the next session comes as soon
//! as the road is good again.

use std::time::Duration;

use super::support::PATIENCE;
use super::support::agent::Agent;
use super::support::manifest::{Folder, pod};
use super::support::moto::Moto;
use super::support::road::{Fault, Road};
use super::{PACE, key, served};

/// A refresh at its half, two failures of it, and a third try fit into it.
const LIFETIME: Duration = Duration::from_secs(12);
const POD: &str = "127.0.3.1";

#[tokio::test]
async fn a_refresh_whose_answer_comes_late_is_served_when_it_comes() {
    let delay = Fault::Delay(Duration::from_millis(800));
    no_pod_notices(delay, "late", 1).await;
}

#[tokio::test]
async fn a_refresh_whose_connection_is_reset_is_tried_again() {
    no_pod_notices(Fault::Reset, "reset", 2).await;
}

#[tokio::test]
async fn half_an_answer_is_none() {
    no_pod_notices(Fault::Half, "half", 2).await;
}

#[tokio::test]
async fn an_sts_that_answers_500_is_tried_again() {
    no_pod_notices(Fault::InternalFailure, "internal", 2).await;
}

#[tokio::test]
async fn an_sts_that_limits_the_account_is_tried_again() {
    no_pod_notices(Fault::Throttling, "throttled", 2).await;
}

/// A pod asks all the time; `strikes` of the calls for the second session meet the fault.
async fn no_pod_notices(fault: Fault, role: &str, strikes: usize) {
    let moto = Moto::shared().await;
    let road = Road::to(moto.address(), LIFETIME).await;
    let manifests = Folder::new(&[pod(role, POD).role(role)]);
    let flag = format!("--workloads={}", manifests.path().display());
    let agent = Agent::start(&road.url(), &[&flag]);
    agent.ready().await;
    served(&agent, POD, role).await;
    let first = key(&agent, POD, role).await;

    road.set(Some(fault));
    let healed = async {
        road.struck(strikes).await;
        road.set(None);
    };
    let asking = async {
        while key(&agent, POD, role).await == first {
            tokio::time::sleep(PACE).await;
        }
    };
    let both = tokio::time::timeout(PATIENCE, async { tokio::join!(healed, asking) });
    both.await.expect("the second session");
    let calls = moto.assumptions(role).len();
    let failed = if matches!(fault, Fault::Delay(_)) {
        0
    } else {
        strikes
    };
    assert_eq!(calls, 2 + failed, "a session, what failed, a session");
}
