//! `AssumeRole`: a grant becomes a session. `credentials` asks here; nobody else does.
//!
//! The AWS SDK signs, resolves endpoints and parses; this module chooses its settings and sorts its errors into final,
//! transient and throttled. It never retries by itself and never shows AWS's words to a pod.

mod caller;
mod client;
mod denial;
mod error;

#[cfg(test)]
pub(crate) mod fake;

use std::fmt;

use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::authorize::Grant;
use crate::secret::Secret;

pub use caller::{Caller, CallerKind};
pub(crate) use client::load;
pub use client::{Settings, Sts};
pub use denial::Denial;
pub use error::{Kind, StsError};

/// The code under which a success is counted, as kube2iam names it.
pub const SUCCESS: &str = "Success";

/// Something that can assume roles: STS, or a fake in tests. It is kept as `dyn`, so its future is boxed: one
/// allocation beside a network call.
pub trait AssumeRole: Send + Sync + 'static {
    /// Asks for a new session. One call to AWS; two where the node's own credentials have just been rotated.
    fn assume<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<Session, StsError>>;
}

/// Temporary credentials of a role.
pub struct Session {
    /// `AccessKeyId`: not a secret, and what `CloudTrail` shows.
    pub access_key_id: String,
    /// `SecretAccessKey`.
    pub secret_access_key: Secret,
    /// `SessionToken`.
    pub token: Secret,
    /// `Expiration`, by AWS's clock.
    pub expires_at: Timestamp,
    /// When we asked, by our clock.
    pub obtained_at: Timestamp,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("access_key_id", &self.access_key_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
