//! Roles with their documents, measured, and a note of how they were made: what every generating command ends with and
//! what `render` writes down.

use std::fmt;

use crate::RoleArn;
use crate::policy::{Limit, PolicyDocument, TooLong};

/// A document and its policy's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedDocument {
    /// The name of the policy.
    pub name: String,
    /// What it says.
    pub document: PolicyDocument,
}

/// A role, or what is added to one that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Which.
    pub arn: RoleArn,
    /// For people.
    pub description: Option<String>,
    /// Its trust policy; absent: the role exists and its trust is left as it is.
    pub trust: Option<PolicyDocument>,
    /// Its inline policies.
    pub inline: Vec<NamedDocument>,
    /// Managed policies that are made with it, under the role's path, and attached to it.
    pub managed: Vec<NamedDocument>,
}

impl Role {
    /// A role without any document.
    pub fn new(arn: RoleArn) -> Self {
        Self {
            arn,
            description: None,
            trust: None,
            inline: Vec::new(),
            managed: Vec::new(),
        }
    }

    /// Its path and name, without a leading `/`: `k8s/app`.
    pub fn short_name(&self) -> &str {
        &self.arn.as_str()
            [self.arn.as_str().len() - self.arn.path().len() - self.arn.name().len() + 1..]
    }

    fn measure(&self) -> Result<(), TooLong> {
        Limit::Trust.check(self.short_name(), &self.trust)?;
        Limit::Inline.check(
            self.short_name(),
            self.inline.iter().map(|named| &named.document),
        )?;
        self.managed
            .iter()
            .try_for_each(|named| Limit::Managed.check(self.short_name(), [&named.document]))
    }
}

/// How a file was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeBy {
    /// podiam's version.
    pub version: String,
    /// The words of the command line, without the program.
    pub words: Vec<String>,
}

impl fmt::Display for MadeBy {
    /// One line of printable characters, which a comment can hold: `podiam 0.1.0: podiam iam node-policy ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "podiam {}: podiam", self.version)?;
        for word in &self.words {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+@%".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                write!(f, " {word}")?;
            } else {
                write!(f, " '{}'", word.escape_default())?;
            }
        }
        Ok(())
    }
}

/// Roles with their documents, each no longer than IAM accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    made_by: MadeBy,
    roles: Vec<Role>,
}

impl Bundle {
    /// Measures every document.
    pub fn new(made_by: MadeBy, roles: Vec<Role>) -> Result<Self, TooLong> {
        roles.iter().try_for_each(Role::measure)?;
        Ok(Self { made_by, roles })
    }

    /// How it was made.
    pub fn made_by(&self) -> &MadeBy {
        &self.made_by
    }

    /// The roles, in the order given.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// The only document there is, if there is only one.
    pub fn only_document(&self) -> Option<&PolicyDocument> {
        let mut documents = self.roles.iter().flat_map(|role| {
            let policies = role.inline.iter().chain(&role.managed);
            role.trust
                .iter()
                .chain(policies.map(|named| &named.document))
        });
        documents.next().filter(|_| documents.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Statement;

    #[test]
    fn a_note_is_one_line_whatever_the_command_line_held() {
        let note = MadeBy {
            version: "0.1.0".into(),
            words: ["iam", "node-policy", "--path=k8s/", "a b", "x\n*/ evil", ""]
                .map(str::to_owned)
                .into(),
        };
        assert_eq!(
            note.to_string(),
            r"podiam 0.1.0: podiam iam node-policy --path=k8s/ 'a b' 'x\n*/ evil' ''"
        );
    }

    #[test]
    fn a_document_that_iam_would_refuse_is_refused_with_the_roles_name() {
        let mut role = Role::new(RoleArn::parse("arn:aws:iam::123456789012:role/k8s/app").unwrap());
        let document = PolicyDocument::new(vec![
            Statement::allow("S", ["s3:GetObject"])
                .on([format!("arn:aws:s3:::{}", "x".repeat(7000))]),
        ]);
        let note = MadeBy {
            version: "0".into(),
            words: Vec::new(),
        };
        let named = NamedDocument {
            name: "p".into(),
            document,
        };
        role.inline.push(named.clone());
        let inline = Bundle::new(note.clone(), vec![role.clone()]).unwrap();
        assert!(inline.only_document().is_some());
        role.managed.push(named);
        let error = Bundle::new(note, vec![role]).unwrap_err();
        assert_eq!(error.limit, Limit::Managed);
        assert_eq!(error.subject, "k8s/app");
    }
}
