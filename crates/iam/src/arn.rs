//! The ARN of a role: the only thing that is ever sent to `AssumeRole`. Who holds a [`RoleArn`] need not check again;
//! a text that IAM could not have issued never becomes one, and the error says what is wrong with it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::charset::first_illegal;
use crate::partition::{Partition, UnknownPartition};

const ACCOUNT_DIGITS: usize = 12;
const MAX_PATH: usize = 512;
const MAX_NAME: usize = 64;

/// Why a text is not the ARN of a role. The text itself is not repeated: who reports the error has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ArnError {
    /// Not an ARN at all.
    #[error("it does not start with \"arn:\" (lower-case)")]
    Prefix,
    /// Some of the six parts are missing.
    #[error("it is not of the form arn:PARTITION:iam::ACCOUNT:role/NAME")]
    Incomplete,
    /// A partition that does not exist.
    #[error(transparent)]
    Partition(#[from] UnknownPartition),
    /// The ARN of a session: `sts` in place of `iam`.
    #[error("it is the ARN of a session, not of a role (arn:PARTITION:iam::ACCOUNT:role/NAME)")]
    Session,
    /// The ARN of another service.
    #[error("its service is not \"iam\"")]
    Service,
    /// IAM is global: the region's place is empty.
    #[error("it has a region, which the ARN of a role never has")]
    Region,
    /// Not twelve digits.
    #[error("its account is not 12 digits")]
    Account,
    /// A user, a policy, an instance profile...
    #[error("it does not name a role: \"role/\" is missing after the account")]
    NotARole,
    /// Nothing after the last `/`.
    #[error("the role's name is missing after the last \"/\"")]
    NameMissing,
    /// `//`, as an extra `/` at the start of a role's name makes it.
    #[error("its path has an empty part (\"//\")")]
    EmptySegment,
    /// `.` or `..`, which HTTP clients would take for something else in the URL.
    #[error("a part of its path or its name is \".\" or \"..\"")]
    DotSegment,
    /// Not one of `[\w+=,.@-]` (and `/` between the parts of the path).
    #[error("the character {0:?} is not allowed in a role's path or name")]
    Character(char),
    /// More than 512 characters of path.
    #[error("the length of its path is {0}, at most {MAX_PATH} characters are allowed")]
    PathTooLong(usize),
    /// More than 64 characters of name.
    #[error("the length of the role's name is {0}, at most {MAX_NAME} characters are allowed")]
    NameTooLong(usize),
}

/// The ARN of an IAM role, `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`. Cheap to clone.
///
/// Limits and characters are those of the IAM API's `CreateRole` (name `[\w+=,.@-]{1,64}`, path at most 512), with the
/// path narrowed from "any printable ASCII" to the name's characters, without empty parts and dot segments.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleArn {
    text: Arc<str>,
    /// Follows from `text`, and with it the place of everything else does.
    partition: Partition,
}

impl RoleArn {
    /// Reads an ARN; nothing is trimmed or completed.
    pub fn parse(text: &str) -> Result<Self, ArnError> {
        let (partition, resource) = split(text)?;
        let role = resource.strip_prefix("role/").ok_or(ArnError::NotARole)?;
        check_segments(role)?;
        let (path, name) = role.rsplit_once('/').unwrap_or(("", role));
        if name.is_empty() {
            return Err(ArnError::NameMissing);
        }
        if name.len() > MAX_NAME {
            return Err(ArnError::NameTooLong(name.len()));
        }
        check_path_length(path)?;
        Ok(Self {
            text: text.into(),
            partition,
        })
    }

    /// Whether a text is meant as an ARN rather than as a role's name: it starts with `arn:`, in any case, as kube2iam
    /// decides it. (A role's name cannot contain `:`.)
    pub fn is_meant(text: &str) -> bool {
        text.get(..4)
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case("arn:"))
    }

    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The account: twelve digits.
    pub fn account(&self) -> &str {
        let start = account_start(self.partition);
        &self.text[start..start + ACCOUNT_DIGITS]
    }

    /// The path: `/`, or `/a/b/`.
    pub fn path(&self) -> &str {
        let start = account_start(self.partition) + ACCOUNT_DIGITS + ":role".len();
        &self.text[start..self.name_start()]
    }

    /// The name: what stands after the last `/`.
    pub fn name(&self) -> &str {
        &self.text[self.name_start()..]
    }

    fn name_start(&self) -> usize {
        self.text.rfind('/').map_or(0, |slash| slash + 1)
    }
}

