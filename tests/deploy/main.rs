//! What is installed: the Helm chart rendered by the real Helm, its objects before a real Kubernetes API server, and its
//! dashboard and alerts beside the metrics of a real agent.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]

mod chart;
mod hardening;
mod kube2iam;
mod objects;
mod optional;
mod permissions;
mod prometheus;
mod queries;
#[path = "../support/mod.rs"]
mod support;
mod values;
