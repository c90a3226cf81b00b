//! Trust policies of the ways that need no podiam: IAM roles for service accounts (IRSA) and EKS Pod Identity. Both trust
//! a Kubernetes service account by name. The forms are those of the EKS user guide ("Assign IAM roles to Kubernetes
//! service accounts", "Create IAM role with trust policy required by EKS Pod Identity").

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

use crate::Partition;
use crate::policy::{PolicyDocument, Principal, Statement};

/// Who calls for pods under EKS Pod Identity.
const PODS_SERVICE: &str = "pods.eks.amazonaws.com";
/// Whom tokens of service accounts are made out to under IRSA.
const AUDIENCE: &str = "sts.amazonaws.com";

/// A Kubernetes service account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A text is not the ARN of a cluster's provider of identities (OIDC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it is not of the form arn:PARTITION:iam::ACCOUNT:oidc-provider/HOST/PATH")]
pub struct NotAProvider;

/// The cluster's provider of identities (OIDC) in IAM, by its ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcProvider {
    arn: String,
    /// Where in `arn` the issuer's URL begins, without its scheme.
    issuer: usize,
}

impl OidcProvider {
    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.arn
    }

    /// The account that it is in: IAM trusts it only in roles of the same account.
    pub fn account(&self) -> &str {
        self.arn.split(':').nth(4).unwrap_or_default()
    }

    /// The issuer without `https://`: what the keys of conditions begin with.
    fn issuer(&self) -> &str {
        &self.arn[self.issuer..]
    }
}

impl FromStr for OidcProvider {
    type Err = NotAProvider;

    fn from_str(text: &str) -> Result<Self, NotAProvider> {
        const KIND: &str = "oidc-provider/";
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "iam", "", account, resource] = parts[..] else {
            return Err(NotAProvider);
        };
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let issuer = resource.strip_prefix(KIND).unwrap_or_default();
        let is_issuer = !issuer.is_empty()
            && issuer
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~:/%".contains(&b));
        if partition.parse::<Partition>().is_err() || !is_account || !is_issuer {
            return Err(NotAProvider);
        }
        Ok(Self {
            issuer: text.len() - issuer.len(),
            arn: text.to_owned(),
        })
    }
}

/// Trust in pods of these accounts by their tokens: `sts:AssumeRoleWithWebIdentity` with the subject and the audience.
pub fn irsa_trust(provider: &OidcProvider, accounts: &BTreeSet<Account>) -> PolicyDocument {
    let subjects = accounts.iter().map(|account| {
        format!(
            "system:serviceaccount:{}:{}",
            account.namespace, account.name
        )
    });
    let issuer = provider.issuer();
    let federated = Principal::Of(BTreeMap::from([(
        "Federated".to_owned(),
        [provider.as_str()].into(),
    )]));
    PolicyDocument::new(vec![
        Statement::allow("PodsByToken", ["sts:AssumeRoleWithWebIdentity"])
            .by(federated)
            .when("StringEquals", &format!("{issuer}:aud"), [AUDIENCE])
            .when("StringEquals", &format!("{issuer}:sub"), subjects),
    ])
}

/// Trust in EKS Pod Identity for pods of these accounts, of this cluster where one is named. A statement for each
/// namespace: lists of namespaces and of accounts in one statement would trust every combination of them.
pub fn pod_identity_trust(cluster: Option<&str>, accounts: &BTreeSet<Account>) -> PolicyDocument {
    let mut by_namespace: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for account in accounts {
        let names = by_namespace.entry(&account.namespace).or_default();
        names.push(&account.name);
    }
    let statements = by_namespace.into_iter().zip(1..);
    let statements = statements.map(|((namespace, names), number)| {
        let service = Principal::Of(BTreeMap::from([(
            "Service".to_owned(),
            [PODS_SERVICE].into(),
        )]));
        let sid = format!("PodIdentity{number}");
        let statement = Statement::allow(&sid, ["sts:AssumeRole", "sts:TagSession"])
            .by(service)
            .when(
                "StringEquals",
                "aws:RequestTag/kubernetes-namespace",
                [namespace],
            )
            .when(
                "StringEquals",
                "aws:RequestTag/kubernetes-service-account",
                names,
            );
        match cluster {
            Some(cluster) => {
                statement.when("StringEquals", "aws:RequestTag/eks-cluster-name", [cluster])
            }
            None => statement,
        }
    });
    PolicyDocument::new(statements.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn accounts(names: &[(&str, &str)]) -> BTreeSet<Account> {
        let account = |(namespace, name): &(&str, &str)| Account {
            namespace: (*namespace).to_owned(),
            name: (*name).to_owned(),
        };
        names.iter().map(account).collect()
    }

    #[test]
    fn a_provider_is_known_by_its_arn_and_by_nothing_else() {
        let arn =
            "arn:aws-cn:iam::123456789012:oidc-provider/oidc.eks.cn-north-1.amazonaws.com.cn/id/A1";
        let provider: OidcProvider = arn.parse().unwrap();
        assert_eq!(
            provider.issuer(),
            "oidc.eks.cn-north-1.amazonaws.com.cn/id/A1"
        );
        assert_eq!(provider.account(), "123456789012");
        for wrong in [
            "",
            "https://oidc.eks.eu-central-1.amazonaws.com/id/A1",
            "arn:aws:iam::123456789012:role/x",
            "arn:aws:iam::123456789012:oidc-provider/",
            "arn:aws:iam::12345:oidc-provider/oidc.example",
            "arn:mars:iam::123456789012:oidc-provider/oidc.example",
            "arn:aws:iam::123456789012:oidc-provider/*",
        ] {
            assert_eq!(wrong.parse::<OidcProvider>(), Err(NotAProvider), "{wrong}");
        }
    }

    #[test]
    fn irsa_names_subject_and_audience() {
        let provider: OidcProvider = "arn:aws:iam::123456789012:oidc-provider/oidc.example/id/A1"
            .parse()
            .unwrap();
        let document = irsa_trust(
            &provider,
            &accounts(&[("reports", "reader"), ("web", "app")]),
        );
        assert_eq!(
            serde_json::to_value(document).unwrap()["Statement"],
            json!([{
                "Sid": "PodsByToken", "Effect": "Allow",
                "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/oidc.example/id/A1"},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": {
                    "oidc.example/id/A1:aud": "sts.amazonaws.com",
                    "oidc.example/id/A1:sub": ["system:serviceaccount:reports:reader", "system:serviceaccount:web:app"],
                }},
            }])
        );
    }

    #[test]
    fn pod_identity_never_trusts_one_namespaces_account_in_another() {
        let document = pod_identity_trust(
            Some("demo"),
            &accounts(&[("a", "x"), ("a", "y"), ("b", "z")]),
        );
        let conditions: Vec<_> = document
            .statement
            .iter()
            .map(|statement| serde_json::to_value(&statement.condition["StringEquals"]).unwrap())
            .collect();
        assert_eq!(
            conditions,
            [
                json!({"aws:RequestTag/eks-cluster-name": "demo", "aws:RequestTag/kubernetes-namespace": "a",
                    "aws:RequestTag/kubernetes-service-account": ["x", "y"]}),
                json!({"aws:RequestTag/eks-cluster-name": "demo", "aws:RequestTag/kubernetes-namespace": "b",
                    "aws:RequestTag/kubernetes-service-account": "z"}),
            ]
        );
    }
}
