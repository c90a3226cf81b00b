//! An element that IAM lets be one value or a list of them.

use std::fmt;
use std::ops::Deref;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Values of a policy's element, in the order written. One is written as itself, several as a list. Numbers and truth
/// values, which conditions may hold, are read as their text, as IAM compares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List(Vec<String>);

impl List {
    /// Whether this is the element that was left out.
    pub(super) fn is_absent(&self) -> bool {
        self.0.is_empty()
    }
}

impl Deref for List {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl<T: Into<String>> FromIterator<T> for List {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<String>, const N: usize> From<[T; N]> for List {
    fn from(values: [T; N]) -> Self {
        values.into_iter().collect()
    }
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &*self.0 {
            [one] => serializer.serialize_str(one),
            several => serializer.collect_seq(several),
        }
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = List;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of values")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<List, E> {
        Ok(List::from([value]))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<List, E> {
        Ok(List::from([value.to_string()]))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<List, E> {
        Ok(List::from([value.to_string()]))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<List, E> {
        Ok(List::from([value.to_string()]))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<List, E> {
        Ok(List::from([value.to_string()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<List, A::Error> {
        let mut all = Vec::new();
        while let Some(List(inner)) = values.next_element()? {
            all.extend(inner);
        }
        Ok(List(all))
    }
}
