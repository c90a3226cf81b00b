//! A workload's role: whom it trusts and what it may do.

use super::bundle::{NamedDocument, Role};
use super::preset::Preset;
use super::trust::Trust;
use crate::RoleArn;

/// How the permissions are attached to the role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attachment {
    /// As the role's own inline policy.
    #[default]
    Inline,
    /// As a managed policy beside it, of the role's name and path.
    Managed,
}

/// The role of one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its role.
    pub role: RoleArn,
    /// Whom the role trusts.
    pub trust: Trust,
    /// What it may do.
    pub preset: Preset,
    /// How.
    pub attachment: Attachment,
}

impl Workload {
    /// The role with its documents.
    pub fn role(&self) -> Role {
        let document = self
            .preset
            .document(self.role.partition(), self.role.account());
        let mut role = Role::new(self.role.clone());
        role.description = Some(format!(
            "{} of a Kubernetes cluster, through podiam",
            self.preset.kind()
        ));
        role.trust = Some(self.trust.document());
        match self.attachment {
            Attachment::Inline => role.inline.push(NamedDocument {
                name: self.preset.kind().to_string(),
                document,
            }),
            Attachment::Managed => role.managed.push(NamedDocument {
                name: self.role.name().to_owned(),
                document,
            }),
        }
        role
    }
}
