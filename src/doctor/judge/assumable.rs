//! `roles-assumable`: every role that a pod may have can be assumed, and where not, why not most likely.

use std::collections::BTreeMap;

use podiam_iam::RoleArn;
use serde_json::Value;

use crate::authorize::Grant;
use crate::doctor::ask::query::{Decision, QueryError, Role};
use crate::doctor::ask::roles::Attempt;
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::sts::{Denial, Kind, StsError};

const CHECK: Check = Check::RolesAssumable;
const FIX: &str =
    "see each role's cause; `podiam iam workload` makes roles and trust policies that fit";

const NO_TAGS: &str = "the trust policy does not allow sts:TagSession, which session tags need";
const NO_SOURCE_IDENTITY: &str =
    "the trust policy does not allow sts:SetSourceIdentity, which --source-identity needs";

/// What IAM says of roles, by their ARNs as pods name them; empty where it was not asked.
pub(in crate::doctor) type Known = BTreeMap<RoleArn, Result<Role, QueryError>>;

/// What was tried, or why nothing was.
pub(in crate::doctor) struct Seen<'a> {
    pub(in crate::doctor) attempts: Result<Vec<Attempt>, String>,
    /// Pods without a grant, with the reason; they are told, and no failure.
    pub(in crate::doctor) refused: Vec<String>,
    pub(in crate::doctor) known: &'a Known,
    /// The nodes' role, where it is known.
    pub(in crate::doctor) node_role: Option<&'a RoleArn>,
}

pub(in crate::doctor) fn judge(seen: &Seen<'_>) -> Finding {
    let attempts = match &seen.attempts {
        Ok(attempts) => attempts,
        Err(why) => {
            return Finding::cannot_tell(
                CHECK,
                why,
                "run on a node (kubectl exec into an agent's pod), or with the nodes' credentials",
            );
        }
    };
    let mut lines = Vec::new();
    let (mut failed, mut unsettled) = (0, 0);
    for attempt in attempts {
        let Err(error) = &attempt.outcome else {
            continue;
        };
        if error.kind == Kind::Final {
            failed += 1;
        } else {
            unsettled += 1;
        }
        let role = &attempt.grant.role;
        let cause = cause(error, &attempt.grant, seen.known.get(role), seen.node_role);
        lines.push(format!("{}: {}: {cause}", role.as_str(), error.code));
    }
    let refused = seen.refused.len();
    lines.extend(seen.refused.iter().cloned());
    let all = attempts.len();
    let also = if refused == 0 {
        String::new()
    } else {
        format!("; the agent refuses {refused} pods by itself")
    };
    let finding = if failed > 0 {
        Finding::wrong(
            CHECK,
            format!("{failed} of {all} roles cannot be assumed{also}"),
            FIX,
        )
    } else if unsettled > 0 {
        Finding::cannot_tell(
            CHECK,
            format!("{unsettled} of {all} roles could not be tried to the end{also}"),
            "try again later, or see sts-endpoint",
        )
    } else if refused > 0 {
        Finding::warning(
            CHECK,
            format!("all {all} roles that pods are granted can be assumed{also}"),
            "see each pod's reason",
        )
    } else if all == 0 {
        Finding::ok(CHECK, "no pod names a role")
    } else {
        Finding::ok(
            CHECK,
            format!("all {all} roles that pods are granted can be assumed"),
        )
    };
    finding.and(lines)
}

/// Where to look first.
fn cause(
    error: &StsError,
    grant: &Grant,
    known: Option<&Result<Role, QueryError>>,
    node_role: Option<&RoleArn>,
) -> String {
    if error.kind != Kind::Final || error.code != "AccessDenied" {
        return format!("{} ({})", error.message, error.cause);
    }
    let denial = Denial::read(&error.message);
    match (denial.policy, denial.decided_by()) {
        (Some("identity-based"), _) if denial.explicit => {
            return "a policy of the nodes' role denies it: is the role beside the allowed path?"
                .to_owned();
        }
        (_, Some(policy)) if denial.explicit => return format!("a {policy} denies it"),
        _ => {}
    }
    match denial.action {
        Some("sts:TagSession") => return NO_TAGS.to_owned(),
        Some("sts:SetSourceIdentity") => return NO_SOURCE_IDENTITY.to_owned(),
        _ => {}
    }
    match known {
        Some(Err(QueryError::NotFound { .. })) => "the role does not exist".to_owned(),
        Some(Ok(role)) if role.arn != grant.role => format!(
            "the path is wrong: a role of that name is {}",
            role.arn.as_str()
        ),
        Some(Ok(role)) => in_trust(&role.trust, grant, node_role),
        Some(Err(_)) | None => error.cause.to_owned(),
    }
}

