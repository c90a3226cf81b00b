//! The external ID: what a role's trust policy may demand besides the caller's name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::charset::first_illegal;

const MIN: usize = 2;
const MAX: usize = 1224;

/// Why STS would refuse a text as external ID. The text itself is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExternalIdError {
    /// Shorter than 2 or longer than 1224 characters.
    #[error("its length is {0}, {MIN} to {MAX} characters are allowed")]
    Length(usize),
    /// Not one of `[\w+=,.@:/-]`.
    #[error("the character {0:?} is not allowed in it")]
    Character(char),
}

/// An external ID for `AssumeRole`: 2 to 1224 characters of `[\w+=,.@:/-]` (STS API, `ExternalId`). Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExternalId(Arc<str>);

impl ExternalId {
    /// Reads an external ID; nothing is trimmed.
    pub fn parse(text: &str) -> Result<Self, ExternalIdError> {
        if let Some(illegal) = first_illegal(text, &[':', '/']) {
            return Err(ExternalIdError::Character(illegal));
        }
        if !(MIN..=MAX).contains(&text.len()) {
            return Err(ExternalIdError::Length(text.len()));
        }
        Ok(Self(text.into()))
    }

    /// The external ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ExternalId {
    type Err = ExternalIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_sts_are_the_limits_here() {
        let longest = "x".repeat(MAX);
        for legal in ["ab", "a1_+=,.@:/-", longest.as_str()] {
            assert_eq!(
                ExternalId::parse(legal).map(|id| id.to_string()),
                Ok(legal.to_owned())
            );
        }
        let too_long = "x".repeat(MAX + 1);
        for (text, error) in [
            ("", ExternalIdError::Length(0)),
            ("a", ExternalIdError::Length(1)),
            (&too_long, ExternalIdError::Length(MAX + 1)),
            ("a b", ExternalIdError::Character(' ')),
            (" ab", ExternalIdError::Character(' ')),
            ("ab\n", ExternalIdError::Character('\n')),
            ("äöü", ExternalIdError::Character('ä')),
            ("a*b", ExternalIdError::Character('*')),
        ] {
            assert_eq!(ExternalId::parse(text), Err(error), "{text:?}");
        }
    }
}
