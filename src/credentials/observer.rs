//! What the slots tell of themselves, for metrics. No secret is in it.

use std::time::Duration;

use podiam_iam::RoleArn;
use prometheus::IntCounter;

use super::body::Issued;
use super::queue::Priority;
use crate::authorize::Grant;
use crate::sts::Kind;

/// Who counts.
pub trait Observer: Send + Sync + 'static {
    /// A call to STS ended.
    fn call_finished(&self, call: &Call<'_>);
    /// The counter of requests for `role` that are answered with what is there already. Asked for once per slot, so
    /// that such a request takes no lock and allocates nothing.
    fn cache_hits(&self, role: &RoleArn) -> IntCounter;
    /// A session was obtained, and is about to be served.
    fn session_obtained(&self, grant: &Grant, issued: &Issued);
    /// A request was refused because STS had refused the role a short while before.
    fn refused_from_memory(&self);
    /// A request waited in vain; `queued` if the call it waited for had not even begun, for want of budget.
    fn request_expired(&self, queued: bool);
}

/// One call to STS, when it has ended.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// For whom.
    pub grant: &'a Grant,
    /// Why it was made.
    pub priority: Priority,
    /// [`crate::sts::SUCCESS`], or [`crate::sts::StsError::code`].
    pub code: &'static str,
    /// What kind of error it was; `None` for a session that can be used.
    pub error: Option<Kind>,
    /// The time in the queue.
    pub queued: Duration,
    /// The time of the call alone.
    pub took: Duration,
    /// What was left of the session that was held before; zero if it had expired, `None` if there was none.
    pub left: Option<Duration>,
}
