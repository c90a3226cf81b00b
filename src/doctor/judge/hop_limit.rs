//! `imds-hop-limit`: the metadata service's token answers go one hop, so that they end at the node.
//!
//! The agent is on the node's own network and needs no more. With two, a pod on a network of its own reaches `IMDSv2`
//! wherever interception has a hole.

use crate::doctor::ask::query::InstanceMetadata;
use crate::doctor::check::Check;
use crate::doctor::finding::{Finding, some_of};

const CHECK: Check = Check::ImdsHopLimit;

pub(in crate::doctor) fn judge(instances: Result<Vec<InstanceMetadata>, String>) -> Finding {
    let instances = match instances {
        Ok(instances) if instances.is_empty() => {
            return Finding::cannot_tell(
                CHECK,
                "no node tells which EC2 instance it is",
                "are the nodes EC2 instances? run on a node, or let yourself list nodes",
            );
        }
        Ok(instances) => instances,
        Err(why) => {
            return Finding::cannot_tell(
                CHECK,
                why,
                "allow ec2:DescribeInstances, or look at HttpPutResponseHopLimit of the nodes' launch template",
            );
        }
    };
    let far: Vec<String> = instances
        .iter()
        .filter(|it| it.hop_limit > 1)
        .map(|it| format!("{} ({})", it.instance, it.hop_limit))
        .collect();
    if far.is_empty() {
        return Finding::ok(CHECK, format!("1 on all {} instances", instances.len()));
    }
    Finding::warning(
        CHECK,
        format!("more than 1 on {}", some_of(&far, 10)),
        "aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 1, and in the launch template",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn one_hop_is_right_and_two_are_not() {
        let instance = |hop_limit| InstanceMetadata {
            instance: format!("i-{hop_limit}"),
            hop_limit,
            tokens: "required".into(),
        };
        for (limits, verdict, words) in [
            (Ok(vec![1, 1]), Verdict::Ok, "all 2"),
            (Ok(vec![1, 2]), Verdict::Warning, "i-2 (2)"),
            (Ok(vec![]), Verdict::CannotTell, "no node"),
            (Err("denied".to_owned()), Verdict::CannotTell, "denied"),
        ] {
            let seen = limits.map(|it| it.into_iter().map(instance).collect());
            let finding = judge(seen);
            assert_eq!(finding.verdict, verdict);
            assert!(finding.evidence[0].contains(words), "{finding:?}");
        }
    }
}
