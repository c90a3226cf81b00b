//! `podiam doctor` as a process, before set-ups that are right and set-ups that are broken in one place: the lab's STS by
//! TLS, moto, an AWS that answers as a script says (refusals and throttling, whose shapes no stand-in has), a real API
//! server, and a node that is a network namespace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what cannot be had fails the test there"
)]

mod aws;
mod cluster;
mod face;
mod node;
mod scripted;
#[path = "../support/mod.rs"]
mod support;

use std::process::{Command, Output};

use serde_json::Value;

/// The pods' base ARN.
const BASE: &str = "arn:aws:iam::123456789012:role/k8s/";
/// The nodes' role.
const NODES: &str = "arn:aws:iam::123456789012:role/nodes";
/// A session of it, as an instance has it.
const NODE: &str = "arn:aws:sts::123456789012:assumed-role/nodes/i-0123456789abcdef0";

/// What a run came to.
struct Run {
    code: i32,
    report: Value,
    raw: String,
}

impl Run {
    /// A check's verdict, and everything that it says.
    fn of(&self, check: &str) -> (String, String) {
        let checks = self.report["checks"].as_array().unwrap();
        let found = checks.iter().find(|it| it["check"] == check);
        let found = found.unwrap_or_else(|| panic!("no {check} in {}", self.raw));
        let mut said: Vec<&str> = found["evidence"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        said.extend(found["fix"].as_str());
        (
            found["verdict"].as_str().unwrap().to_owned(),
            said.join("\n"),
        )
    }

    /// Panics unless a check came to this, with these words.
    fn assert(&self, check: &str, verdict: &str, words: &str) {
        let (found, said) = self.of(check);
        assert_eq!(found, verdict, "{check}: {said}");
        assert!(
            said.contains(words),
            "{check} says nothing of {words:?}: {said}"
        );
    }
}

/// A command that knows nothing of the developer's own AWS, cluster or metadata service.
fn podiam() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_podiam")))
}

fn clean(mut command: Command) -> Command {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_REGION", "eu-central-1");
    command
}

/// The command with a node's keys, as a session.
fn with_keys(mut command: Command) -> Command {
    command
        .env("AWS_ACCESS_KEY_ID", "ASIACANARY")
        .env("AWS_SECRET_ACCESS_KEY", "canary-secret")
        .env("AWS_SESSION_TOKEN", "canary-token");
    command
}

/// Runs `podiam doctor --json WORDS`. Nothing secret may be in what it prints.
async fn doctor(mut command: Command, words: &[&str]) -> Run {
    command.args(["doctor", "--json"]).args(words);
    let run = tokio::task::spawn_blocking(move || command.output());
    let Output {
        status,
        stdout,
        stderr,
    } = run.await.unwrap().unwrap();
    let raw = String::from_utf8(stdout).unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    for secret in ["canary-secret", "canary-token", podiam_lab::aws::CANARY] {
        assert!(!raw.contains(secret) && !stderr.contains(secret), "{raw}");
    }
    assert_eq!(stderr, "", "a pipe sees no progress");
    Run {
        code: status.code().unwrap(),
        report: serde_json::from_str(&raw).unwrap_or_else(|error| panic!("{error}: {raw}")),
        raw,
    }
}
