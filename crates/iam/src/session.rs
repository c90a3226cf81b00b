//! The session name: what `CloudTrail` shows beside the role, and part of the key under which credentials are kept.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::arn::RoleArn;
use crate::charset::{first_illegal, is_name};
use crate::fnv::{fnv1a_32, fnv1a_64};

const MIN: usize = 2;
const MAX: usize = 64;

/// Stands where a namespace or a pod's name was cut. No name in Kubernetes contains it, so a cut namespace never reads
/// like another, shorter one (trust policies may match on `sts:RoleSessionName`).
const CUT: char = '+';

/// Why STS would refuse a text as session name. The text itself is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SessionNameError {
    /// Shorter than 2 or longer than 64 characters.
    #[error("it has {0} characters, {MIN} to {MAX} are allowed")]
    Length(usize),
    /// Not one of `[\w+=,.@-]`.
    #[error("the character {0:?} is not allowed in it")]
    Character(char),
}

/// A `RoleSessionName`: 2 to 64 characters of `[\w+=,.@-]` (STS API). Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionName(Arc<str>);

impl SessionName {
    /// Reads a session name; nothing is trimmed.
    pub fn parse(text: &str) -> Result<Self, SessionNameError> {
        if let Some(illegal) = first_illegal(text, &[]) {
            return Err(SessionNameError::Character(illegal));
        }
        if !(MIN..=MAX).contains(&text.len()) {
            return Err(SessionNameError::Length(text.len()));
        }
        Ok(Self(text.into()))
    }

    /// kube2iam's name: a hash of an address, `-`, and the role's name, cut to 64. An IPv4-mapped IPv6 address counts
    /// as the IPv4 address.
    pub fn kube2iam(address: IpAddr, role: &RoleArn) -> Self {
        let hash = fnv1a_32(address.to_canonical().to_string().as_bytes());
        let mut name = format!("{hash:x}-{}", role.name());
        // A role's name is ASCII, so every index is a character's.
        name.truncate(MAX);
        Self(name.into())
    }

    /// A pod's own name, `NAMESPACE.POD@HASH`: the hash is 64 bits of the pod's UID in hexadecimal, so a re-created pod
    /// of the same name has another. What is too long is cut, from whichever of the two names takes more than half.
    pub fn pod(namespace: &str, pod: &str, uid: &str) -> Self {
        let hash = format!("{:016x}", fnv1a_64(uid.as_bytes()));
        let room = MAX - hash.len() - ".@".len();
        let half = room / 2;
        let namespace = fit(
            namespace,
            half.max(room.saturating_sub(pod.chars().count())),
        );
        let pod = fit(pod, room - namespace.len());
        Self(format!("{namespace}.{pod}@{hash}").into())
    }

    /// The session name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// At most `room` legal characters, all ASCII, that stand for `text`.
fn fit(text: &str, room: usize) -> String {
    let legal = |c| if is_name(c) { c } else { '_' };
    if text.chars().count() <= room {
        return text.chars().map(legal).collect();
    }
    text.chars()
        .map(legal)
        .take(room - 1)
        .chain([CUT])
        .collect()
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SessionName {
    type Err = SessionNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for SessionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
