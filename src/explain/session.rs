//! What is asked of STS for a pod, and how its credentials stand. Never a secret, nor the access key's ID.

use std::collections::BTreeMap;

use jiff::Timestamp;
use podiam_iam::BaseArn;
use serde::{Deserialize, Serialize};

use super::diagnosis::Diagnosis;
use crate::authorize::{Grant, Policy};
use crate::credentials::{self, Next, SlotStatus};
use crate::sts::Kind;

/// The inputs of `AssumeRole`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// `RoleArn`.
    pub role_arn: String,
    /// The name under which the pod sees the role.
    pub role_name: String,
    /// `RoleSessionName`.
    pub session_name: String,
    /// `ExternalId`. No secret, by AWS's own word.
    pub external_id: Option<String>,
    /// `DurationSeconds`.
    pub duration_seconds: u64,
    /// `Tags`.
    pub tags: BTreeMap<String, String>,
    /// Whether all of them are in `TransitiveTagKeys`.
    pub tags_transitive: bool,
    /// `SourceIdentity`.
    pub source_identity: Option<String>,
    /// `Policy`.
    pub policy: Option<String>,
    /// `PolicyArns`.
    pub policy_arns: Vec<String>,
}

impl Session {
    pub(super) fn of(grant: &Grant, policy: &Policy) -> Self {
        let attributes = &grant.attributes;
        let tags = attributes.tags().iter();
        let limits = attributes.policy();
        Self {
            role_arn: grant.role.to_string(),
            role_name: policy.presented(&grant.role),
            session_name: grant.session_name.to_string(),
            external_id: grant.external_id.as_ref().map(ToString::to_string),
            duration_seconds: grant.duration.as_secs(),
            tags: tags
                .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
                .collect(),
            tags_transitive: attributes.transitive_tag_keys().next().is_some(),
            source_identity: attributes.source_identity().map(ToString::to_string),
            policy: limits
                .and_then(|limits| limits.document())
                .map(str::to_owned),
            policy_arns: limits
                .map(|limits| limits.arns().map(str::to_owned).collect())
                .unwrap_or_default(),
        }
    }
}

/// How the credentials stand.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsState {
    /// `pending`, `ready`, `refused` or `unavailable`: what came of the last call.
    pub state: String,
    /// Whether there are credentials that are valid now.
    pub valid: bool,
    /// When the last session was asked for.
    pub obtained_at: Option<String>,
    /// When it expires, or did.
    pub expires_at: Option<String>,
    /// When STS is asked next.
    pub next_call: NextCall,
    /// How the last call failed.
    pub failure: Option<Failure>,
}

/// When STS is asked next, if nothing changes.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "when", content = "time", rename_all = "kebab-case")]
pub enum NextCall {
    /// It is wanted, or under way.
    Now,
    /// At that time.
    At(String),
    /// When the pod asks after that time.
    OnDemandAfter(String),
}

/// A call that failed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// When it came back.
    pub at: String,
    /// How many failed in a row, with this one.
    pub in_a_row: u32,
    /// AWS's error code, or a word of the agent's.
    pub code: String,
    /// `final`, `transient` or `throttled`.
    pub kind: String,
    /// What AWS or the SDK says.
    pub message: String,
    /// What that means.
    pub diagnosis: Diagnosis,
}

impl CredentialsState {
    pub(super) fn of(status: &SlotStatus, grant: &Grant, base: Option<&BaseArn>) -> Self {
        Self {
            state: status.state.to_owned(),
            valid: status.valid,
            obtained_at: status.obtained_at.map(time),
            expires_at: status.expires_at.map(time),
            next_call: match status.next {
                None => NextCall::Now,
                Some(Next::At(at)) => NextCall::At(time(at)),
                Some(Next::OnDemandAfter(at)) => NextCall::OnDemandAfter(time(at)),
            },
            failure: status
                .last_error
                .as_deref()
                .map(|failure| Failure::of(failure, grant, base)),
        }
    }
}

impl Failure {
    fn of(failure: &credentials::Failure, grant: &Grant, base: Option<&BaseArn>) -> Self {
        let error = &failure.error;
        Self {
            at: time(failure.at),
            in_a_row: failure.in_a_row,
            code: error.code.to_owned(),
            kind: match error.kind {
                Kind::Final => "final",
                Kind::Transient => "transient",
                Kind::Throttled => "throttled",
            }
            .to_owned(),
            message: error.message.clone(),
            diagnosis: Diagnosis::of(error, grant, base),
        }
    }
}

/// `2026-01-01T00:00:00Z`: to the second, as everything of AWS.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
