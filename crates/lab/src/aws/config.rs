//! What the lab's AWS is made of: account, region, node role, trust policies, clock.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// Is part of everything that no pod may ever read: the node's credentials, its instance profile's ID, IMDS tokens,
/// user data, public keys. A test greps for it in the bytes that a pod received.
pub const CANARY: &str = "LABCANARY";

/// The AWS to stand in for. `Config::default()` is a node in us-east-1 whose role may assume every role.
#[derive(Clone, Debug)]
pub struct Config {
    /// The account's 12 digits.
    pub account: String,
    /// The region of the node and of STS.
    pub region: String,
    /// The name of the node's role and instance profile.
    pub node_role: String,
    /// The node's primary address.
    pub node_ip: Ipv4Addr,
    /// Whether IMDS answers requests without a token.
    pub tokens: TokenPolicy,
    /// Trust policies by role ARN; a role that is not listed trusts the node without conditions.
    pub trusts: BTreeMap<String, Trust>,
    /// Lifetime of every session, whatever `DurationSeconds` says; `None`: as asked.
    pub session_lifetime: Option<Duration>,
    /// The clock.
    pub now: Now,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            account: "123456789012".into(),
            region: "us-east-1".into(),
            node_role: "lab-node-role".into(),
            node_ip: Ipv4Addr::new(10, 0, 0, 10),
            tokens: TokenPolicy::Optional,
            trusts: BTreeMap::new(),
            session_lifetime: None,
            now: Now::system(),
        }
    }
}

/// `HttpTokens` of the instance's metadata options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPolicy {
    /// IMDSv1 and IMDSv2. A token that is sent must be valid all the same.
    Optional,
    /// IMDSv2 only.
    Required,
}

/// What a role's trust policy demands of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It does not trust the node (or does not exist: STS says the same).
    Nobody,
    /// `sts:ExternalId` must equal this.
    ExternalId(String),
}

/// A clock that a test may replace with its own.
#[derive(Clone)]
pub struct Now(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Now {
    /// The system's clock.
    #[allow(
        clippy::disallowed_methods,
        reason = "the lab is no part of the agent, and tests replace this clock"
    )]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock of the caller's.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now, in whole seconds, as AWS tells it.
    pub(super) fn get(&self) -> Timestamp {
        Timestamp::from_second((self.0)().as_second()).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}

/// Adds a lifetime to a time of day that AWS told.
pub(super) fn after(now: Timestamp, lifetime: Duration) -> Timestamp {
    now.checked_add(lifetime).unwrap_or(Timestamp::MAX)
}
