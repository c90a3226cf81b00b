//! What an error of STS tells, what it does not, and what to do. STS answers `AccessDenied` to nearly everything; which
//! policy said no stands, if anywhere, in the message's text. What the text does not say is offered as a choice, never as
//! the answer.
//!
//! The forms of the text: "User: U is not authorized to perform: A on resource: R", and behind it "with an explicit deny
//! in a T policy" or "because no T policy allows the A action". Where several kinds of policy deny, AWS names one of them.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>

mod denied;

use podiam_iam::BaseArn;
use serde::{Deserialize, Serialize};

use crate::authorize::Grant;
use crate::sts::StsError;

/// What an error means.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// Whether the error itself says which cause it has; else every cause is a possible one.
    pub told: bool,
    /// The causes, the likeliest first; never none.
    pub causes: Vec<Cause>,
}

/// A cause and its cure.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub fix: String,
    /// The command that makes the right document, or that looks.
    pub command: Option<String>,
}

impl Cause {
    fn new(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            fix: fix.into(),
            command: None,
        }
    }

    fn by(self, command: impl Into<String>) -> Self {
        Self {
            command: Some(command.into()),
            ..self
        }
    }
}

impl Diagnosis {
    /// What `error` means for the grant that was asked for. `base` is the base ARN of the pods' roles.
    pub(super) fn of(error: &StsError, grant: &Grant, base: Option<&BaseArn>) -> Self {
        match error.code {
            "AccessDenied" | "AccessDeniedException" => {
                denied::diagnose(&error.message, grant, base)
            }
            _ => other(error, grant),
        }
    }

    fn told(cause: Cause) -> Self {
        Self {
            told: true,
            causes: vec![cause],
        }
    }

    fn possible(cause: Cause) -> Self {
        Self {
            told: false,
            causes: vec![cause],
        }
    }
}

fn other(error: &StsError, grant: &Grant) -> Diagnosis {
    let says = |words: &str| error.message.contains(words);
    let role = &grant.role;
    let seconds = grant.duration.as_secs();
    match error.code {
        "NoSuchEntity" => Diagnosis::told(
            Cause::new(
                format!("The role {role} does not exist."),
                "Make it, or correct what names it.",
            )
            .by(look(grant)),
        ),
        // "... exceeds the 1 hour session limit for roles assumed by role chaining".
        "ValidationError" | "ValidationException" if says("role chaining") => {
            Diagnosis::told(Cause::new(
                format!(
                    "Sessions of {seconds} s are asked for; AWS allows 3600 s where the node's own credentials are a \
                     role's."
                ),
                "Start the agents with --iam-session-duration=1h.",
            ))
        }
        "ValidationError" | "ValidationException" if says("MaxSessionDuration") => {
            Diagnosis::told(Cause::new(
                format!(
                    "Sessions of {seconds} s are asked for, which is above the role's MaxSessionDuration."
                ),
                "Raise it on the role, or start the agents with a shorter --iam-session-duration.",
            ))
        }
        "MalformedPolicyDocument" | "MalformedPolicyDocumentException" => {
            Diagnosis::told(Cause::new(
                "The pod's session policy is not a valid policy.",
                "Correct the pod's annotation podiam.io/session-policy.",
            ))
        }
        "PackedPolicyTooLarge" | "PackedPolicyTooLargeException" => Diagnosis::told(Cause::new(
            "Session policy and session tags are too large together.",
            "Shorten the pod's session policy, or take tags out of --session-tags and --session-tag-labels.",
        )),
        "RegionDisabledException" | "OptInRequired" => Diagnosis::told(Cause::new(
            "STS is not activated for the account in the region that the agent asks.",
            "Have the account's administrator activate it, or start the agents with another --aws-region.",
        )),
        "ExpiredToken" | "ExpiredTokenException" => Diagnosis::told(Cause::new(
            "The node's own credentials have expired and new ones have not arrived.",
            "See that the instance still has its instance profile and that its clock is right; /readyz has the \
             condition node-credentials.",
        )),
        "InvalidClientTokenId" | "UnrecognizedClientException" | "MissingAuthenticationToken" => {
            Diagnosis::possible(Cause::new(
                "AWS does not know the node's own credentials: deleted, of another partition, or of a region that the \
                 account has not enabled.",
                "See which credentials the agent finds (environment, instance profile) and which region it asks \
                 (--aws-region).",
            ))
        }
        "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "AuthFailure"
        | "RequestExpired"
        | "RequestTimeTooSkewed" => Diagnosis::possible(Cause::new(
            "The node's clock is wrong, or its secret access key is.",
            "Compare the node's clock with the true time; see that chrony or ntpd runs.",
        )),
        "NoNodeCredentials" => Diagnosis::possible(Cause::new(
            "The node has no credentials of its own: no instance profile, or its metadata service cannot be reached.",
            "Attach an instance profile; from the node, ask 169.254.169.254 for \
             /latest/meta-data/iam/security-credentials/.",
        )),
        "Timeout" => Diagnosis::possible(Cause::new(
            "The STS endpoint is slow, or packets to it are dropped.",
            "Check the security group of the VPC endpoint for STS, network ACLs and the way out (NAT, proxy) on port \
             443.",
        )),
        "Unreachable" => Diagnosis::possible(Cause::new(
            "No network path, no name, or no trusted certificate for the STS endpoint.",
            "From the node, resolve and connect to sts.REGION.amazonaws.com on port 443.",
        )),
        _ if error.kind == crate::sts::Kind::Throttled => Diagnosis::told(Cause::new(
            "AWS limits the STS calls of the node's account.",
            "Wait: it is asked again. Lower --sts-rate, or share sessions with --session=workload or --session=role.",
        )),
        _ => Diagnosis::possible(Cause::new(
            sentence(error.cause),
            "See what the message says; it is asked again by itself.",
        )),
    }
}

/// A likely cause of [`StsError`] as a sentence.
fn sentence(cause: &str) -> String {
    let mut letters = cause.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

/// The command that shows a role and its trust policy.
fn look(grant: &Grant) -> String {
    format!("aws iam get-role --role-name {}", grant.role.name())
}

#[cfg(test)]
mod tests;