fn account_start(partition: Partition) -> usize {
    "arn:".len() + partition.as_str().len() + ":iam::".len()
}

/// Splits off `arn:PARTITION:iam::ACCOUNT:` and checks it; what is left is the resource, unchecked.
pub(crate) fn split(text: &str) -> Result<(Partition, &str), ArnError> {
    let rest = text.strip_prefix("arn:").ok_or(ArnError::Prefix)?;
    let mut parts = rest.splitn(5, ':');
    let (Some(partition), Some(service), Some(region), Some(account), Some(resource)) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return Err(ArnError::Incomplete);
    };
    let partition = partition.parse()?;
    match service {
        "iam" => {}
        "sts" => return Err(ArnError::Session),
        _ => return Err(ArnError::Service),
    }
    if !region.is_empty() {
        return Err(ArnError::Region);
    }
    if account.len() != ACCOUNT_DIGITS || !account.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ArnError::Account);
    }
    Ok((partition, resource))
}

/// Checks what stands after `role/`; only its last part may be empty.
pub(crate) fn check_segments(role: &str) -> Result<(), ArnError> {
    if let Some(illegal) = first_illegal(role, &['/']) {
        return Err(ArnError::Character(illegal));
    }
    if role.starts_with('/') || role.contains("//") {
        return Err(ArnError::EmptySegment);
    }
    if role.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(ArnError::DotSegment);
    }
    Ok(())
}

/// Checks a path that is given without its outer slashes.
pub(crate) fn check_path_length(inner: &str) -> Result<(), ArnError> {
    let length = match inner.len() {
        0 => 1,
        inner => inner + 2,
    };
    if length > MAX_PATH {
        return Err(ArnError::PathTooLong(length));
    }
    Ok(())
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoleArn({})", self.text)
    }
}

impl FromStr for RoleArn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl AsRef<str> for RoleArn {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl Serialize for RoleArn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::generate::{path, segment};

    #[test]
    fn the_parts_of_an_arn_are_where_they_belong() {
        let plain = RoleArn::parse("arn:aws:iam::123456789012:role/app").unwrap();
        assert_eq!(plain.partition(), Partition::Aws);
        assert_eq!(plain.account(), "123456789012");
        assert_eq!(plain.path(), "/");
        assert_eq!(plain.name(), "app");

        let deep = RoleArn::parse("arn:aws-us-gov:iam::000000000001:role/a/b.c/x+=,.@_-Y").unwrap();
        assert_eq!(deep.partition(), Partition::AwsUsGov);
        assert_eq!(deep.account(), "000000000001");
        assert_eq!(deep.path(), "/a/b.c/");
        assert_eq!(deep.name(), "x+=,.@_-Y");
    }

