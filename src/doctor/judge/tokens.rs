//! `imds-tokens`: the node's metadata service refuses requests without a token. Seen by sending one.

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;

const CHECK: Check = Check::ImdsTokens;

/// The status of the answer; or why there was none.
pub(in crate::doctor) fn judge(status: Result<u16, String>) -> Finding {
    match status {
        Ok(401) => Finding::ok(CHECK, "a request without a token is refused (401)"),
        Ok(200) => Finding::warning(
            CHECK,
            "a request without a token is answered (IMDSv1): whoever makes any program on the node's network fetch a URL has the node's credentials",
            "aws ec2 modify-instance-metadata-options --http-tokens required, and in the launch template",
        ),
        Ok(403) => Finding::wrong(
            CHECK,
            "the metadata service is switched off for this instance (403): the agent has no credentials of its own",
            "aws ec2 modify-instance-metadata-options --http-endpoint enabled --http-tokens required",
        ),
        Ok(status) => Finding::cannot_tell(
            CHECK,
            format!("a request without a token is answered with {status}"),
            "is it the metadata service? see --metadata-addr",
        ),
        Err(why) => Finding::cannot_tell(
            CHECK,
            format!("the metadata service cannot be asked: {why}"),
            "run on a node, on its own network (kubectl exec into an agent's pod)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn a_refusal_without_a_token_is_right_and_an_answer_is_not() {
        for (status, verdict) in [
            (Ok(401), Verdict::Ok),
            (Ok(200), Verdict::Warning),
            (Ok(403), Verdict::Wrong),
            (Ok(404), Verdict::CannotTell),
            (Err("no route".to_owned()), Verdict::CannotTell),
        ] {
            assert_eq!(judge(status).verdict, verdict);
        }
    }
}
