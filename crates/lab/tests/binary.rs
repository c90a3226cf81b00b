//! `podiam-lab` serves other programs what the library serves tests.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use podiam_lab::wire::{self, Answer};
use tokio::net::TcpStream;

/// A running `podiam-lab`; killed when dropped.
struct Lab {
    process: Child,
    first_line: String,
}

impl Lab {
    #[allow(clippy::unwrap_used, reason = "a test's helper")]
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_podiam-lab"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first_line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut first_line).unwrap();
        Self {
            process,
            first_line,
        }
    }

    /// The address behind `name=http://`.
    #[allow(clippy::unwrap_used, reason = "a test's helper")]
    fn address(&self, name: &str) -> &str {
        let mut words = self.first_line.split_whitespace();
        words
            .find_map(|word| word.strip_prefix(&format!("{name}=http://")))
            .unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[allow(clippy::unwrap_used, reason = "a test's helper")]
async fn get(address: &str, target: &str) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    wire::once(stream, &wire::request("GET", target, "lab", &[]))
        .await
        .unwrap()
}

#[tokio::test]
async fn aws_serves_both_services_and_its_log() {
    let lab = Lab::start(&["aws", "--node-role", "other-role", "--region", "eu-west-1"]);
    let imds = lab.address("imds");
    assert_eq!(
        get(imds, "/latest/meta-data/iam/security-credentials/")
            .await
            .text(),
        "other-role"
    );
    assert_eq!(
        get(imds, "/latest/meta-data/placement/region").await.text(),
        "eu-west-1"
    );
    let log = get(lab.address("sts"), "/lab/log").await;
    let log: serde_json::Value = serde_json::from_slice(&log.body).unwrap();
    assert_eq!(log[0]["service"], "imds");
    assert_eq!(
        log[0]["target"],
        "/latest/meta-data/iam/security-credentials/"
    );
    assert_eq!(log.as_array().unwrap().len(), 2);
}

#[test]
fn load_measures_the_floor_and_fails_when_an_answer_is_wrong() {
    let floor = Lab::start(&["floor", "--body", "hello", "--header", "Server: EC2ws"]);
    let load = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podiam-lab"));
        command
            .args(["load", floor.address("floor"), "--requests", "50"])
            .args(more)
            .output()
            .unwrap()
    };
    let output = load(&[]);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && report.starts_with("50 right, 0 wrong"),
        "{report}"
    );
    let output = load(&["--status", "404"]);
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && problem.contains("status 200, body \"hello\""),
        "{problem}"
    );
}