    #[test]
    fn each_way_to_be_wrong_has_its_own_error() {
        let long_name = format!("arn:aws:iam::123456789012:role/{}", "x".repeat(65));
        let long_path = format!("arn:aws:iam::123456789012:role/{}/x", "y".repeat(511));
        for (text, error) in [
            ("", ArnError::Prefix),
            ("app", ArnError::Prefix),
            (" arn:aws:iam::123456789012:role/app", ArnError::Prefix),
            ("ARN:aws:iam::123456789012:role/app", ArnError::Prefix),
            ("arn:", ArnError::Incomplete),
            ("arn:aws:iam:123456789012:role/app", ArnError::Incomplete),
            (
                "arn:AWS:iam::123456789012:role/app",
                ArnError::Partition(UnknownPartition),
            ),
            (
                "arn::iam::123456789012:role/app",
                ArnError::Partition(UnknownPartition),
            ),
            (
                "arn:aws:sts::123456789012:assumed-role/app/i-0",
                ArnError::Session,
            ),
            ("arn:aws:s3::123456789012:role/app", ArnError::Service),
            (
                "arn:aws:iam:us-east-1:123456789012:role/app",
                ArnError::Region,
            ),
            ("arn:aws:iam::12345678901:role/app", ArnError::Account),
            ("arn:aws:iam::1234567890123:role/app", ArnError::Account),
            ("arn:aws:iam::12345678901x:role/app", ArnError::Account),
            ("arn:aws:iam::١٢٣٤٥٦:role/app", ArnError::Account),
            ("arn:aws:iam::123456789012:user/app", ArnError::NotARole),
            ("arn:aws:iam::123456789012:Role/app", ArnError::NotARole),
            ("arn:aws:iam::123456789012:role", ArnError::NotARole),
            ("arn:aws:iam::123456789012:role:app", ArnError::NotARole),
            ("arn:aws:iam::123456789012:role/", ArnError::NameMissing),
            ("arn:aws:iam::123456789012:role/app/", ArnError::NameMissing),
            (
                "arn:aws:iam::123456789012:role//app",
                ArnError::EmptySegment,
            ),
            (
                "arn:aws:iam::123456789012:role/a//app",
                ArnError::EmptySegment,
            ),
            (
                "arn:aws:iam::123456789012:role/../app",
                ArnError::DotSegment,
            ),
            ("arn:aws:iam::123456789012:role/a/.", ArnError::DotSegment),
            (
                "arn:aws:iam::123456789012:role/a b",
                ArnError::Character(' '),
            ),
            (
                "arn:aws:iam::123456789012:role/app\n",
                ArnError::Character('\n'),
            ),
            (
                "arn:aws:iam::123456789012:role/app:x",
                ArnError::Character(':'),
            ),
            (
                "arn:aws:iam::123456789012:role/a*",
                ArnError::Character('*'),
            ),
            ("arn:aws:iam::123456789012:role/ä", ArnError::Character('ä')),
            (&long_name, ArnError::NameTooLong(65)),
            (&long_path, ArnError::PathTooLong(513)),
        ] {
            assert_eq!(RoleArn::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_longest_legal_path_and_name_are_accepted() {
        let text = format!(
            "arn:aws:iam::123456789012:role/{}/{}",
            "y".repeat(510),
            "x".repeat(64)
        );
        assert_eq!(RoleArn::parse(&text).map(|arn| arn.path().len()), Ok(512));
    }

    #[test]
    fn what_starts_with_arn_in_any_case_is_meant_as_an_arn() {
        for text in ["arn:", "ARN:aws", "Arn:x"] {
            assert!(RoleArn::is_meant(text), "{text}");
        }
        for text in ["", "arn", "arno", " arn:", "role", "äarn:", "arä:"] {
            assert!(!RoleArn::is_meant(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_arn_is_the_sum_of_its_parts(
            partition in select(&Partition::ALL[..]),
            account in "[0-9]{12}",
            path in path(),
            name in segment(),
        ) {
            let text = format!("arn:{partition}:iam::{account}:role/{path}{name}");
            let arn = RoleArn::parse(&text).unwrap();
            prop_assert_eq!(arn.to_string(), text);
            prop_assert_eq!(arn.partition(), partition);
            prop_assert_eq!(arn.account(), account);
            prop_assert_eq!(arn.path(), format!("/{path}"));
            prop_assert_eq!(arn.name(), name);
        }

        #[test]
        fn no_text_panics_and_what_is_accepted_is_kept_to_the_letter(
            text in r"(arn:(aws|aws-cn|x)?:(iam|sts)?:(r)?:[0-9]{11,13}:(role|user)?[/:]?)?[\PC\n/.]{0,90}",
        ) {
            if let Ok(arn) = RoleArn::parse(&text) {
                prop_assert_eq!(arn.as_str(), &text);
                prop_assert!(arn.name().len() <= MAX_NAME && arn.path().len() <= MAX_PATH);
            }
        }
    }
}
