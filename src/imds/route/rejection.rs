//! Why a request is refused before it is known who asks; `imds` turns it into the reply, the log line and the metric.

use thiserror::Error;

/// Why a request line, or the headers that go with it, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// Characters or forms that no client of IMDS sends.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// Nothing is there, or nothing that a pod may see.
    #[error("not found")]
    NotFound,
    /// The path exists, but not for this method.
    #[error("method not allowed; allowed: {0}")]
    MethodNotAllowed(&'static str),
    /// The Host header names something else than the metadata service.
    #[error("the Host header must be the metadata service's address")]
    ForeignHost,
    /// The TTL asked for a token is missing or out of range.
    #[error("X-aws-ec2-metadata-token-ttl-seconds must be a number from 1 to 21600")]
    BadTokenTtl,
    /// A token was asked for through a proxy.
    #[error("tokens are not given to requests with X-Forwarded-For")]
    ForwardedToken,
}

impl Rejection {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) | Self::BadTokenTtl => 400,
            Self::ForeignHost | Self::ForwardedToken => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed(_) => 405,
        }
    }

    /// A short, stable name: metric label and log field.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed-request",
            Self::ForeignHost => "foreign-host",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed(_) => "method-not-allowed",
            Self::BadTokenTtl => "bad-token-ttl",
            Self::ForwardedToken => "forwarded-token",
        }
    }
}
