//! A CloudFormation template in YAML. Roles have names of their own, so a stack needs `CAPABILITY_NAMED_IAM`.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::label::{Labels, pascal};
use super::{RenderError, comment};
use crate::documents::{Bundle, NamedDocument, Role};
use crate::policy::PolicyDocument;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Template<'a> {
    #[serde(rename = "AWSTemplateFormatVersion")]
    version: &'static str,
    description: &'static str,
    resources: Resources<'a>,
}

/// Logical IDs and what stands under them, in the order in which they were added.
struct Resources<'a>(Vec<(String, Resource<'a>)>);

impl Serialize for Resources<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, resource) in &self.0 {
            map.serialize_entry(id, resource)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(tag = "Type", content = "Properties")]
enum Resource<'a> {
    #[serde(rename = "AWS::IAM::Role")]
    Role(RoleProperties<'a>),
    #[serde(rename = "AWS::IAM::RolePolicy")]
    RolePolicy(RolePolicy<'a>),
    #[serde(rename = "AWS::IAM::ManagedPolicy")]
    ManagedPolicy(ManagedPolicy<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RoleProperties<'a> {
    role_name: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    assume_role_policy_document: &'a PolicyDocument,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<Policy<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Policy<'a> {
    policy_name: &'a str,
    policy_document: &'a PolicyDocument,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RolePolicy<'a> {
    role_name: &'a str,
    policy_name: &'a str,
    policy_document: &'a PolicyDocument,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ManagedPolicy<'a> {
    #[serde(rename = "ManagedPolicyName")]
    name: &'a str,
    path: &'a str,
    policy_document: &'a PolicyDocument,
    /// By reference where the role is in the same template, so that it is made first.
    roles: [RoleName<'a>; 1],
}

#[derive(Serialize)]
#[serde(untagged)]
enum RoleName<'a> {
    Existing(&'a str),
    Made {
        #[serde(rename = "Ref")]
        logical_id: String,
    },
}

pub(super) fn render(bundle: &Bundle) -> Result<String, RenderError> {
    let mut labels = Labels::default();
    let mut resources = Vec::new();
    for role in bundle.roles() {
        let id = labels.unique(pascal(role.short_name()), "N");
        add(role, &id, &mut resources);
    }
    let template = Template {
        version: "2010-09-09",
        description: "IAM roles for the pods of a Kubernetes cluster (needs CAPABILITY_NAMED_IAM)",
        resources: Resources(resources),
    };
    // Long ARNs stay on one line.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    Ok(comment(bundle) + &serde_saphyr::to_string_with_options(&template, options)?)
}

fn add<'a>(role: &'a Role, id: &str, resources: &mut Vec<(String, Resource<'a>)>) {
    let name = role.arn.name();
    let made = role.trust.as_ref();
    if let Some(trust) = made {
        let properties = RoleProperties {
            role_name: name,
            path: role.arn.path(),
            description: role.description.as_deref(),
            assume_role_policy_document: trust,
            policies: role.inline.iter().map(policy).collect(),
        };
        resources.push((format!("{id}Role"), Resource::Role(properties)));
    } else {
        resources.extend(role.inline.iter().map(|named| {
            let properties = RolePolicy {
                role_name: name,
                policy_name: &named.name,
                policy_document: &named.document,
            };
            (format!("{id}Policy"), Resource::RolePolicy(properties))
        }));
    }
    resources.extend(role.managed.iter().map(|named| {
        let properties = ManagedPolicy {
            name: &named.name,
            path: role.arn.path(),
            policy_document: &named.document,
            roles: [if made.is_some() {
                RoleName::Made {
                    logical_id: format!("{id}Role"),
                }
            } else {
                RoleName::Existing(name)
            }],
        };
        (format!("{id}Managed"), Resource::ManagedPolicy(properties))
    }));
}

fn policy(named: &NamedDocument) -> Policy<'_> {
    Policy {
        policy_name: &named.name,
        policy_document: &named.document,
    }
}
