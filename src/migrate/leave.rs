//! The way out: each role and workload under IAM roles for service accounts (IRSA) or EKS Pod Identity. Both give roles to
//! service accounts, not to pods, so what a service account cannot say is told as a conflict.

use std::collections::{BTreeMap, BTreeSet};

use podiam_iam::RoleArn;
use podiam_iam::documents::{Account, OidcProvider, Trust, irsa_trust, pod_identity_trust};
use podiam_iam::policy::{Limit, PolicyDocument};
use serde::Serialize;

use super::inventory::{Inventory, Workload};
use super::report::{Document, Step};

/// Where to.
#[derive(Clone, Debug)]
pub enum Target {
    /// IAM roles for service accounts, by this provider.
    Irsa(OidcProvider),
    /// EKS Pod Identity, in the cluster of this name.
    PodIdentity(String),
}

/// What leaving takes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leave {
    /// `irsa` or `pod-identity`.
    pub to: &'static str,
    /// What stands in the way.
    pub conflicts: Vec<String>,
    /// By role.
    pub roles: Vec<LeavingRole>,
    /// What to do, in order.
    pub plan: Vec<Step>,
}

/// A role under the new regime.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeavingRole {
    /// Its ARN.
    pub role: String,
    /// The trust policy while both work: the nodes' statement is in it where the nodes' role is known.
    pub trust_policy: PolicyDocument,
    /// Its service accounts, and which workloads use them.
    pub accounts: BTreeMap<String, Vec<String>>,
    /// What ties the accounts to it.
    pub commands: Vec<String>,
}

/// Works it out. `roles` has the role of each workload, in the inventory's order; `nodes` is trusted beside, if given.
pub(super) fn leave(
    target: &Target,
    inventory: &Inventory,
    roles: &[Option<RoleArn>],
    external_id_key: &str,
    nodes: Option<&RoleArn>,
) -> Leave {
    let mut conflicts = Vec::new();
    let mut users: BTreeMap<Account, BTreeMap<Option<&RoleArn>, Vec<&Workload>>> = BTreeMap::new();
    for (workload, role) in inventory.workloads.iter().zip(roles) {
        let of_account = users.entry(account(workload)).or_default();
        of_account.entry(role.as_ref()).or_default().push(workload);
    }
    let mut accounts: BTreeMap<&RoleArn, BTreeSet<&Account>> = BTreeMap::new();
    for (account, wanted) in &users {
        let named: Vec<&RoleArn> = wanted.keys().filter_map(|role| *role).collect();
        match named[..] {
            [] => continue,
            [_] => {}
            _ => conflicts.push(several(account, wanted)),
        }
        conflict_of(account, wanted, &mut conflicts);
        for role in named {
            accounts.entry(role).or_default().insert(account);
        }
    }
    let external: BTreeSet<String> = inventory
        .workloads
        .iter()
        .filter(|workload| workload.annotations.contains_key(external_id_key))
        .map(Workload::title)
        .collect();
    if !external.is_empty() {
        let who: Vec<String> = external.into_iter().collect();
        conflicts.push(format!(
            "{}: an external ID cannot be given; take the condition sts:ExternalId out of the role's trust policy",
            who.join(", ")
        ));
    }
    let mut leaving = Vec::new();
    for (role, accounts) in accounts {
        conflicts.extend(elsewhere(target, role));
        let made = role_of(target, role, &accounts, &users, nodes);
        if let Err(error) = Limit::Trust.check(role.as_str(), [&made.trust_policy]) {
            conflicts.push(format!(
                "{error}: split the role, or use fewer service accounts"
            ));
        }
        leaving.push(made);
    }
    Leave {
        to: match target {
            Target::Irsa(_) => "irsa",
            Target::PodIdentity(_) => "pod-identity",
        },
        conflicts,
        roles: leaving,
        plan: plan(target),
    }
}

fn account(workload: &Workload) -> Account {
    Account {
        namespace: workload.namespace.clone(),
        name: workload.account.clone(),
    }
}

fn titles(workloads: &[&Workload]) -> String {
    let titles: Vec<String> = workloads.iter().map(|workload| workload.title()).collect();
    titles.join(", ")
}

fn several(account: &Account, wanted: &BTreeMap<Option<&RoleArn>, Vec<&Workload>>) -> String {
    let each: Vec<String> = wanted
        .iter()
        .filter_map(|(role, workloads)| Some(format!("{} ({})", (*role)?, titles(workloads))))
        .collect();
    format!(
        "service account {account}: its pods have different roles, and it can have one: {}; give each a service account of its own",
        each.join("; ")
    )
}

fn conflict_of(
    account: &Account,
    wanted: &BTreeMap<Option<&RoleArn>, Vec<&Workload>>,
    conflicts: &mut Vec<String>,
) {
    if account.name == "default" {
        conflicts.push(format!(
            "service account {account}: every pod of the namespace that names none runs as it and would have the role; make \
             one for these pods (kubectl create serviceaccount NAME --namespace {}; serviceAccountName: NAME)",
            account.namespace
        ));
    }
    if let Some(without) = wanted.get(&None) {
        conflicts.push(format!(
            "service account {account}: pods that podiam gives no role run as it too, and would have one: {}",
            titles(without)
        ));
    }
}

/// Roles of another account than the provider's.
fn elsewhere(target: &Target, role: &RoleArn) -> Option<String> {
    match target {
        Target::Irsa(provider) if provider.account() != role.account() => Some(format!(
            "{role} is in another account than the provider: make an OpenID Connect provider of the cluster's issuer there, and \
             run this again with its ARN for that account's roles"
        )),
        _ => None,
    }
}

