//! What an error of `AssumeRole` means: will it go away by itself, and what is its likely cause.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use thiserror::Error;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// STS said no, and says so again until somebody changes something.
    Final,
    /// The next attempt may succeed.
    Transient,
    /// STS limits the account's calls: try again, later.
    Throttled,
}

/// Why a role could not be assumed. The text is for our log only: it may name accounts and roles.
#[derive(Clone, Debug, Error)]
#[error("{code}: {message} (likely cause: {cause})")]
pub struct StsError {
    /// What to do about it.
    pub kind: Kind,
    /// AWS's error code where it is one that we know, else a word of ours: bounded, fit for a metric's label.
    pub code: &'static str,
    /// What AWS or the SDK says; one line.
    pub message: String,
    /// Where to look first.
    pub cause: &'static str,
}

/// AWS's error codes, what they mean for us, and what mostly causes them.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>,
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
const CODES: &[(&[&str], Kind, &str)] = &[
    (
        &["AccessDenied", "AccessDeniedException"],
        Kind::Final,
        "the role does not exist, its trust policy does not let this node's role in (external ID, re-created node \
         role), or a policy of the node's role does not allow sts:AssumeRole on it",
    ),
    (&["NoSuchEntity"], Kind::Final, "the role does not exist"),
    (
        &[
            "ValidationError",
            "ValidationException",
            "InvalidParameterValue",
            "InvalidParameterCombination",
            "MissingParameter",
        ],
        Kind::Final,
        "STS does not accept one of the inputs; a duration above the role's MaxSessionDuration, or above 3600 s when \
         the node's role is itself assumed (role chaining), is the usual one",
    ),
    (
        &[
            "MalformedPolicyDocument",
            "MalformedPolicyDocumentException",
        ],
        Kind::Final,
        "the session policy is not valid",
    ),
    (
        &["PackedPolicyTooLarge", "PackedPolicyTooLargeException"],
        Kind::Final,
        "session policies and tags are too large together",
    ),
    (
        &["RegionDisabledException", "OptInRequired"],
        Kind::Final,
        "STS is not activated in this region for the account",
    ),
    (
        &["InvalidAction", "NotAuthorized"],
        Kind::Final,
        "the endpoint does not serve AssumeRole to this caller",
    ),
    (
        &["ExpiredToken", "ExpiredTokenException"],
        Kind::Transient,
        "the node's own credentials have expired and new ones have not arrived",
    ),
    (
        &[
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "MissingAuthenticationToken",
        ],
        Kind::Transient,
        "AWS does not know the node's own credentials: deleted, of another partition, or of a region that the account \
         has not enabled",
    ),
    (
        &[
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "IncompleteSignature",
            "AuthFailure",
            "RequestExpired",
            "RequestTimeTooSkewed",
        ],
        Kind::Transient,
        "the node's clock is wrong, or its secret access key is",
    ),
    (
        &[
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "RequestLimitExceeded",
            "TooManyRequestsException",
            "BandwidthLimitExceeded",
            "LimitExceededException",
            "SlowDown",
        ],
        Kind::Throttled,
        "STS limits the calls of the node's account",
    ),
    (
        &[
            "InternalFailure",
            "InternalError",
            "InternalServerError",
            "ServiceUnavailable",
            "RequestTimeout",
            "RequestTimeoutException",
        ],
        Kind::Transient,
        "STS has a problem of its own",
    ),
];

/// Codes that say that the node's own credentials are no good: they must be fetched anew, not taken from a cache.
const NODE_CREDENTIALS: &[&str] = &[
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
];

/// The code under which errors are counted that we do not know, as kube2iam names it.
const UNKNOWN: &str = "UnknownError";

impl StsError {
    /// An error that is not AWS's: it goes away when its cause does.
    pub(crate) fn transient(
        code: &'static str,
        message: impl Into<String>,
        cause: &'static str,
    ) -> Self {
        Self {
            kind: Kind::Transient,
            code,
            message: one_line(message.into()),
            cause,
        }
    }

