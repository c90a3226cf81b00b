//! The base ARN: what completes the short name in a pod's annotation to the ARN of a role, and what is taken off again
//! before a role is shown to a pod.

use std::fmt;
use std::str::FromStr;

use crate::arn::{ArnError, RoleArn, check_path_length, check_segments, split};

/// `arn:PARTITION:iam::ACCOUNT:role/` or `...:role/PATH/`; it always ends with `/`.
///
/// All that kube2iam accepts and that can lead to a role is accepted, and the legal characters `+=,@` besides.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BaseArn(Box<str>);

impl BaseArn {
    /// Reads a base ARN; a missing `/` at the end is appended.
    pub fn parse(text: &str) -> Result<Self, ArnError> {
        let (_, resource) = split(text)?;
        let path = match resource.strip_prefix("role") {
            Some("") => "",
            Some(rest) => rest.strip_prefix('/').ok_or(ArnError::NotARole)?,
            None => return Err(ArnError::NotARole),
        };
        check_segments(path)?;
        check_path_length(path.strip_suffix('/').unwrap_or(path))?;
        let slash = if text.ends_with('/') { "" } else { "/" };
        Ok(Self(format!("{text}{slash}").into()))
    }

    /// The base ARN, `/` at the end included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ARN of the role that `value`, a name or a path and a name, stands for.
    pub fn complete(&self, value: &str) -> Result<RoleArn, ArnError> {
        RoleArn::parse(&format!("{}{value}", self.0))
    }

    /// The short form of a role below this base: the inverse of [`BaseArn::complete`].
    pub fn strip<'a>(&self, role: &'a RoleArn) -> Option<&'a str> {
        role.as_str().strip_prefix(&*self.0)
    }
}

impl fmt::Display for BaseArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BaseArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseArn({})", self.0)
    }
}

impl FromStr for BaseArn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}