fn role_of(
    target: &Target,
    role: &RoleArn,
    accounts: &BTreeSet<&Account>,
    users: &BTreeMap<Account, BTreeMap<Option<&RoleArn>, Vec<&Workload>>>,
    nodes: Option<&RoleArn>,
) -> LeavingRole {
    let trusted: BTreeSet<Account> = accounts.iter().map(|account| (*account).clone()).collect();
    let mut trust_policy = match target {
        Target::Irsa(provider) => irsa_trust(provider, &trusted),
        Target::PodIdentity(cluster) => pod_identity_trust(Some(cluster), &trusted),
    };
    if let Some(nodes) = nodes {
        let both = Trust::in_nodes(vec![nodes.clone()]).document().statement;
        trust_policy.statement.splice(0..0, both);
    }
    let used = |account: &Account| {
        users
            .get(account)
            .and_then(|wanted| wanted.get(&Some(role)))
            .map(|workloads| workloads.iter().map(|one| one.title()).collect())
            .unwrap_or_default()
    };
    LeavingRole {
        role: role.to_string(),
        accounts: accounts
            .iter()
            .map(|account| (account.to_string(), used(account)))
            .collect(),
        commands: trusted
            .iter()
            .map(|account| command(target, role, account))
            .collect(),
        trust_policy,
    }
}

fn command(target: &Target, role: &RoleArn, account: &Account) -> String {
    let Account { namespace, name } = account;
    match target {
        Target::Irsa(_) => format!(
            "kubectl annotate serviceaccount {name} --namespace {namespace} eks.amazonaws.com/role-arn={role}"
        ),
        Target::PodIdentity(cluster) => format!(
            "aws eks create-pod-identity-association --cluster-name {cluster} --namespace {namespace} \\\n  \
             --service-account {name} --role-arn {role}"
        ),
    }
}

fn plan(target: &Target) -> Vec<Step> {
    let lines = |lines: &[&str]| {
        lines
            .iter()
            .map(|line| (*line).to_owned())
            .collect::<Vec<_>>()
    };
    let (ready, check) = match target {
        Target::Irsa(_) => (
            lines(&["aws iam list-open-id-connect-providers"]),
            "kubectl exec POD -- env | grep AWS_WEB_IDENTITY_TOKEN_FILE",
        ),
        Target::PodIdentity(_) => (
            lines(&[
                "aws eks create-addon --cluster-name CLUSTER --addon-name eks-pod-identity-agent",
                "# the nodes' role needs AmazonEKSWorkerNodePolicy or eks-auth:AssumeRoleForPodIdentity; Linux on EC2 only",
            ]),
            "kubectl exec POD -- env | grep AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ),
    };
    let step =
        |title: &str, why: &str, commands: Vec<String>, check: Vec<String>, back: Vec<String>| {
            Step {
                title: title.to_owned(),
                why: why.to_owned(),
                commands,
                check,
                back,
            }
        };
    vec![
        step(
            "Have what it needs",
            "podiam goes on working all the while.",
            ready,
            Vec::new(),
            Vec::new(),
        ),
        step(
            "Give each role its new trust policy",
            "With the nodes' statement still in it (--node-role puts it there), both ways work.",
            lines(&[
                "aws iam update-assume-role-policy --role-name ROLE --policy-document file://ROLE.json",
            ]),
            lines(&["podiam iam lint ROLE.json"]),
            lines(&["# the policy of before; podiam's sessions never stopped"]),
        ),
        step(
            "Tie the service accounts to the roles",
            "By the commands above. Nothing changes for pods that run: what SDKs need is put into a pod when it is made. SDKs ask \
             for it before they ask the metadata service; very old ones do not know it.",
            Vec::new(),
            Vec::new(),
            lines(&["# take annotation or association away"]),
        ),
        step(
            "Make the pods anew, one workload after the other",
            "From here a pod uses its service account's role. Its annotation for podiam stays, and does no harm.",
            lines(&["kubectl rollout restart DEPLOYMENT"]),
            lines(&[check, "kubectl exec POD -- aws sts get-caller-identity"]),
            lines(&["# take annotation or association away, and restart again"]),
        ),
        step(
            "Take podiam away",
            "When no workload asks it any more (podiam_ metrics of credentials stand still). The nodes stay closed until you open \
             them, which is what one wants: no pod needs the metadata service now. Or keep the guard (docs/interception.md).",
            lines(&["helm uninstall podiam --namespace kube-system"]),
            Vec::new(),
            lines(&["# helm install with the same values"]),
        ),
        step(
            "Take the nodes out of the trust policies",
            "Now only the service accounts are trusted: run this again without --node-role.",
            lines(&[
                "aws iam update-assume-role-policy --role-name ROLE --policy-document file://ROLE.json",
            ]),
            Vec::new(),
            Vec::new(),
        ),
    ]
}

impl Leave {
    pub(super) fn write(&self, out: &mut Document) {
        out.heading(&format!("The way out: {}", self.to));
        out.line("\nIn the way:");
        out.list(&self.conflicts);
        for role in &self.roles {
            out.line(format!("\n### {}", role.role));
            let accounts: Vec<String> = role
                .accounts
                .iter()
                .map(|(account, workloads)| {
                    format!("service account {account}: {}", workloads.join(", "))
                })
                .collect();
            out.list(&accounts);
            // Strings and lists of them: there is nothing that JSON could not hold.
            out.block(
                "json",
                &role.trust_policy.to_pretty_json().unwrap_or_default(),
            );
            out.block("sh", &role.commands.join("\n"));
        }
        for (number, step) in (1..).zip(&self.plan) {
            out.step(number, step);
        }
    }
}
