//! `node-identity`: the credentials are a session of the nodes' role; or, asked from elsewhere, that role is known.

use podiam_iam::RoleArn;

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::sts::{Caller, CallerKind, StsError};

const CHECK: Check = Check::NodeIdentity;

/// What is known of the caller.
pub(in crate::doctor) struct Seen<'a> {
    /// What AWS says, or why it says nothing.
    pub(in crate::doctor) caller: Result<&'a Caller, &'a StsError>,
    /// `--node-role`.
    pub(in crate::doctor) node_role: Option<&'a RoleArn>,
    /// Whether the command runs on a node.
    pub(in crate::doctor) on_node: bool,
}

/// Whether the caller is a node's: its own session, or one of the role that was named.
pub(in crate::doctor) fn is_node(caller: &Caller, node_role: Option<&RoleArn>) -> bool {
    match node_role {
        Some(role) => caller.is_session_of(role),
        None => caller.is_instance(),
    }
}

pub(in crate::doctor) fn judge(seen: &Seen<'_>) -> Finding {
    let caller = match (seen.caller, seen.on_node) {
        (Ok(caller), _) => caller,
        (Err(error), true) => {
            return Finding::wrong(
                CHECK,
                error.to_string(),
                "give the node an instance profile, and let the agent reach the metadata service",
            );
        }
        (Err(error), false) => {
            return Finding::cannot_tell(
                CHECK,
                error.to_string(),
                "give credentials: --profile, AWS_PROFILE, or AWS_ACCESS_KEY_ID and its companions",
            );
        }
    };
    let arn = &caller.arn;
    if caller.kind == CallerKind::Root {
        return Finding::wrong(
            CHECK,
            format!("the caller is {arn}: the account's root user, whom AWS lets assume no role"),
            "use the nodes' role, and delete the root user's access keys",
        );
    }
    if is_node(caller, seen.node_role) {
        return Finding::ok(CHECK, format!("the caller is the node: {arn}"));
    }
    if seen.on_node {
        let why = match seen.node_role {
            Some(role) => format!("no session of {}", role.as_str()),
            None if caller.kind == CallerKind::User => {
                "a user, whose keys do not end by themselves".to_owned()
            }
            None => "no instance's own session".to_owned(),
        };
        return Finding::warning(
            CHECK,
            format!("the caller is {arn}: {why}"),
            "let the agent use the node's instance profile: take access keys and profiles out of its environment",
        );
    }
    match seen.node_role {
        Some(role) => Finding::ok(
            CHECK,
            format!("asked as {arn} about the nodes' role {}", role.as_str()),
        ),
        None => Finding::cannot_tell(
            CHECK,
            format!("the caller is {arn}, which is no node, and the nodes' role is not known"),
            "give --node-role, or run on a node: kubectl exec into an agent's pod, `podiam doctor`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn only_a_nodes_own_session_is_right_on_a_node() {
        use Verdict::{CannotTell, Ok as Right, Warning, Wrong};
        let node = "arn:aws:sts::123456789012:assumed-role/nodes/i-0123456789abcdef0";
        let other = "arn:aws:sts::123456789012:assumed-role/admin/jane";
        let user = "arn:aws:iam::123456789012:user/jane";
        let root = "arn:aws:iam::123456789012:root";
        let nodes = RoleArn::parse("arn:aws:iam::123456789012:role/nodes").unwrap();
        for (arn, role, on_node, verdict) in [
            (node, None, true, Right),
            (node, Some(&nodes), true, Right),
            (other, Some(&nodes), true, Warning),
            (other, None, true, Warning),
            (user, None, true, Warning),
            (root, None, true, Wrong),
            (root, Some(&nodes), false, Wrong),
            (other, None, false, CannotTell),
            (user, Some(&nodes), false, Right),
            (node, None, false, Right),
        ] {
            let caller = Caller::parse(arn).unwrap();
            let finding = judge(&Seen {
                caller: Ok(&caller),
                node_role: role,
                on_node,
            });
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.evidence[0].contains(arn), "{finding:?}");
        }
    }

    #[test]
    fn a_node_without_credentials_is_wrong_and_elsewhere_nothing_is_known() {
        let error = StsError::transient("NoNodeCredentials", "none", "no instance profile");
        for (on_node, verdict) in [(true, Verdict::Wrong), (false, Verdict::CannotTell)] {
            let finding = judge(&Seen {
                caller: Err(&error),
                node_role: None,
                on_node,
            });
            assert_eq!(finding.verdict, verdict);
            assert!(finding.evidence[0].contains("NoNodeCredentials"));
        }
    }
}
