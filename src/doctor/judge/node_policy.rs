//! `node-policy`: the nodes' role is denied every role beside the pods' own.
//!
//! Without an explicit Deny a trust policy that names the nodes' role is enough by itself inside one account: the absence
//! of an Allow keeps nobody out. So "not allowed" is a warning, and only "denied" is right.

use podiam_iam::RoleArn;

use crate::doctor::ask::query::{Decision, QueryError};
use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::sts::{Denial, Kind, StsError};

const CHECK: Check = Check::NodePolicy;
const FIX: &str = "put `podiam iam node-policy --base-role-arn=...` on the nodes' role: its Deny closes every other role";

/// How it was found out what the policy says to a role that no pod may have.
pub(in crate::doctor) enum Seen {
    /// By simulation.
    Simulated(Decision),
    /// By trying, since simulation is not allowed.
    Tried {
        outcome: Result<(), StsError>,
        simulation: Option<QueryError>,
    },
    /// Not at all.
    Unseen(String),
}

/// `outside` is the role that was asked about, which does not exist.
pub(in crate::doctor) fn judge(outside: &RoleArn, seen: Seen) -> Finding {
    let role = outside.as_str();
    match seen {
        Seen::Simulated(Decision::ExplicitDeny) => Finding::ok(
            CHECK,
            format!("{role}, which no pod may have, is denied explicitly (simulated)"),
        ),
        Seen::Simulated(Decision::ImplicitDeny) => not_denied(role, "simulated"),
        Seen::Simulated(Decision::Allowed) => Finding::wrong(
            CHECK,
            format!(
                "the nodes' policy allows sts:AssumeRole on {role}, which no pod may have (simulated)"
            ),
            FIX,
        ),
        Seen::Tried {
            outcome: Ok(()), ..
        } => Finding::wrong(
            CHECK,
            format!("{role}, which no pod may have, was assumed"),
            FIX,
        ),
        Seen::Tried {
            outcome: Err(error),
            simulation,
        } => tried(role, &error, simulation.as_ref()),
        Seen::Unseen(why) => Finding::cannot_tell(
            CHECK,
            why,
            "run on a node, or give --node-role and credentials that may iam:GetRole and iam:SimulatePrincipalPolicy",
        ),
    }
}

/// AWS says of a refusal by which kind of policy it came about.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>
fn tried(role: &str, error: &StsError, simulation: Option<&QueryError>) -> Finding {
    let denial = Denial::read(&error.message);
    let by = simulation.map(|error| format!("{error}; so it was tried"));
    let finding = if error.kind != Kind::Final {
        Finding::cannot_tell(
            CHECK,
            format!("trying {role} ended in {error}"),
            "try again",
        )
    } else if denial.explicit
        && matches!(
            denial.policy,
            Some("identity-based" | "permissions boundary" | "service control")
        )
    {
        Finding::ok(
            CHECK,
            format!("{role}, which no pod may have, is denied explicitly (tried)"),
        )
    } else if !denial.explicit && denial.policy == Some("identity-based") {
        not_denied(role, "tried")
    } else {
        Finding::cannot_tell(
            CHECK,
            format!(
                "{role} was refused without a word on which policy did it, and a role that does not exist is always refused: {}",
                error.message
            ),
            "allow the nodes, or yourself with --node-role, iam:GetRole and iam:SimulatePrincipalPolicy",
        )
    };
    finding.and(by)
}

fn not_denied(role: &str, how: &str) -> Finding {
    Finding::warning(
        CHECK,
        format!(
            "{role}, which no pod may have, is not allowed and not denied either ({how}): a role whose trust policy names the nodes' role could be assumed all the same"
        ),
        FIX,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;
    use crate::sts::StsError;

    fn refused(message: &str) -> Seen {
        Seen::Tried {
            outcome: Err(StsError::of_code("AccessDenied", message)),
            simulation: None,
        }
    }

    #[test]
    fn only_an_explicit_deny_is_right() {
        use Verdict::{CannotTell, Ok as Right, Warning, Wrong};
        let outside = RoleArn::parse("arn:aws:iam::123456789012:role/x").unwrap();
        let denied = "User: arn:aws:sts::123456789012:assumed-role/nodes/i-1 is not authorized to perform: \
                      sts:AssumeRole on resource: arn:aws:iam::123456789012:role/x";
        for (seen, verdict) in [
            (Seen::Simulated(Decision::ExplicitDeny), Right),
            (Seen::Simulated(Decision::ImplicitDeny), Warning),
            (Seen::Simulated(Decision::Allowed), Wrong),
            (
                refused(&format!(
                    "{denied} with an explicit deny in an identity-based policy"
                )),
                Right,
            ),
            (
                refused(&format!(
                    "{denied} because no identity-based policy allows the sts:AssumeRole action"
                )),
                Warning,
            ),
            (refused(denied), CannotTell),
            (
                Seen::Tried {
                    outcome: Err(StsError::of_code("Throttling", "Rate exceeded")),
                    simulation: None,
                },
                CannotTell,
            ),
            (
                Seen::Tried {
                    outcome: Ok(()),
                    simulation: None,
                },
                Wrong,
            ),
            (Seen::Unseen("no credentials".into()), CannotTell),
        ] {
            let finding = judge(&outside, seen);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        }
    }
}
