//! podiam's agent: it answers the EC2 instance metadata service (IMDS) for the pods of one node, each with the
//! credentials of the IAM role that its annotation names.
//!
//! # Layout
//!
//! The modules stand below in their order of dependence: each uses only modules above it (`tests/architecture.rs`
//! checks). Who is asking? [`index`]. Which role may it have? [`authorize`]. What are its credentials?
//! [`credentials`]. The face to the pods is [`imds`]; the face to the kernel is the crate `podiam-intercept`.

// Blank lines keep rustfmt from sorting the list.

pub mod clock;

pub mod secret;

pub mod workload;

pub mod reason;

pub mod telemetry;

pub mod metrics;

pub mod config;

pub mod index;

pub mod watch;

pub mod authorize;

pub mod upstream;

pub mod sts;

pub mod credentials;

pub mod explain;

pub mod lifecycle;

pub mod handover;

pub mod taint;

pub mod events;

pub mod selftest;

pub mod interception;

pub mod identity;

pub mod imds;

pub mod admin;

pub mod app;

pub mod migrate;

pub mod doctor;

pub mod commands;
