//! How long IAM lets a document be ("IAM and AWS STS quotas" in the IAM user guide). White space outside of strings does
//! not count, so the compact JSON is what is measured; white space inside strings, which IAM would forgive, counts here.

use std::fmt;

use thiserror::Error;

use super::PolicyDocument;

/// The kinds of documents that IAM measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A role's trust policy.
    Trust,
    /// A managed policy.
    Managed,
    /// All inline policies of one role together.
    Inline,
}

/// A document is longer than IAM accepts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{limit} of {subject} is {length} characters long, IAM accepts {}", .limit.characters())]
pub struct TooLong {
    /// Whose document it is.
    pub subject: String,
    /// Which limit.
    pub limit: Limit,
    /// Its length in characters, without white space between the elements.
    pub length: usize,
}

impl Limit {
    /// The most characters. For trust policies it is the quota that every account has (AWS raises it on request).
    pub const fn characters(self) -> usize {
        match self {
            Self::Trust => 2048,
            Self::Managed => 6144,
            Self::Inline => 10_240,
        }
    }

    /// Checks documents that share this limit.
    pub fn check<'a>(
        self,
        subject: &str,
        documents: impl IntoIterator<Item = &'a PolicyDocument>,
    ) -> Result<(), TooLong> {
        let length = documents.into_iter().map(length).sum();
        if length > self.characters() {
            return Err(TooLong {
                subject: subject.to_owned(),
                limit: self,
                length,
            });
        }
        Ok(())
    }
}

fn length(document: &PolicyDocument) -> usize {
    // Strings and lists of them: there is nothing in a document that JSON could not hold.
    document
        .to_json()
        .map_or(usize::MAX / 2, |json| json.chars().count())
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trust => "the trust policy",
            Self::Managed => "the managed policy",
            Self::Inline => "the inline policies",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Statement;

    #[test]
    fn a_document_of_exactly_the_limit_passes_and_one_more_character_does_not() {
        for limit in [Limit::Trust, Limit::Managed, Limit::Inline] {
            let of = |length: usize| {
                PolicyDocument::new(vec![
                    Statement::allow("S", ["a:b"]).on(["x".repeat(length)]),
                ])
            };
            let frame = of(0).to_json().unwrap().len();
            let longest = of(limit.characters() - frame);
            assert_eq!(limit.check("r", [&longest]), Ok(()));
            let error = limit
                .check("r", [&of(limit.characters() - frame + 1)])
                .unwrap_err();
            assert_eq!(error.length, limit.characters() + 1);
            assert!(limit.check("r", [&longest, &of(0)]).is_err());
        }
    }

    #[test]
    fn the_error_says_whose_document_and_both_lengths() {
        let error = TooLong {
            subject: "k8s/app".into(),
            limit: Limit::Trust,
            length: 2100,
        };
        assert_eq!(
            error.to_string(),
            "the trust policy of k8s/app is 2100 characters long, IAM accepts 2048"
        );
    }
}
