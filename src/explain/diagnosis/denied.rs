//! `AccessDenied`: which action, by which kind of policy, as far as the message says.

use podiam_iam::BaseArn;

use super::{Cause, Diagnosis, look};
use crate::authorize::Grant;
use crate::sts::{Caller, Denial};

pub(super) fn diagnose(message: &str, grant: &Grant, base: Option<&BaseArn>) -> Diagnosis {
    let denial = Denial::read(message);
    let commands = Commands::new(&denial, grant, base);
    match denial.action {
        Some("sts:TagSession") => {
            return companion(
                "session tags",
                "--session-tags",
                "sts:TagSession",
                &commands,
            );
        }
        Some("sts:SetSourceIdentity") => {
            return companion(
                "a source identity",
                "--source-identity",
                "sts:SetSourceIdentity",
                &commands,
            );
        }
        _ => {}
    }
    match (denial.policy, denial.decided_by()) {
        (Some("identity-based"), _) => {
            Diagnosis::told(by_node_policy(&denial, grant, base, &commands))
        }
        (Some("resource-based"), _) => Diagnosis::told(by_trust_policy(&denial, grant, &commands)),
        (_, Some(policy)) => Diagnosis::told(Cause::new(
            format!(
                "A {policy} {} sts:AssumeRole on the role to the node's role.",
                if denial.explicit {
                    "denies"
                } else {
                    "does not allow"
                }
            ),
            "Have whoever keeps it (the organisation's or the account's administrator) let it through; no policy of \
             the role or of the node can.",
        )),
        (_, None) => untold(&denial, grant, base, &commands),
    }
}

/// An action that STS wants allowed beside `sts:AssumeRole`.
fn companion(what: &str, flag: &str, action: &str, commands: &Commands) -> Diagnosis {
    Diagnosis {
        told: true,
        causes: vec![Cause::new(
            format!("The agent sends {what}, and {action} is not allowed: by the role's trust policy, by the node's policy, or by both."),
            format!("Allow {action} beside sts:AssumeRole in the role's trust policy, and in the node's policy where the role is in another account; or start the agents without {flag}."),
        )
        .by(commands.trust.clone()),
        Cause::new(
            format!("The same in the node's policy: STS does not say which of the two it missed {action} in."),
            "Make the node's policy anew.",
        )
        .by(commands.node.clone())],
    }
}

/// The policies of the node's role.
fn by_node_policy(
    denial: &Denial<'_>,
    grant: &Grant,
    base: Option<&BaseArn>,
    commands: &Commands,
) -> Cause {
    let role = &grant.role;
    let place = match base {
        Some(base) if base.strip(role).is_some() => format!("It is below the base ARN {base}."),
        Some(base) => format!("It is outside of the base ARN {base}."),
        None => String::new(),
    };
    if denial.explicit {
        Cause::new(
            format!(
                "A policy of the node's role denies the role {role}, as podiam's node policy does outside of the pods' \
                 path. {place}"
            ),
            "Move the role below the path that the node's policy allows, or make that policy anew for the role's path.",
        )
    } else {
        Cause::new(
            format!("No policy of the node's role allows sts:AssumeRole on {role}. {place}"),
            "Make the node's policy so that it allows the role's path.",
        )
    }
    .by(commands.node.clone())
}

fn by_trust_policy(denial: &Denial<'_>, grant: &Grant, commands: &Commands) -> Cause {
    let role = &grant.role;
    if denial.explicit {
        Cause::new(
            format!("The trust policy of {role} denies the node's role."),
            "Take the Deny out of it, or exempt the node's role.",
        )
        .by(look(grant))
    } else {
        Cause::new(
            format!("The trust policy of {role} does not let the node's role in."),
            "Name the node's role in it, and look at its conditions (external ID, tags, source identity).",
        )
        .by(commands.trust.clone())
    }
}

/// The message says no more than that it was denied.
fn untold(
    denial: &Denial<'_>,
    grant: &Grant,
    base: Option<&BaseArn>,
    commands: &Commands,
) -> Diagnosis {
    let role = &grant.role;
    let mut causes = vec![
        Cause::new(
            format!("The role {role} does not exist: STS does not tell that from a role that may not be assumed."),
            "Look, with credentials of the role's account; make it, or correct what names it.",
        )
        .by(look(grant)),
        Cause::new(
            "Its trust policy does not name the node's role; or it names one that was deleted and made again (it then \
             shows an ID that begins with AROA instead of an ARN).",
            "Name the node's role in it, also where it looks right already: saving it anew resolves the ARN.",
        )
        .by(commands.trust.clone()),
        match &grant.external_id {
            Some(id) => Cause::new(
                format!("Its trust policy demands another external ID than \"{id}\", which was sent."),
                "Compare sts:ExternalId in it with the pod's annotation, or with the ceiling's externalIds.",
            ),
            None => Cause::new(
                "Its trust policy demands an external ID, and none was sent.",
                "Look for sts:ExternalId in it; the pod names one with the annotation iam.amazonaws.com/external-id.",
            ),
        }
        .by(look(grant)),
    ];
    let caller = denial.user.and_then(Caller::parse);
    let other_account = caller
        .map(|caller| caller.account)
        .filter(|account| account != role.account());
    let place = match (other_account, base.map(|base| base.strip(role).is_some())) {
        (Some(account), _) => {
            format!("The node's account is {account}, another than the role's: there it has to. ")
        }
        (None, Some(false)) => "The role is outside of the base ARN. ".to_owned(),
        _ => String::new(),
    };
    let node = Cause::new(
        format!("No policy of the node's role allows sts:AssumeRole on it. {place}"),
        "Make the node's policy so that it allows the role's path.",
    )
    .by(commands.node.clone());
    // Between two accounts both have to say yes, and outside of the path it is the usual one.
    let position = if place.is_empty() { causes.len() } else { 1 };
    causes.insert(position, node);
    Diagnosis {
        told: false,
        causes,
    }
}

/// The commands that make the right documents.
struct Commands {
    trust: String,
    node: String,
}

impl Commands {
    fn new(denial: &Denial<'_>, grant: &Grant, base: Option<&BaseArn>) -> Self {
        let attributes = &grant.attributes;
        let mut extra = String::new();
        if !attributes.tags().is_empty() {
            extra.push_str(" --session-tags");
        }
        if attributes.source_identity().is_some() {
            extra.push_str(" --source-identity");
        }
        let node_role = denial
            .user
            .and_then(Caller::parse)
            .and_then(|caller| caller.role_arn())
            .unwrap_or_else(|| "NODE_ROLE_ARN".to_owned());
        let external_id = grant
            .external_id
            .as_ref()
            .map(|id| format!(" --external-id {id}"))
            .unwrap_or_default();
        let role = &grant.role;
        let scope = match base.filter(|base| base.strip(role).is_some()) {
            Some(base) => format!("--base-role-arn {base}"),
            None => format!(
                "--base-role-arn {}",
                role.as_str()
                    .strip_suffix(role.name())
                    .unwrap_or(role.as_str())
            ),
        };
        Self {
            trust: format!("podiam iam trust-policy --node-role {node_role}{external_id}{extra}"),
            node: format!("podiam iam node-policy {scope}{extra}"),
        }
    }
}
