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
    #[error("its length is {0}, {MIN} to {MAX} characters are allowed")]
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::generate::role;

    fn kube2iam(address: &str, role: &str) -> String {
        let role = RoleArn::parse(&format!("arn:aws:iam::123456789012:role/{role}")).unwrap();
        SessionName::kube2iam(address.parse().unwrap(), &role).to_string()
    }

    #[test]
    fn kube2iams_names_are_kept() {
        for (address, role, expected) in [
            ("127.0.0.2", "my-role", "7a3cf8b-my-role"),
            ("127.0.0.9", "extrole", "a3c486-extrole"),
            ("127.0.0.12", "denied", "c5e24844-denied"),
            ("127.0.0.2", "pa/th/my-role", "7a3cf8b-my-role"),
            ("::ffff:127.0.0.2", "my-role", "7a3cf8b-my-role"),
            // FNV-1a-32 of the address as RFC 5952 writes it.
            ("fd00:0:0:0:0:0:0:1", "v6", "9954580a-v6"),
        ] {
            assert_eq!(kube2iam(address, role), expected);
        }
    }

    #[test]
    fn kube2iams_name_is_cut_at_64_characters() {
        let name = kube2iam("127.0.0.12", &"x".repeat(64));
        assert_eq!(name, format!("c5e24844-{}", "x".repeat(55)));
    }

    #[test]
    fn a_pods_session_reads_like_the_pod() {
        for (namespace, pod, expected) in [
            ("default", "web-0", "default.web-0@af63dc4c8601ec8c"),
            (
                "kube-system",
                "cluster-autoscaler-7d9f8b6c5d-x2x4z",
                "kube-system.cluster-autoscaler-7d9f8b6c5d-x2x4z@af63dc4c8601ec8c",
            ),
            (
                "kube-system",
                "cluster-autoscaler-7d9f8b6c5d-x2x4z1",
                "kube-system.cluster-autoscaler-7d9f8b6c5d-x2x4+@af63dc4c8601ec8c",
            ),
            (
                "a-namespace-with-a-very-long-name",
                "a-pod-with-a-very-long-name-too",
                "a-namespace-with-a-ver+.a-pod-with-a-very-long+@af63dc4c8601ec8c",
            ),
            (
                "a-namespace-with-a-very-long-name-of-46-chars-",
                "p",
                "a-namespace-with-a-very-long-name-of-46-char+.p@af63dc4c8601ec8c",
            ),
            ("from a file", "ä/b", "from_a_file.__b@af63dc4c8601ec8c"),
        ] {
            assert_eq!(SessionName::pod(namespace, pod, "a").as_str(), expected);
        }
    }

    #[test]
    fn a_cut_namespace_never_reads_like_another() {
        let long = SessionName::pod(&"n".repeat(63), &"p".repeat(63), "u");
        for length in 1..63 {
            let prefix = format!("{}.", "n".repeat(length));
            assert!(!long.as_str().starts_with(&prefix), "{long}");
        }
    }

    #[test]
    fn the_limits_of_sts_are_the_limits_here() {
        let longest = "x".repeat(MAX);
        for legal in ["ab", "a1_+=,.@-", longest.as_str()] {
            assert_eq!(SessionName::parse(legal).unwrap().as_str(), legal);
        }
        let too_long = "x".repeat(MAX + 1);
        for (text, error) in [
            ("", SessionNameError::Length(0)),
            ("a", SessionNameError::Length(1)),
            (&too_long, SessionNameError::Length(MAX + 1)),
            ("a/b", SessionNameError::Character('/')),
            ("a:b", SessionNameError::Character(':')),
            ("ab\n", SessionNameError::Character('\n')),
        ] {
            assert_eq!(SessionName::parse(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_legal(
            namespace in r"\PC{0,70}",
            pod in r"\PC{0,260}",
            uid in r"\PC{0,40}",
            address in any::<std::net::IpAddr>(),
            role in role(),
        ) {
            for name in [
                SessionName::pod(&namespace, &pod, &uid),
                SessionName::kube2iam(address, &role),
            ] {
                prop_assert_eq!(SessionName::parse(name.as_str()), Ok(name));
            }
        }

        #[test]
        fn two_uids_never_share_a_session(
            namespace in "[a-z0-9-]{1,63}",
            pod in "[a-z0-9.-]{1,253}",
            uids in prop::collection::hash_set("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", 50),
        ) {
            let names: std::collections::HashSet<_> =
                uids.iter().map(|uid| SessionName::pod(&namespace, &pod, uid)).collect();
            prop_assert_eq!(names.len(), uids.len());
        }
    }
}
