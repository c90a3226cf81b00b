//! A pod of the demo and the small client that runs in it: what an AWS SDK asks, with every byte and time kept.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use podiam_lab::netns::{self, IMDS};
use podiam_lab::wire::{self, Answer};

use super::manifests::Subject;

/// Longer than any SDK waits.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where the role's name is, and below it its credentials.
pub(super) const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials/";

/// A pod: its manifest and its namespace.
pub(super) struct Pod {
    pub(super) subject: Subject,
    pub(super) netns: netns::Pod,
}

/// What the pod was told, and how long it took.
pub(super) struct Told {
    pub(super) answer: Answer,
    pub(super) took: Duration,
}

impl Pod {
    /// Asks 169.254.169.254 from within the pod, on a connection of its own.
    pub(super) async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Told> {
        let request = wire::request(method, target, &IMDS.to_string(), headers);
        let started = Instant::now();
        let exchange = async {
            let stream = self.netns.namespace().connect((IMDS, 80).into()).await?;
            wire::once(stream, &request).await
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(answer) => Ok(Told {
                answer: answer?,
                took: started.elapsed(),
            }),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Asks for an IMDSv2 token.
    pub(super) async fn token(&self) -> Result<Told> {
        let told = self
            .ask(
                "PUT",
                "/latest/api/token",
                &[("X-aws-ec2-metadata-token-ttl-seconds", "21600")],
            )
            .await;
        told.with_context(|| format!("{}: PUT /latest/api/token", self.subject.who))
    }

    /// Asks for a document with an IMDSv2 token.
    pub(super) async fn get(&self, target: &str, token: &str) -> Result<Told> {
        let told = self
            .ask("GET", target, &[("X-aws-ec2-metadata-token", token)])
            .await;
        told.with_context(|| format!("{}: GET {target}", self.subject.who))
    }
}
