//! Everything that a cluster needs, out of one short file: the node's policy, and a role for each workload.

use serde::Deserialize;
use thiserror::Error;

use super::assumable::{AssumableRoles, EveryRole, Extras};
use super::bundle::{NamedDocument, Role};
use super::node_policy::{NodePolicyError, node_policy};
use super::preset::{Preset, PresetError, PresetKind, PresetOptions};
use super::trust::Trust;
use super::workload::{Attachment, Workload};
use crate::{ArnError, BaseArn, ExternalId, ExternalIdError, RoleArn};

/// Why a file does not describe a cluster's roles.
#[derive(Debug, Error)]
pub enum BootstrapError {
    /// Not YAML, or not of this form.
    #[error("it is not of the form that docs/iam.md shows")]
    Form(#[source] Box<serde_saphyr::Error>),
    /// Not the ARN that agents get as `--base-role-arn`.
    #[error("baseRoleArn {0:?}")]
    Base(String, #[source] ArnError),
    /// Not a role.
    #[error("nodeRole {0:?}")]
    NodeRole(String, #[source] ArnError),
    /// Neither path nor prefix.
    #[error("baseRoleArn")]
    EveryRole(#[from] EveryRole),
    /// The prefix cannot begin a role's name.
    #[error("prefix {0:?}")]
    Prefix(String, #[source] ArnError),
    /// Not the name of a role.
    #[error("role {0:?}")]
    Role(String, #[source] ArnError),
    /// A role that the nodes could not assume.
    #[error(
        "role {0:?} does not begin with the prefix {1:?}, so that the nodes could not assume it"
    )]
    OutOfReach(String, String),
    /// Two workloads of one role.
    #[error("role {0:?} is there twice")]
    Twice(String),
    /// The workload's permissions.
    #[error("role {0:?}")]
    Preset(String, #[source] PresetError),
    /// The workload's external ID.
    #[error("role {0:?}: its externalId")]
    ExternalId(String, #[source] ExternalIdError),
    /// There is no node policy.
    #[error(transparent)]
    NodePolicy(#[from] NodePolicyError),
}

/// The file, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootstrap {
    base_role_arn: String,
    #[serde(default)]
    prefix: String,
    node_role: String,
    #[serde(default)]
    session_tags: bool,
    #[serde(default)]
    source_identity: bool,
    #[serde(default)]
    managed_policies: bool,
    workloads: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    role: String,
    preset: String,
    region: Option<String>,
    #[serde(default)]
    auto_scaling_groups: Vec<String>,
    #[serde(default)]
    hosted_zones: Vec<String>,
    bucket: Option<String>,
    key_prefix: Option<String>,
    external_id: Option<String>,
}

impl Bootstrap {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, BootstrapError> {
        serde_saphyr::from_str(text).map_err(|error| BootstrapError::Form(Box::new(error)))
    }

    /// The node's role with its policy first, then the workloads in the file's order.
    pub fn roles(&self) -> Result<Vec<Role>, BootstrapError> {
        let base = BaseArn::parse(&self.base_role_arn)
            .map_err(|error| BootstrapError::Base(self.base_role_arn.clone(), error))?;
        let node = base
            .in_account(&self.node_role)
            .map_err(|error| BootstrapError::NodeRole(self.node_role.clone(), error))?;
        let assumable = AssumableRoles::new(base.clone(), &self.prefix)
            .map_err(|error| BootstrapError::Prefix(self.prefix.clone(), error))?
            .limited()?;
        let extras = Extras {
            tags: self.session_tags,
            source_identity: self.source_identity,
        };
        let mut node_role = Role::new(node.clone());
        node_role.inline.push(NamedDocument {
            name: "podiam".to_owned(),
            document: node_policy(std::slice::from_ref(&assumable), Some(&node), extras)?,
        });
        let mut roles = vec![node_role];
        for entry in &self.workloads {
            let workload = self.workload(entry, &base, &node, extras)?;
            if !assumable.contain(&workload.role) {
                return Err(BootstrapError::OutOfReach(
                    entry.role.clone(),
                    self.prefix.clone(),
                ));
            }
            if roles.iter().any(|role| role.arn == workload.role) {
                return Err(BootstrapError::Twice(entry.role.clone()));
            }
            roles.push(workload.role());
        }
        Ok(roles)
    }

    fn workload(
        &self,
        entry: &Entry,
        base: &BaseArn,
        node: &RoleArn,
        extras: Extras,
    ) -> Result<Workload, BootstrapError> {
        let name = || entry.role.clone();
        let role = base
            .complete(&entry.role)
            .map_err(|error| BootstrapError::Role(name(), error))?;
        let options = PresetOptions {
            region: entry.region.clone(),
            auto_scaling_groups: entry.auto_scaling_groups.clone(),
            hosted_zones: entry.hosted_zones.clone(),
            bucket: entry.bucket.clone(),
            key_prefix: entry.key_prefix.clone(),
        };
        let preset = entry
            .preset
            .parse::<PresetKind>()
            .and_then(|kind| Preset::new(kind, options))
            .map_err(|error| BootstrapError::Preset(name(), error))?;
        let mut trust = Trust::in_nodes(vec![node.clone()]);
        trust.extras = extras;
        trust.external_id = entry
            .external_id
            .as_deref()
            .map(ExternalId::parse)
            .transpose()
            .map_err(|error| BootstrapError::ExternalId(name(), error))?;
        Ok(Workload {
            role,
            trust,
            preset,
            attachment: if self.managed_policies {
                Attachment::Managed
            } else {
                Attachment::Inline
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
baseRoleArn: arn:aws:iam::123456789012:role/k8s/demo/
nodeRole: nodes
workloads:
  - role: cluster-autoscaler
    preset: cluster-autoscaler
    region: eu-central-1
    autoScalingGroups: [demo-workers]
  - role: s3-reader
    preset: s3-read
    bucket: reports
    externalId: reports-7f3a
";

    fn problem(from: &str, to: &str) -> String {
        assert!(FILE.contains(from), "{from}");
        let error = Bootstrap::parse(&FILE.replacen(from, to, 1))
            .and_then(|file| file.roles())
            .unwrap_err();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    #[test]
    fn the_node_comes_first_and_the_workloads_follow_in_order() {
        let roles = Bootstrap::parse(FILE).unwrap().roles().unwrap();
        let names: Vec<&str> = roles.iter().map(Role::short_name).collect();
        assert_eq!(
            names,
            ["nodes", "k8s/demo/cluster-autoscaler", "k8s/demo/s3-reader"]
        );
        assert_eq!(roles[0].trust, None);
    }

    #[test]
    fn every_mistake_is_named() {
        for (from, to, expected) in [
            ("role/k8s/demo/", "role/", "without a path or a prefix"),
            ("role/k8s/demo/", "user/x", "does not name a role"),
            (
                "nodeRole: nodes",
                "nodeRole: k8s/demo/nodes",
                "is itself one of",
            ),
            ("nodeRole: nodes", "nodeRole: 'a b'", "' ' is not allowed"),
            (
                "preset: s3-read",
                "preset: s3-write",
                "there is no preset \"s3-write\"",
            ),
            ("bucket: reports", "bucket: '*'", "not the name of a bucket"),
            ("    region: eu-central-1\n", "", "needs a region"),
            (
                "role: s3-reader",
                "role: cluster-autoscaler",
                "is there twice",
            ),
            ("role: s3-reader", "role: '*'", "'*' is not allowed"),
            (
                "externalId: reports-7f3a",
                "externalId: x",
                "its length is 1",
            ),
            (
                "nodeRole: nodes",
                "nodeRole: nodes\nprefix: s3",
                "does not begin with the prefix",
            ),
            ("nodeRole: nodes", "nodeRoles: nodes", "nodeRoles"),
        ] {
            let told = problem(from, to);
            assert!(told.contains(expected), "{to}: {told}");
        }
    }
}
