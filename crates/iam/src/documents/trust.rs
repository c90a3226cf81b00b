//! The trust policy of a workload's role: the nodes may assume it, under conditions.

use super::assumable::Extras;
use crate::policy::{PolicyDocument, Principal, Statement};
use crate::{ExternalId, RoleArn};

/// Whom a role trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The nodes' roles; at least one, of one account where `through_account` is set.
    pub node_roles: Vec<RoleArn>,
    /// What the caller must know besides.
    pub external_id: Option<ExternalId>,
    /// Session tags that the caller must pass, with the values that will do (`*` and `?` are wildcards in them).
    pub tags: Vec<(String, String)>,
    /// The source identity that the caller must set (`*` and `?` are wildcards in it).
    pub source_identity: Option<String>,
    /// What sessions may carry without being made to.
    pub extras: Extras,
    /// Trust the nodes' account and demand the node role by `aws:PrincipalArn`. Then the node's own policy decides as
    /// well, and a node role that is deleted and made again stays trusted.
    pub through_account: bool,
}

impl Trust {
    /// Trust in the nodes, without conditions.
    pub fn in_nodes(node_roles: Vec<RoleArn>) -> Self {
        Self {
            node_roles,
            external_id: None,
            tags: Vec::new(),
            source_identity: None,
            extras: Extras::default(),
            through_account: false,
        }
    }

    /// What the sessions carry: what is demanded is allowed too.
    pub fn carried(&self) -> Extras {
        Extras {
            tags: self.extras.tags || !self.tags.is_empty(),
            source_identity: self.extras.source_identity || self.source_identity.is_some(),
        }
    }

    /// The document. Every action has a statement of its own, because the external ID is a key of AssumeRole only.
    pub fn document(&self) -> PolicyDocument {
        let assume = self.tagged(self.identified(self.statement("NodesAssume", "sts:AssumeRole")));
        let assume = match &self.external_id {
            Some(id) => assume.when("StringEquals", "sts:ExternalId", [id.as_str()]),
            None => assume,
        };
        let mut statements = vec![assume];
        let carried = self.carried();
        if carried.tags {
            statements.push(self.tagged(self.statement("NodesTag", "sts:TagSession")));
        }
        if carried.source_identity {
            let statement = self.statement("NodesSetSourceIdentity", "sts:SetSourceIdentity");
            statements.push(self.identified(statement));
        }
        PolicyDocument::new(statements)
    }

    fn statement(&self, sid: &str, action: &str) -> Statement {
        let statement = Statement::allow(sid, [action]);
        let nodes = self.node_roles.iter().map(RoleArn::as_str);
        if !self.through_account {
            return statement.by(Principal::aws(nodes));
        }
        let mut accounts: Vec<String> = self
            .node_roles
            .iter()
            .map(|role| format!("arn:{}:iam::{}:root", role.partition(), role.account()))
            .collect();
        accounts.sort();
        accounts.dedup();
        statement
            .by(Principal::aws(accounts))
            .when("ArnEquals", "aws:PrincipalArn", nodes)
    }

    fn tagged(&self, statement: Statement) -> Statement {
        self.tags.iter().fold(statement, |statement, (key, value)| {
            statement.when(
                "StringLike",
                &format!("aws:RequestTag/{key}"),
                [value.as_str()],
            )
        })
    }

    fn identified(&self, statement: Statement) -> Statement {
        match &self.source_identity {
            Some(identity) => {
                statement.when("StringLike", "sts:SourceIdentity", [identity.as_str()])
            }
            None => statement,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node() -> RoleArn {
        RoleArn::parse("arn:aws-us-gov:iam::123456789012:role/nodes").unwrap()
    }

    #[test]
    fn plain_trust_is_one_statement() {
        let document = Trust::in_nodes(vec![node()]).document();
        assert_eq!(
            serde_json::to_value(document).unwrap(),
            json!({"Version": "2012-10-17", "Statement": [{
                "Sid": "NodesAssume", "Effect": "Allow",
                "Principal": {"AWS": "arn:aws-us-gov:iam::123456789012:role/nodes"},
                "Action": "sts:AssumeRole",
            }]})
        );
    }

    #[test]
    fn every_condition_stands_where_its_key_exists() {
        let mut trust = Trust::in_nodes(vec![node()]);
        trust.external_id = Some(ExternalId::parse("reports-7f3a").unwrap());
        trust.tags = vec![("kubernetes-namespace".into(), "reports".into())];
        trust.source_identity = Some("demo:*".into());
        trust.through_account = true;
        let principal = json!({"AWS": "arn:aws-us-gov:iam::123456789012:root"});
        let who = json!({"aws:PrincipalArn": "arn:aws-us-gov:iam::123456789012:role/nodes"});
        assert_eq!(
            serde_json::to_value(trust.document()).unwrap(),
            json!({"Version": "2012-10-17", "Statement": [
                {"Sid": "NodesAssume", "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole",
                 "Condition": {"ArnEquals": who, "StringEquals": {"sts:ExternalId": "reports-7f3a"},
                     "StringLike": {"aws:RequestTag/kubernetes-namespace": "reports", "sts:SourceIdentity": "demo:*"}}},
                {"Sid": "NodesTag", "Effect": "Allow", "Principal": principal, "Action": "sts:TagSession",
                 "Condition": {"ArnEquals": who, "StringLike": {"aws:RequestTag/kubernetes-namespace": "reports"}}},
                {"Sid": "NodesSetSourceIdentity", "Effect": "Allow", "Principal": principal,
                 "Action": "sts:SetSourceIdentity",
                 "Condition": {"ArnEquals": who, "StringLike": {"sts:SourceIdentity": "demo:*"}}},
            ]})
        );
    }
}
