//! `trust-policies`: what `podiam iam lint` says of the trust policies of the pods' roles.

use podiam_iam::RoleArn;
use podiam_iam::lint::{Knowledge, Language, Severity, Source, lint};
use serde_json::{Value, json};

use super::assumable::Known;
use crate::doctor::ask::query::QueryError;
use crate::doctor::check::Check;
use crate::doctor::finding::{Finding, Verdict};

const CHECK: Check = Check::TrustPolicies;

/// Whether the nodes' policy closes what naming the nodes' role opens is `node-policy`'s affair, and a note of lint's.
pub(in crate::doctor) fn judge(known: &Known, node_role: Option<&RoleArn>) -> Finding {
    let unread = known.values().find_map(|role| match role {
        Err(QueryError::NotFound { .. }) | Ok(_) => None,
        Err(error) => Some(error.to_string()),
    });
    let texts: Vec<(String, String)> = known.iter().filter_map(|(arn, role)| {
        let role = role.as_ref().ok()?;
        let document: Value = serde_json::from_str(&role.trust).unwrap_or_default();
        // As the AWS CLI prints it.
        let text = json!({"Role": {
            "RoleName": role.arn.name(), "Arn": role.arn.as_str(), "AssumeRolePolicyDocument": document,
        }});
        Some((arn.as_str().to_owned(), text.to_string()))
    }).collect();
    if texts.is_empty() {
        return match unread {
            Some(why) => Finding::cannot_tell(
                CHECK,
                why,
                "allow iam:GetRole on the pods' roles, or run `podiam iam lint` on your files",
            ),
            None => Finding::ok(
                CHECK,
                "there is no role of this account to look at; those of others are not read",
            ),
        };
    }
    let sources: Vec<Source<'_>> = texts
        .iter()
        .map(|(name, text)| Source {
            name,
            text,
            language: Language::Json,
        })
        .collect();
    let knowledge = Knowledge {
        node_roles: node_role.into_iter().cloned().collect(),
        account: node_role.map(|role| role.account().to_owned()),
    };
    let report = lint(&sources, &knowledge);
    let findings: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::Note)
        .collect();
    let verdict = match findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Error) => Verdict::Wrong,
        Some(_) => Verdict::Warning,
        None if unread.is_some() => Verdict::CannotTell,
        None => Verdict::Ok,
    };
    let lines = findings.iter().map(|finding| {
        format!(
            "{}: {} {}: {}. Fix: {}",
            report.files[finding.file],
            finding.severity,
            finding.code,
            finding.reason,
            finding.code.fix()
        )
    });
    let sum = format!(
        "{} trust policies read, {} findings{}",
        texts.len(),
        findings.len(),
        unread.map_or_else(String::new, |why| format!(
            "; others could not be read: {why}"
        ))
    );
    let fix = match verdict {
        Verdict::Ok => "",
        Verdict::CannotTell => "allow iam:GetRole on the pods' roles",
        _ => "`podiam iam trust-policy` makes trust policies without these findings",
    };
    Finding::new(CHECK, verdict, sum, fix).and(lines)
}

#[cfg(test)]
pub(in crate::doctor) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::ask::query::Role;

    const NODES: &str = "arn:aws:iam::123456789012:role/nodes";

    pub(in crate::doctor) fn role(
        arn: &str,
        principal: &Value,
    ) -> (RoleArn, Result<Role, QueryError>) {
        let arn = RoleArn::parse(arn).unwrap();
        let trust = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"},
        ]});
        let role = Role {
            arn: arn.clone(),
            longest: Duration::from_hours(1),
            trust: trust.to_string(),
        };
        (arn, Ok(role))
    }

    #[test]
    fn trust_in_the_nodes_is_right_and_in_everyone_never() {
        let nodes = RoleArn::parse(NODES).unwrap();
        let app = "arn:aws:iam::123456789012:role/k8s/app";
        let good: Known = [role(app, &json!({"AWS": NODES}))].into();
        assert_eq!(judge(&good, Some(&nodes)).verdict, Verdict::Ok);
        let open: Known = [role(app, &json!("*"))].into();
        let finding = judge(&open, Some(&nodes));
        assert_eq!(finding.verdict, Verdict::Wrong, "{finding:?}");
        assert!(finding.evidence[1].contains(app), "{finding:?}");
    }

    #[test]
    fn what_may_not_be_read_is_not_called_right() {
        let denied = QueryError::Denied {
            action: "iam:GetRole",
            message: "no".into(),
        };
        let app = RoleArn::parse("arn:aws:iam::123456789012:role/app").unwrap();
        let known: Known = [(app, Err(denied))].into();
        let finding = judge(&known, None);
        assert_eq!(finding.verdict, Verdict::CannotTell, "{finding:?}");
    }
}
