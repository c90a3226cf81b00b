//! What the message of an `AccessDenied` tells: "User: U is not authorized to perform: A on resource: R", and behind it
//! "with an explicit deny in a T policy" or "because no T policy allows the A action". Where several kinds of policy deny,
//! AWS names one of them.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>

const BOUNDARY: &str = "permissions boundary";

/// What the message says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Denial<'a> {
    /// Who asked: an ARN.
    pub user: Option<&'a str>,
    /// `sts:AssumeRole` or one that comes with it.
    pub action: Option<&'a str>,
    /// The kind of policy that decided, as `identity-based`.
    pub policy: Option<&'a str>,
    /// Whether that policy denies; else it does not allow.
    pub explicit: bool,
}

impl<'a> Denial<'a> {
    /// Reads what is told; what is not told is left open.
    pub fn read(message: &'a str) -> Self {
        let word_after = |mark: &str| {
            let rest = message.split_once(mark)?.1;
            rest.split_whitespace().next()
        };
        let kind = |mark: &str| {
            let rest = message.split_once(mark)?.1;
            Some(rest.split_once(" policy")?.0)
        };
        let denies =
            kind("with an explicit deny in an ").or_else(|| kind("with an explicit deny in a "));
        // A boundary is the one that is not called a policy.
        let boundary = message.contains(BOUNDARY).then_some(BOUNDARY);
        Self {
            user: word_after("User: "),
            action: word_after("not authorized to perform: "),
            policy: boundary.or(denies).or_else(|| kind("because no ")),
            explicit: message.contains("explicit deny"),
        }
    }

    /// What decided, by its name in a sentence.
    pub fn decided_by(&self) -> Option<String> {
        let policy = self.policy?;
        Some(if policy == BOUNDARY {
            policy.to_owned()
        } else {
            format!("{policy} policy")
        })
    }
}
