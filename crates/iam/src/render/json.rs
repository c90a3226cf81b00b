//! JSON. One document stands alone, ready for the IAM API, with the note in its first `Sid`; several stand in an envelope
//! that is named as IAM's own `GetRole` and `GetAccountAuthorizationDetails` name things.

use serde::Serialize;

use super::RenderError;
use crate::documents::{Bundle, NamedDocument, Role};
use crate::policy::PolicyDocument;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<'a> {
    made_by: String,
    roles: Vec<RoleDetail<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RoleDetail<'a> {
    arn: &'a str,
    path: &'a str,
    role_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assume_role_policy_document: Option<&'a PolicyDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    role_policy_list: Vec<Policy<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    managed_policies: Vec<Policy<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Policy<'a> {
    policy_name: &'a str,
    policy_document: &'a PolicyDocument,
}

pub(super) fn render(bundle: &Bundle) -> Result<String, RenderError> {
    let made_by = bundle.made_by();
    let text = if let Some(document) = bundle.only_document() {
        let stamp = format!("Podiam{}", made_by.version.replace('.', "x"));
        document.clone().stamped(&stamp).to_pretty_json()?
    } else {
        serde_json::to_string_pretty(&Envelope {
            made_by: made_by.to_string(),
            roles: bundle.roles().iter().map(detail).collect(),
        })?
    };
    Ok(text + "\n")
}

fn detail(role: &Role) -> RoleDetail<'_> {
    RoleDetail {
        arn: role.arn.as_str(),
        path: role.arn.path(),
        role_name: role.arn.name(),
        description: role.description.as_deref(),
        assume_role_policy_document: role.trust.as_ref(),
        role_policy_list: role.inline.iter().map(policy).collect(),
        managed_policies: role.managed.iter().map(policy).collect(),
    }
}

fn policy(named: &NamedDocument) -> Policy<'_> {
    Policy {
        policy_name: &named.name,
        policy_document: &named.document,
    }
}
