//! What a session carries beside its role and its name: session tags, a source identity, a session policy. Part of the
//! grant, and so of the key under which credentials are kept.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use podiam_iam::SessionName;
use thiserror::Error;

use super::session_policy::SessionPolicy;

/// The longest key and value of a session tag, in characters (STS API, `Tag`).
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

/// Why STS would refuse a session tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum TagError {
    /// The key is empty or too long.
    #[error("its key has {0} characters, 1 to {MAX_KEY} are allowed")]
    Key(usize),
    /// The value is too long.
    #[error("its value has {0} characters, at most {MAX_VALUE} are allowed")]
    Value(usize),
    /// Not one that we send.
    #[error("the character {0:?} is not allowed in it")]
    Character(char),
}

/// A session tag. Of what STS allows only the ASCII part: letters, digits, space and `_.:/=+-@`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    key: Arc<str>,
    value: Arc<str>,
}

impl Tag {
    /// A tag that STS takes.
    pub(super) fn new(key: &str, value: &str) -> Result<Self, TagError> {
        let illegal = |c: &char| !(c.is_ascii_alphanumeric() || " _.:/=+-@".contains(*c));
        if let Some(illegal) = key.chars().chain(value.chars()).find(illegal) {
            return Err(TagError::Character(illegal));
        }
        if !(1..=MAX_KEY).contains(&key.len()) {
            return Err(TagError::Key(key.len()));
        }
        if value.len() > MAX_VALUE {
            return Err(TagError::Value(value.len()));
        }
        Ok(Self {
            key: key.into(),
            value: value.into(),
        })
    }

    /// `Key`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// `Value`.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// All of it; nothing by default. Hashed once, when it is made: a request's look-up does not pay for its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    tags: Vec<Tag>,
    transitive: bool,
    source_identity: Option<SessionName>,
    policy: Option<SessionPolicy>,
    fingerprint: u64,
}

impl Attributes {
    /// `transitive`: the tags follow into the roles that the session assumes. Keys differ, whatever their case.
    pub fn new(
        tags: Vec<Tag>,
        transitive: bool,
        source_identity: Option<SessionName>,
        policy: Option<SessionPolicy>,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        (&tags, transitive, &source_identity, &policy).hash(&mut hasher);
        Self {
            tags,
            transitive,
            source_identity,
            policy,
            fingerprint: hasher.finish(),
        }
    }

    /// `Tags`.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// `TransitiveTagKeys`: all or none.
    pub fn transitive_tag_keys(&self) -> impl Iterator<Item = &str> {
        let is_transitive = |_: &&Tag| self.transitive;
        self.tags.iter().filter(is_transitive).map(Tag::key)
    }

    /// `SourceIdentity`, which has a session name's length and characters (STS API).
    pub fn source_identity(&self) -> Option<&SessionName> {
        self.source_identity.as_ref()
    }

    /// `Policy` and `PolicyArns`.
    pub fn policy(&self) -> Option<&SessionPolicy> {
        self.policy.as_ref()
    }
}

impl Default for Attributes {
    fn default() -> Self {
        Self::new(Vec::new(), false, None, None)
    }
}

impl Hash for Attributes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_what_sts_takes() {
        assert!(Tag::new("kubernetes-namespace", "").is_ok());
        assert!(Tag::new("app.kubernetes.io/name", "a b_c.d:e/f=g+h-i@j").is_ok());
        assert!(Tag::new(&"k".repeat(128), &"v".repeat(256)).is_ok());
        for (key, value, error) in [
            ("", "v", TagError::Key(0)),
            (&*"k".repeat(129), "v", TagError::Key(129)),
            ("k", &*"v".repeat(257), TagError::Value(257)),
            ("k", "a\nb", TagError::Character('\n')),
            ("k*", "v", TagError::Character('*')),
        ] {
            assert_eq!(Tag::new(key, value), Err(error));
        }
    }

    #[test]
    fn each_part_makes_another_key() {
        let tag = |value| vec![Tag::new("k", value).unwrap()];
        let name = |name| Some(SessionName::parse(name).unwrap());
        let all = [
            Attributes::default(),
            Attributes::new(tag("a"), false, None, None),
            Attributes::new(tag("b"), false, None, None),
            Attributes::new(tag("a"), true, None, None),
            Attributes::new(tag("a"), false, name("one"), None),
            Attributes::new(tag("a"), false, name("two"), None),
            Attributes::new(
                tag("a"),
                false,
                None,
                SessionPolicy::parse(Some(r#"{"Statement":[]}"#), None).unwrap(),
            ),
        ];
        for (number, one) in all.iter().enumerate() {
            for other in &all[..number] {
                assert_ne!(one, other);
                assert_ne!(one.fingerprint, other.fingerprint);
            }
        }
    }
}
