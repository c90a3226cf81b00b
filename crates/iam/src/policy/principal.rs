//! Who a statement of a trust policy speaks of.

use std::collections::BTreeMap;

use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::list::List;

/// The element `Principal` or `NotPrincipal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// `"*"`: anyone, of any account.
    Anyone,
    /// By kind: `AWS`, `Service`, `Federated`, `CanonicalUser`.
    Of(BTreeMap<String, List>),
}

impl Principal {
    /// Roles, users or accounts, by ARN.
    pub fn aws<T: Into<String>>(arns: impl IntoIterator<Item = T>) -> Self {
        Self::Of(BTreeMap::from([("AWS".to_owned(), List::from_iter(arns))]))
    }

    /// The names of one kind; `Anyone` is `*` of the kind `AWS`.
    pub fn names(&self, kind: &str) -> Vec<&str> {
        match self {
            Self::Anyone if kind == "AWS" => vec!["*"],
            Self::Anyone => Vec::new(),
            Self::Of(kinds) => kinds
                .get(kind)
                .map(|names| names.iter().map(String::as_str).collect())
                .unwrap_or_default(),
        }
    }
}

impl Serialize for Principal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Anyone => serializer.serialize_str("*"),
            Self::Of(kinds) => kinds.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Principal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PrincipalVisitor)
    }
}

struct PrincipalVisitor;

impl<'de> Visitor<'de> for PrincipalVisitor {
    type Value = Principal;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"*\" or principals by kind")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Principal, E> {
        match text {
            "*" => Ok(Principal::Anyone),
            // Not legal, but what it is meant to be is plain.
            arn => Ok(Principal::aws([arn])),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Principal, A::Error> {
        BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(Principal::Of)
    }
}