    /// The answer was a success and cannot be used.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::transient(
            "MalformedResponse",
            message,
            "something else than STS answered, or the answer broke off",
        )
    }

    /// The node has no credentials of its own to ask STS with.
    pub(super) fn no_node_credentials(error: &(dyn Error + 'static)) -> Self {
        Self::transient(
            "NoNodeCredentials",
            chain(error),
            "the node has no instance profile and no other credentials, or its metadata service cannot be reached",
        )
    }

    /// Sorts what the SDK returned.
    pub(crate) fn sort<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: HttpStatus + std::fmt::Debug + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => {
                let service = answer.err();
                let message = service
                    .message()
                    .map_or_else(|| chain(service), str::to_owned);
                match (service.code(), answer.raw().http_status()) {
                    // The SDK's word for a success that it cannot read.
                    (None, 200..300) => Self::malformed(message),
                    (code, status) => Self::answered(code, message, status),
                }
            }
            SdkError::TimeoutError(_) => Self::timeout(error),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Self::timeout(error),
            SdkError::ResponseError(_) => Self::malformed(chain(error)),
            _ if has_source::<CredentialsError>(error) => Self::no_node_credentials(error),
            _ => Self::transient(
                "Unreachable",
                chain(error),
                "no network path, name or trusted certificate for the STS endpoint",
            ),
        }
    }

    fn timeout(error: &(dyn Error + 'static)) -> Self {
        Self::transient(
            "Timeout",
            chain(error),
            "the STS endpoint is slow, or packets to it are dropped (VPC endpoint, security group)",
        )
    }

    /// Sorts an answer of the service: by its code where we know it, else by its status. An error without a code is
    /// not STS's own.
    fn answered(code: Option<&str>, message: String, status: u16) -> Self {
        let known = code.and_then(|code| {
            CODES.iter().find_map(|(codes, kind, cause)| {
                let code = codes.iter().find(|known| **known == code)?;
                Some((*code, *kind, *cause))
            })
        });
        let (known_code, kind, cause) = known.unwrap_or(match (code, status) {
            (_, 429) => (
                UNKNOWN,
                Kind::Throttled,
                "STS limits the calls of the node's account",
            ),
            (_, 408 | 500..) => (UNKNOWN, Kind::Transient, "STS has a problem of its own"),
            (Some(_), _) => (UNKNOWN, Kind::Final, "see the message"),
            (None, _) => (UNKNOWN, Kind::Transient, "something else than STS answered"),
        });
        let message = match code {
            Some(code) if code != known_code => format!("{code}: {message}"),
            _ => message,
        };
        Self {
            kind,
            code: known_code,
            message: one_line(message),
            cause,
        }
    }

    /// As STS answers it with 400, for tests of what an error means.
    #[cfg(test)]
    pub(crate) fn of_code(code: &str, message: &str) -> Self {
        Self::answered(Some(code), message.to_owned(), 400)
    }

    /// Whether the node's own credentials must be fetched anew before the next call.
    pub(super) fn blames_node_credentials(&self) -> bool {
        NODE_CREDENTIALS.contains(&self.code)
    }
}

/// A response's status, of the SDK's type and of the tests'.
pub(crate) trait HttpStatus {
    fn http_status(&self) -> u16;
}

impl HttpStatus for aws_smithy_runtime_api::client::orchestrator::HttpResponse {
    fn http_status(&self) -> u16 {
        self.status().as_u16()
    }
}

/// The texts of an error and its sources. Never `Debug`: the SDK's would print the body of a response.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

fn has_source<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<E>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// Keeps what came over the network from writing log lines of its own.
fn one_line(text: String) -> String {
    if text.contains(char::is_control) {
        text.replace(char::is_control, " ")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(code: &str, status: u16) -> (Kind, &'static str) {
        let error = StsError::answered(Some(code), "text".into(), status);
        (error.kind, error.code)
    }

    #[test]
    fn each_code_of_aws_has_its_kind_whatever_the_status() {
        for (kind, codes) in [
            (
                Kind::Final,
                &[
                    "AccessDenied",
                    "NoSuchEntity",
                    "ValidationError",
                    "MalformedPolicyDocument",
                    "PackedPolicyTooLarge",
                    "RegionDisabledException",
                ][..],
            ),
            (
                Kind::Transient,
                &[
                    "ExpiredToken",
                    "InvalidClientTokenId",
                    "SignatureDoesNotMatch",
                    "RequestExpired",
                    "InternalFailure",
                    "ServiceUnavailable",
                ],
            ),
            (
                Kind::Throttled,
                &["Throttling", "ThrottlingException", "RequestLimitExceeded"],
            ),
        ] {
            for code in codes {
                for status in [400, 403, 503] {
                    assert_eq!(sorted(code, status), (kind, *code));
                }
            }
        }
    }

    #[test]
    fn an_unknown_code_is_sorted_by_its_status_and_counted_under_one_name() {
        for (status, kind) in [
            (400, Kind::Final),
            (403, Kind::Final),
            (408, Kind::Transient),
            (429, Kind::Throttled),
            (500, Kind::Transient),
            (503, Kind::Transient),
        ] {
            assert_eq!(sorted("Novelty", status), (kind, "UnknownError"));
        }
        let error = StsError::answered(Some("Novelty"), "text".into(), 400);
        assert_eq!(error.message, "Novelty: text");
    }

    #[test]
    fn an_answer_without_a_code_is_not_a_final_word_of_sts() {
        let error = StsError::answered(None, "text".into(), 403);
        assert_eq!(error.kind, Kind::Transient);
    }

    #[test]
    fn no_code_stands_in_the_table_twice() {
        let mut codes: Vec<_> = CODES.iter().flat_map(|(codes, ..)| *codes).collect();
        let all = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }

    #[test]
    fn the_codes_that_blame_the_nodes_credentials_are_all_known_and_transient() {
        for code in NODE_CREDENTIALS {
            assert_eq!(sorted(code, 403), (Kind::Transient, *code));
        }
    }

    #[test]
    fn what_aws_says_stays_one_line() {
        let error = StsError::answered(Some("AccessDenied"), "a\nb\r\u{1b}[31mc".into(), 403);
        assert!(!error.to_string().contains(char::is_control));
    }
}
