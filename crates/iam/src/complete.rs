//! From what people write, a name, a path and a name or an ARN, to the ARN of a role. The pod's annotation and the
//! agent's default role are read here and nowhere else, so that they can never be read differently.

use thiserror::Error;

use crate::arn::{ArnError, RoleArn};
use crate::base::BaseArn;

/// Why a value names no role. The value itself is not repeated: who reports the error has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CompleteError {
    /// Not an ARN, and nothing that would make one of it.
    #[error("it is a name, and there is no base ARN to complete it")]
    NoBase,
    /// As it stands, or completed, it is not the ARN of a role.
    #[error(transparent)]
    Arn(#[from] ArnError),
}

impl RoleArn {
    /// The role that `value` stands for: an ARN stands for itself, whatever the base; all else is completed by `base`.
    pub fn complete(value: &str, base: Option<&BaseArn>) -> Result<Self, CompleteError> {
        if Self::is_meant(value) {
            return Ok(Self::parse(value)?);
        }
        let base = base.ok_or(CompleteError::NoBase)?;
        Ok(base.complete(value)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::generate::role_below;

    #[test]
    fn an_arn_stands_for_itself_and_all_else_needs_a_base() {
        let base = BaseArn::parse("arn:aws:iam::123456789012:role/team/").unwrap();
        let elsewhere = "arn:aws-cn:iam::210987654321:role/x/app";
        for (value, base, expected) in [
            (
                "app",
                Some(&base),
                Ok("arn:aws:iam::123456789012:role/team/app"),
            ),
            (
                "a/b/app",
                Some(&base),
                Ok("arn:aws:iam::123456789012:role/team/a/b/app"),
            ),
            (elsewhere, Some(&base), Ok(elsewhere)),
            (elsewhere, None, Ok(elsewhere)),
            ("app", None, Err(CompleteError::NoBase)),
            ("", None, Err(CompleteError::NoBase)),
            ("", Some(&base), Err(ArnError::NameMissing.into())),
            (" app", Some(&base), Err(ArnError::Character(' ').into())),
            ("/app", Some(&base), Err(ArnError::EmptySegment.into())),
            // Meant as ARNs, and never completed to something that they do not say.
            (
                "ARN:aws:iam::123456789012:role/app",
                Some(&base),
                Err(ArnError::Prefix.into()),
            ),
            ("arn:", Some(&base), Err(ArnError::Incomplete.into())),
            ("arn:", None, Err(ArnError::Incomplete.into())),
        ] {
            let role = RoleArn::complete(value, base);
            let role = role.as_ref().map(RoleArn::as_str).map_err(|error| *error);
            assert_eq!(role, expected, "{value:?} below {base:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_of_a_role_and_its_arn_both_lead_back_to_it((base, role) in role_below()) {
            let short = base.strip(&role).unwrap();
            prop_assert_eq!(RoleArn::complete(short, Some(&base)), Ok(role.clone()));
            prop_assert_eq!(RoleArn::complete(role.as_str(), Some(&base)), Ok(role.clone()));
            prop_assert_eq!(RoleArn::complete(role.as_str(), None), Ok(role));
        }
    }
}
