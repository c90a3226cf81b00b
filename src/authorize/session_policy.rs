//! A session policy: what a pod's author lets the session do at most, beside what the role lets it do. It can only take
//! away, so that no operator has to allow it.

use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

/// The most that STS takes of both kinds together, in characters, and of ARNs (STS API, `Policy` and `PolicyArns`).
const MAX_LENGTH: usize = 2048;
const MAX_ARNS: usize = 10;

/// Why STS would refuse a session policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum SessionPolicyError {
    /// Too long.
    #[error("it has {0} characters, STS takes {MAX_LENGTH}, ARNs included")]
    Length(usize),
    /// A character outside Latin-1, or a control character.
    #[error("the character {0:?} is not allowed in it")]
    Character(char),
    /// Not a policy document.
    #[error("it is not a JSON object with a Statement")]
    NotADocument,
    /// Not JSON.
    #[error("it is not JSON (line {line}, column {column})")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Not the ARN of a managed policy.
    #[error("{0:?} is not the ARN of a managed policy")]
    Arn(String),
    /// Too many ARNs.
    #[error("it names {0} managed policies, STS takes {MAX_ARNS}")]
    Arns(usize),
}

/// A session policy that STS can read; whether it says something sensible is between its author and AWS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionPolicy {
    document: Option<Arc<str>>,
    arns: Vec<Arc<str>>,
}

impl SessionPolicy {
    /// Reads the two annotations: a document, sent as it is written but for white space around it, and ARNs of managed
    /// policies, separated by commas or white space. `None` where both are absent or empty.
    pub(super) fn parse(
        document: Option<&str>,
        arns: Option<&str>,
    ) -> Result<Option<Self>, SessionPolicyError> {
        let document = document.map(str::trim).filter(|text| !text.is_empty());
        let arns: Vec<&str> = arns
            .unwrap_or_default()
            .split(|c: char| c == ',' || c.is_ascii_whitespace())
            .filter(|arn| !arn.is_empty())
            .collect();
        let length = document.map_or(0, |text| text.chars().count())
            + arns.iter().map(|arn| arn.chars().count()).sum::<usize>();
        if length > MAX_LENGTH {
            return Err(SessionPolicyError::Length(length));
        }
        if let Some(text) = document {
            check_document(text)?;
        }
        if arns.len() > MAX_ARNS {
            return Err(SessionPolicyError::Arns(arns.len()));
        }
        if let Some(other) = arns.iter().find(|arn| !is_managed_policy(arn)) {
            return Err(SessionPolicyError::Arn(super::excerpt(other)));
        }
        if document.is_none() && arns.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            document: document.map(Into::into),
            arns: arns.into_iter().map(Into::into).collect(),
        }))
    }

    /// `Policy`.
    pub fn document(&self) -> Option<&str> {
        self.document.as_deref()
    }

    /// `PolicyArns`.
    pub fn arns(&self) -> impl Iterator<Item = &str> {
        self.arns.iter().map(|arn| &**arn)
    }
}

fn check_document(text: &str) -> Result<(), SessionPolicyError> {
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}');
    if let Some(illegal) = text.chars().find(|&c| !legal(c)) {
        return Err(SessionPolicyError::Character(illegal));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(document)) if document.contains_key("Statement") => Ok(()),
        Ok(_) => Err(SessionPolicyError::NotADocument),
        Err(error) => Err(SessionPolicyError::NotJson {
            line: error.line(),
            column: error.column(),
        }),
    }
}

/// `arn:PARTITION:iam::ACCOUNT:policy/NAME`, where the account of AWS's own policies is `aws`.
fn is_managed_policy(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let &["arn", partition, "iam", "", account, policy] = parts.as_slice() else {
        return false;
    };
    let is_account = account == "aws"
        || (account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()));
    partition.starts_with("aws")
        && is_account
        && policy
            .strip_prefix("policy/")
            .is_some_and(|name| !name.is_empty())
        && arn.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"Version":"2012-10-17","Statement":[]}"#;
    const ARN: &str = "arn:aws:iam::aws:policy/ReadOnlyAccess";

    fn parse(document: &str, arns: &str) -> Result<Option<SessionPolicy>, SessionPolicyError> {
        SessionPolicy::parse(Some(document), Some(arns))
    }

    #[test]
    fn a_document_and_arns_are_read_from_their_annotations() {
        let policy = parse(
            &format!("\n  {DOCUMENT}\n"),
            &format!("{ARN}, arn:aws-cn:iam::123456789012:policy/team/x\n"),
        );
        let policy = policy.unwrap().unwrap();
        assert_eq!(policy.document(), Some(DOCUMENT));
        let arns: Vec<_> = policy.arns().collect();
        assert_eq!(arns, [ARN, "arn:aws-cn:iam::123456789012:policy/team/x"]);
        assert_eq!(SessionPolicy::parse(None, None), Ok(None));
        assert_eq!(parse(" \n", " , "), Ok(None));
    }

    #[test]
    fn what_sts_would_refuse_is_refused_before_it_is_asked() {
        use SessionPolicyError as Error;
        let long = format!(r#"{{"Statement":[],"Id":"{}"}}"#, "x".repeat(2048));
        for (document, arns, error) in [
            ("[]", "", Error::NotADocument),
            ("{}", "", Error::NotADocument),
            ("{\n]", "", Error::NotJson { line: 2, column: 1 }),
            (r#"{"Statement":"€"}"#, "", Error::Character('€')),
            (&long, "", Error::Length(long.len())),
            (
                DOCUMENT,
                &*"a".repeat(2010),
                Error::Length(DOCUMENT.len() + 2010),
            ),
            ("", "ReadOnlyAccess", Error::Arn("ReadOnlyAccess".into())),
            (
                "",
                "arn:aws:iam::123456789012:role/r",
                Error::Arn("arn:aws:iam::123456789012:role/r".into()),
            ),
            ("", &*[ARN; 11].join(","), Error::Arns(11)),
        ] {
            assert_eq!(parse(document, arns), Err(error));
        }
    }
}
