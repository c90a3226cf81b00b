//! IAM policy documents as types: what podiam writes, and what it reads of documents that others wrote. The grammar is
//! that of AWS's "Grammar of the IAM JSON policy language"; an element that may be one value or a list of them reads
//! both and writes one where there is one. Nothing here judges a document: that is `lint`.

mod limits;
mod list;
mod principal;
mod statement;

use serde::{Deserialize, Serialize};

pub use limits::{Limit, TooLong};
pub use list::List;
pub use principal::Principal;
pub use statement::{Condition, Effect, Statement};

/// The version of the policy language in which variables and everything else of today works. Documents without it are
/// read by IAM as the older `2008-10-17`.
pub const LANGUAGE: &str = "2012-10-17";

/// A policy document: of an identity, or a role's trust policy. Elements keep the order in which AWS shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyDocument {
    /// The version of the policy language.
    #[serde(default = "oldest_language")]
    pub version: String,
    /// A name for the whole document, which IAM allows in policies of resources only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The statements; IAM reads them in no particular order.
    #[serde(deserialize_with = "statement::one_or_many")]
    pub statement: Vec<Statement>,
}

fn oldest_language() -> String {
    "2008-10-17".to_owned()
}

impl PolicyDocument {
    /// A document of these statements, in today's language.
    pub fn new(statement: Vec<Statement>) -> Self {
        Self {
            version: LANGUAGE.to_owned(),
            id: None,
            statement,
        }
    }

    /// The document as compact JSON, as the IAM API takes it.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The document as JSON for people.
    pub fn to_pretty_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// Whether a statement names who may use it, as only trust policies (and those of resources) do.
    pub fn names_principals(&self) -> bool {
        self.statement
            .iter()
            .any(|statement| statement.principal.is_some() || statement.not_principal.is_some())
    }

    /// The document with `word` in front of its first statement's `Sid`: the only place in a bare JSON policy where IAM
    /// lets a note stand. Of `word`, letters and digits are kept, which is all that a `Sid` may hold.
    #[must_use]
    pub fn stamped(mut self, word: &str) -> Self {
        if let Some(first) = self.statement.first_mut() {
            let legal: String = word.chars().filter(char::is_ascii_alphanumeric).collect();
            first.sid = Some(legal + first.sid.as_deref().unwrap_or_default());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_written_as_aws_shows_it_and_reads_back() {
        let document = PolicyDocument::new(vec![
            Statement::allow("Look", ["ec2:DescribeTags"]).on(["*"]),
            Statement::deny("Rest", ["sts:AssumeRole", "sts:TagSession"])
                .on_all_but(["arn:aws:iam::123456789012:role/k8s/*"]),
        ]);
        let json = document.to_json().unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"Version":"2012-10-17","Statement":["#,
                r#"{"Sid":"Look","Effect":"Allow","Action":"ec2:DescribeTags","Resource":"*"},"#,
                r#"{"Sid":"Rest","Effect":"Deny","Action":["sts:AssumeRole","sts:TagSession"],"#,
                r#""NotResource":"arn:aws:iam::123456789012:role/k8s/*"}]}"#
            )
        );
        assert_eq!(
            serde_json::from_str::<PolicyDocument>(&json).unwrap(),
            document
        );
    }

    #[test]
    fn what_others_write_is_read() {
        let text = r#"{
            "Statement": {
                "Effect": "Allow",
                "Principal": {"AWS": ["arn:aws:iam::123456789012:role/nodes", "*"], "Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {"Bool": {"aws:MultiFactorAuthPresent": true}, "NumericLessThan": {"aws:MultiFactorAuthAge": [60, "90"]}}
            }
        }"#;
        let document: PolicyDocument = serde_json::from_str(text).unwrap();
        assert_eq!(document.version, "2008-10-17");
        assert!(document.names_principals());
        let statement = &document.statement[0];
        let Some(Principal::Of(kinds)) = &statement.principal else {
            panic!("{statement:?}")
        };
        assert_eq!(kinds["AWS"].len(), 2);
        assert_eq!(
            statement.condition["Bool"]["aws:MultiFactorAuthPresent"],
            List::from(["true"])
        );
        assert_eq!(
            statement.condition["NumericLessThan"]["aws:MultiFactorAuthAge"],
            List::from(["60", "90"])
        );
    }

    #[test]
    fn a_stamp_keeps_a_sid_legal() {
        let document = PolicyDocument::new(vec![Statement::allow("Look", ["s3:GetObject"])]);
        let stamped = document.stamped("podiam 0.1.0-rc.1, ");
        assert_eq!(
            stamped.statement[0].sid.as_deref(),
            Some("podiam010rc1Look")
        );
    }
}
