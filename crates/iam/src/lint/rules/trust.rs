//! Whom a role trusts.

use super::{Context, NodePolicies};
use crate::lint::code::{Code, Severity};
use crate::lint::document::{Document, Placed, is_unknown};
use crate::lint::finding::Finding;
use crate::policy::Principal;

/// The longest session of a role that a role assumes, in seconds (STS, role chaining).
const CHAINED: u64 = 3600;

/// Keys by which a trust policy can say who of all those trusted is meant.
const WHO: [&str; 8] = [
    "aws:principalarn",
    "aws:principalaccount",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:userid",
    "sts:externalid",
];

pub(super) fn judge(document: &Document, context: &Context, findings: &mut Vec<Finding>) {
    for placed in document.allowing() {
        if placed.statement.not_principal.is_some() {
            findings.push(
                document.finding(
                    Code::NotPrincipal,
                    placed,
                    "NotPrincipal with Allow trusts everyone, of every account, but those named"
                        .to_owned(),
                ),
            );
        }
        let Some(principal) = &placed.statement.principal else {
            continue;
        };
        for name in principal.names("AWS") {
            findings.extend(trusted(document, placed, name, context));
        }
        let services = principal.names("Service");
        if !services.is_empty() && roles(document).next().is_some() {
            findings.push(document.finding(
                Code::ServiceLeft,
                placed,
                format!(
                    "{} may assume this role beside the nodes; pods get it through the nodes alone",
                    services.join(", ")
                ),
            ));
        }
    }
    findings.extend(long_chain(document));
}

/// The roles that a trust policy names, as written.
pub(super) fn roles(document: &Document) -> impl Iterator<Item = String> {
    document
        .allowing()
        .filter_map(|placed| placed.statement.principal.as_ref())
        .flat_map(|principal| principal.names("AWS"))
        .filter(|name| kind(name) == Kind::Role)
        .map(str::to_owned)
}

/// What a principal of the kind `AWS` is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Anyone,
    Account,
    Role,
    Dead,
    Unknown,
    Other,
}

fn kind(name: &str) -> Kind {
    let is_id = |text: &str| {
        text.len() >= 16
            && text.starts_with('A')
            && text
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    if name == "*" {
        Kind::Anyone
    } else if name.ends_with(":root")
        || (name.len() == 12 && name.bytes().all(|b| b.is_ascii_digit()))
    {
        Kind::Account
    } else if name.contains(":role/") || (name.starts_with("${") && name.contains("role")) {
        Kind::Role
    } else if is_unknown(name) {
        Kind::Unknown
    } else if is_id(name) {
        Kind::Dead
    } else {
        Kind::Other
    }
}

fn trusted(document: &Document, placed: &Placed, name: &str, context: &Context) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |code, reason: String| found.push(document.finding(code, placed, reason));
    match kind(name) {
        Kind::Anyone if limited(placed) => {
            add(
                Code::TrustsAnyone,
                "everyone is trusted, and only a condition says who is meant".to_owned(),
            );
        }
        Kind::Anyone => add(
            Code::TrustsAnyone,
            "everyone is trusted, of every account".to_owned(),
        ),
        Kind::Account if !limited(placed) => add(
            Code::TrustsAccount,
            format!("everyone in the account of {name} whom a policy there allows to is trusted"),
        ),
        Kind::Unknown => add(
            Code::NotJudged,
            format!("{name} is trusted, which only Terraform knows"),
        ),
        Kind::Dead => add(
            Code::DeadPrincipal,
            format!(
                "{name} is the ID that IAM shows in place of an ARN when the role or user was deleted; a new one of the \
                 same name is not it"
            ),
        ),
        Kind::Role if !foreign(document, name, context) => match context.node_policies {
            NodePolicies::Closed => {}
            NodePolicies::Open => add(
                Code::TrustsWithoutDeny,
                format!(
                    "naming {name} is enough inside one account, whatever its policy allows, and its policy has no Deny"
                ),
            ),
            NodePolicies::Unseen => add(
                Code::TrustsWithoutDeny,
                format!(
                    "naming {name} is enough inside one account, whatever its policy allows; whether its policy has the \
                     Deny cannot be seen in these files"
                ),
            ),
        },
        _ => {}
    }
    if foreign(document, name, context) && !has_key(placed, &["sts:externalid"]) {
        add(
            Code::NoExternalId,
            format!("{name} is of another account and need not know an external ID"),
        );
    }
    for finding in &mut found {
        let softer = (finding.code == Code::TrustsAnyone && limited(placed))
            .then_some(Severity::Warning)
            .or((finding.code == Code::TrustsWithoutDeny
                && context.node_policies == NodePolicies::Unseen)
                .then_some(Severity::Note));
        finding.severity = softer.unwrap_or(finding.severity);
    }
    found
}

/// Whether the principal is known to be of another account than the role.
fn foreign(document: &Document, name: &str, context: &Context) -> bool {
    let theirs = if name.len() == 12 {
        name
    } else {
        name.split(':').nth(4).unwrap_or_default()
    };
    let ours = document.role.account.as_ref().or(context.account.as_ref());
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    is_account(theirs) && ours.is_some_and(|ours| is_account(ours) && ours != theirs)
}

/// Whether a condition says who is meant.
fn limited(placed: &Placed) -> bool {
    has_key(placed, &WHO)
}

fn has_key(placed: &Placed, keys: &[&str]) -> bool {
    placed
        .statement
        .condition
        .iter()
        // A negated or optional operator lets those through who do not have the key at all.
        .filter(|(operator, _)| !operator.contains("Not") && !operator.ends_with("IfExists"))
        .flat_map(|(_, conditions)| conditions)
        .any(|(key, values)| {
            keys.contains(&key.to_ascii_lowercase().as_str())
                && !values.iter().any(|value| value == "*")
        })
}

fn long_chain(document: &Document) -> Option<Finding> {
    let setting = document.role.longest_session?;
    let by_a_role = document.allowing().any(|placed| {
        let principal = placed.statement.principal.as_ref();
        principal.is_some_and(|principal: &Principal| !principal.names("AWS").is_empty())
    });
    (setting.seconds > CHAINED && by_a_role).then(|| {
        let mut finding = Finding::new(
            Code::LongChain,
            setting.file,
            setting.line,
            &document.subject,
            format!(
                "sessions of {} seconds are allowed, but a role that assumes a role gets at most {CHAINED}: asking for \
                 more fails",
                setting.seconds
            ),
        );
        if setting.file == document.file {
            finding.document_line = document.line;
        }
        finding
    })
}