/// What of a trust policy is in the way.
fn in_trust(trust: &str, grant: &Grant, node_role: Option<&RoleArn>) -> String {
    let Ok(document) = serde_json::from_str::<Value>(trust) else {
        return "the trust policy cannot be read".to_owned();
    };
    let Some(node_role) = node_role else {
        return "the role exists; does its trust policy name the nodes' role?".to_owned();
    };
    let trusting: Vec<&Value> = statements(&document)
        .into_iter()
        .filter(|it| it["Effect"] == "Allow" && trusts(it, node_role))
        .collect();
    if trusting.is_empty() {
        return format!("the trust policy does not name {}", node_role.as_str());
    }
    let allows = |action: &str| {
        let matches = |pattern: &&str| {
            *pattern == "*" || *pattern == "sts:*" || pattern.eq_ignore_ascii_case(action)
        };
        trusting
            .iter()
            .any(|it| texts(&it["Action"]).iter().any(&matches))
    };
    if !grant.attributes.tags().is_empty() && !allows("sts:TagSession") {
        return NO_TAGS.to_owned();
    }
    if grant.attributes.source_identity().is_some() && !allows("sts:SetSourceIdentity") {
        return NO_SOURCE_IDENTITY.to_owned();
    }
    let wants_id = trust.contains("sts:ExternalId");
    match (wants_id, &grant.external_id) {
        (true, None) => "the trust policy demands an external ID, and the pod's annotation gives none",
        (true, Some(_)) => "the trust policy demands an external ID: is it the one of the annotation?",
        (false, _) => {
            "the trust policy names the nodes' role: is the role beside the path that the nodes' policy allows?"
        }
    }
    .to_owned()
}

/// Whether a statement names the nodes' role, its account, or everyone.
fn trusts(statement: &Value, node_role: &RoleArn) -> bool {
    let (account, partition) = (node_role.account(), node_role.partition());
    let root = format!("arn:{partition}:iam::{account}:root");
    let is_meant = |text: &&str| [node_role.as_str(), account, root.as_str(), "*"].contains(text);
    let principal = &statement["Principal"];
    texts(principal).iter().any(&is_meant) || texts(&principal["AWS"]).iter().any(is_meant)
}

fn statements(document: &Value) -> Vec<&Value> {
    match &document["Statement"] {
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    }
}

/// A text or a list of them, as policies write both.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What is left of the question where nothing can be tried: what the nodes' policy and the trust policies say.
pub(in crate::doctor) fn judge_documents(
    documents: &[(RoleArn, Result<Decision, QueryError>)],
    grants: &[std::sync::Arc<Grant>],
    known: &Known,
    node_role: &RoleArn,
) -> Finding {
    let mut lines = Vec::new();
    let mut unknown = None;
    for grant in grants {
        let role = &grant.role;
        let says = |words: String| format!("{}: {words}", role.as_str());
        let simulated = documents.iter().find(|(other, _)| other == role);
        match simulated.map(|(_, decision)| decision) {
            Some(Ok(Decision::Allowed)) | None => {}
            Some(Ok(_)) => lines.push(says("the nodes' policy does not allow it".to_owned())),
            Some(Err(error)) => unknown = Some(error.to_string()),
        }
        match known.get(role) {
            Some(Ok(found)) if found.arn != *role => lines.push(says(format!(
                "the path is wrong: a role of that name is {}",
                found.arn.as_str()
            ))),
            Some(Ok(found)) => {
                let document: Value = serde_json::from_str(&found.trust).unwrap_or_default();
                let mut all = statements(&document).into_iter();
                if !all.any(|it| it["Effect"] == "Allow" && trusts(it, node_role)) {
                    lines.push(says(format!(
                        "the trust policy does not name {}",
                        node_role.as_str()
                    )));
                }
            }
            Some(Err(QueryError::NotFound { .. })) => {
                lines.push(says("the role does not exist".to_owned()));
            }
            Some(Err(error)) => unknown = Some(error.to_string()),
            None => {
                unknown = Some(says(
                    "a role of another account, whose IAM is not asked".to_owned(),
                ));
            }
        }
    }
    let all = grants.len();
    match (lines.is_empty(), unknown) {
        (false, _) => Finding::wrong(
            CHECK,
            format!("of {all} roles that pods are granted, by their documents:"),
            FIX,
        )
        .and(lines),
        (true, Some(why)) => Finding::cannot_tell(
            CHECK,
            why,
            "run on a node, or allow iam:GetRole and iam:SimulatePrincipalPolicy",
        ),
        (true, None) => Finding::ok(
            CHECK,
            format!(
                "all {all} roles that pods are granted exist, trust {} and are allowed to it (simulated, not tried)",
                node_role.as_str()
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use podiam_iam::SessionName;

    use super::*;
    use crate::authorize::Attributes;
    use crate::doctor::finding::Verdict;

    fn arn(account: &str, name: &str) -> RoleArn {
        RoleArn::parse(&format!("arn:aws:iam::{account}:role/{name}")).unwrap()
    }

    fn grant(role: RoleArn) -> Grant {
        Grant {
            role,
            external_id: None,
            session_name: SessionName::parse("session").unwrap(),
            duration: Duration::from_hours(1),
            attributes: Attributes::default(),
        }
    }

    #[test]
    fn a_role_of_another_account_is_not_called_right_unseen() {
        let grant = Arc::new(grant(arn("999999999999", "far")));
        let nodes = arn("111122223333", "nodes");
        let finding = judge_documents(&[], &[grant], &Known::new(), &nodes);
        assert_eq!(finding.verdict, Verdict::CannotTell, "{finding:?}");
    }
    #[test]
    fn who_denies_is_whom_aws_names() {
        let grant = grant(arn("111122223333", "app"));
        for (policy, expected) in [
            ("an identity-based policy", "a policy of the nodes' role"),
            (
                "a service control policy",
                "a service control policy denies it",
            ),
            ("a permissions boundary", "a permissions boundary denies it"),
        ] {
            let message = format!(
                "User: x is not authorized to perform: sts:AssumeRole on resource: y with an explicit deny in {policy}"
            );
            let error = StsError::of_code("AccessDenied", &message);
            let told = cause(&error, &grant, None, None);
            assert!(told.contains(expected), "{policy}: {told}");
        }
    }
}
