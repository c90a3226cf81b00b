//! What a pod is answered, through the real binary with the lab's AWS behind it. The answer rules are those that make every
//! AWS SDK do the right thing; the routes are kube2iam's.
//!
//! | module | what it proves |
//! | --- | --- |
//! | `roles` | which pod is told which role, and given whose credentials |
//! | `restrictions` | what a namespace allows |
//! | `tokens` | IMDSv2: who gets a token, and what it is good for |
//! | `requests` | methods, the Host header, bodies, sizes, times, pipelining |
//! | `identity` | a connection and a token belong to one pod, not to its address |
//! | `waiting` | a pod that is not known yet |
//! | `outage` | STS slow, down, limiting, refusing |
//! | `endpoints` | which STS is asked |
//! | `leaks` | what of the real metadata service can be seen |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what cannot be had fails the test there"
)]

#[path = "../support/mod.rs"]
mod support;

mod endpoints;
mod identity;
mod leaks;
mod outage;
mod requests;
mod restrictions;
mod roles;
mod tokens;
mod waiting;

use std::ops::RangeInclusive;
use std::time::Duration;

use podiam_lab::wire::Answer;
use support::manifest::{Manifest, pod};

/// The time that a request is held which cannot be answered: 375 ms, and what a busy machine adds. SDKs give up at
/// half a second.
const HELD: RangeInclusive<Duration> = Duration::from_millis(365)..=Duration::from_millis(900);

const READER: &str = "127.0.1.1";
const NO_ROLE: &str = "127.0.1.2";
const V2_ONLY: &str = "127.0.1.3";
const UNKNOWN: &str = "127.0.1.99";

/// The pods that most tests need.
fn pods() -> Vec<Manifest> {
    vec![
        pod("reader", READER).role("reader"),
        pod("no-role", NO_ROLE),
        pod("v2-only", V2_ONLY)
            .role("reader")
            .annotated("podiam.io/imdsv2", "required"),
    ]
}

/// A refusal is one line of text that says `why`, from the service that SDKs know.
#[track_caller]
fn assert_refused(answer: &Answer, status: u16, why: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let text = answer.text();
    assert!(
        text.contains(why) && text.lines().count() == 1 && text.ends_with('\n'),
        "{text:?} should say {why:?} in one line"
    );
    assert_eq!(answer.header("server"), Some("EC2ws"));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
}
