//! Sessions over their life, with the real binary. Mostly with other people's parts: moto as STS, boto3 and the Rust SDK as
//! clients, and a road between agent and STS on which things go wrong. The node's own credentials are the lab's.
//!
//! | module | what it proves |
//! | --- | --- |
//! | `lifetimes` | SDKs use credentials over several lifetimes without one error |
//! | `faults` | what the road does to STS's answers reaches no pod |
//! | `attributes` | another's STS accepts tags, source identity and policies |
//! | `rotation` | the node's credentials change under the agent, and no request fails |
//! | `sealed` | no secret in logs, on the admin socket, in a core or in another's hands |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what cannot be had fails the test there"
)]

#[path = "../support/mod.rs"]
mod support;

mod attributes;
mod faults;
mod lifetimes;
mod rotation;
mod sealed;

use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use support::agent::Agent;
use support::eventually;
use support::http::ROLES;

/// The credentials that the pod at `ip` reads for `role`, which must be valid when they come.
async fn credentials(agent: &Agent, ip: &str, role: &str) -> Value {
    let asked = now();
    let reply = agent.ask(ip, &format!("{ROLES}{role}")).await;
    let log = || agent.process().log();
    assert_eq!(reply.status, 200, "{}\n{}", reply.body, log());
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    let end: Timestamp = body["Expiration"].as_str().unwrap().parse().unwrap();
    assert!(end > asked, "expired: {body}\n{}", log());
    body
}

/// Waits until the pod at `ip` has been given credentials of `role`: STS may still be asked for the first time.
async fn served(agent: &Agent, ip: &str, role: &str) {
    agent.gives(ip, role).await;
    eventually("the first credentials", || async {
        let reply = agent.ask(ip, &format!("{ROLES}{role}")).await;
        let given = reply.status == 200;
        if given { Ok(()) } else { Err(reply.body) }
    })
    .await;
}

/// The access key ID of what the pod at `ip` reads for `role`.
async fn key(agent: &Agent, ip: &str, role: &str) -> String {
    let body = credentials(agent, ip, role).await;
    body["AccessKeyId"].as_str().unwrap().to_owned()
}

/// The agent's program `at` a path, which finds the node's credentials at the metadata service and nowhere else.
fn unarmed(at: &str) -> Command {
    let mut command = Command::new("env");
    command.args(["-u", "AWS_ACCESS_KEY_ID", "-u", "AWS_SECRET_ACCESS_KEY", at]);
    command
}

/// Between two requests of a pod that asks all the time.
const PACE: Duration = Duration::from_millis(50);

#[allow(
    clippy::disallowed_methods,
    reason = "the agent under test has the system's clock"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
