//! The node's policy: the roles that the agent may assume, and the Deny that makes them the only ones.

use thiserror::Error;

use super::assumable::{AssumableRoles, Extras};
use crate::RoleArn;
use crate::policy::{Effect, PolicyDocument, Statement};

/// Why there is no such policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NodePolicyError {
    /// Nothing to allow.
    #[error("no roles are given that the node may assume")]
    NoRoles,
    /// The node's role is among those that pods may have.
    #[error(
        "the node role {0} is itself one of {1}: a pod that names it would be the node. Keep the node role outside of \
         the pods' path"
    )]
    NodeRoleAssumable(RoleArn, String),
}

/// A policy for the nodes: assume `roles` and nothing else.
///
/// The Deny is not a repetition of the Allow. Inside one account, a trust policy that names the node role is enough by
/// itself: no Allow is needed, so the Allow limits nothing. A Deny always holds.
///
/// Where every role is assumable by the caller's own wish, `node_role` is denied by name.
pub fn node_policy(
    roles: &[AssumableRoles],
    node_role: Option<&RoleArn>,
    extras: Extras,
) -> Result<PolicyDocument, NodePolicyError> {
    if roles.is_empty() {
        return Err(NodePolicyError::NoRoles);
    }
    let patterns: Vec<String> = roles.iter().map(AssumableRoles::pattern).collect();
    let mut statements = vec![
        Statement::new("AssumePodRoles", Effect::Allow, extras.actions().collect())
            .on(patterns.clone()),
        Statement::deny("AssumeNothingElse", ["sts:AssumeRole"]).on_all_but(patterns),
    ];
    if let Some(node) = node_role
        && let Some(among) = roles.iter().find(|roles| roles.contain(node))
    {
        if !among.are_every_role() {
            return Err(NodePolicyError::NodeRoleAssumable(
                node.clone(),
                among.pattern(),
            ));
        }
        statements
            .push(Statement::deny("NeverTheNodeItself", ["sts:AssumeRole"]).on([node.as_str()]));
    }
    Ok(PolicyDocument::new(statements))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BaseArn;

    fn below(base: &str, prefix: &str) -> AssumableRoles {
        AssumableRoles::new(BaseArn::parse(base).unwrap(), prefix).unwrap()
    }

    #[test]
    fn the_deny_spares_exactly_what_the_allow_allows() {
        let roles = [
            below("arn:aws-cn:iam::123456789012:role/k8s", "app-"),
            below("arn:aws-cn:iam::210987654321:role/shared", ""),
        ];
        let document = node_policy(&roles, None, Extras::default()).unwrap();
        let [allow, deny] = document.statement.as_slice() else {
            panic!("{document:?}")
        };
        assert_eq!(allow.effect, Effect::Allow);
        assert_eq!(deny.effect, Effect::Deny);
        assert_eq!(allow.resource, deny.not_resource);
        assert_eq!(allow.resource.len(), 2);
        assert_eq!(allow.action, ["sts:AssumeRole"].into());
    }

    #[test]
    fn tags_and_source_identity_are_allowed_only_when_asked_for() {
        let roles = [below("arn:aws:iam::123456789012:role/k8s", "")];
        let all = Extras {
            tags: true,
            source_identity: true,
        };
        let document = node_policy(&roles, None, all).unwrap();
        assert_eq!(
            document.statement[0].action,
            ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"].into()
        );
    }

    #[test]
    fn the_node_role_is_never_among_the_roles() {
        let node = RoleArn::parse("arn:aws:iam::123456789012:role/k8s/nodes").unwrap();
        let error = node_policy(
            &[below("arn:aws:iam::123456789012:role/k8s", "")],
            Some(&node),
            Extras::default(),
        )
        .unwrap_err();
        assert!(matches!(error, NodePolicyError::NodeRoleAssumable(..)));

        let every = [below("arn:aws:iam::123456789012:role", "")];
        let document = node_policy(&every, Some(&node), Extras::default()).unwrap();
        assert_eq!(document.statement[2].resource, [node.as_str()].into());
        assert_eq!(
            node_policy(&[], None, Extras::default()),
            Err(NodePolicyError::NoRoles)
        );
    }
}
