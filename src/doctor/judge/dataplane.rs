//! `dataplane`: the way of interception fits what carries pods' packets.

use podiam_intercept::{Interfaces, Mode};

use crate::doctor::check::Check;
use crate::doctor::finding::{Finding, some_of};

const CHECK: Check = Check::Dataplane;
/// How links of pods begin, by who makes them.
const LINKS: [(&str, &str); 6] = [
    ("eni", "Amazon VPC CNI"),
    ("vlan", "Amazon VPC CNI, branch interfaces"),
    ("cali", "Calico"),
    ("lxc", "Cilium"),
    ("azv", "Azure CNI"),
    ("veth", "a bridge or flannel"),
];

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(in crate::doctor) struct Dataplane {
    /// Signs of Cilium.
    pub(in crate::doctor) cilium: Vec<String>,
    /// Every interface but loopback.
    pub(in crate::doctor) interfaces: Vec<String>,
    /// What kube-proxy says of its mode.
    pub(in crate::doctor) kube_proxy: Option<String>,
}

/// `config` is the agent's mode and `--host-interface`.
pub(in crate::doctor) fn judge(
    seen: Result<Dataplane, String>,
    config: Result<(Mode, &Interfaces), String>,
) -> Finding {
    let seen = match seen {
        Ok(seen) => seen,
        Err(why) => return Finding::cannot_tell(CHECK, why, "run on a node, on its own network"),
    };
    let (mode, interfaces) = match config {
        Ok(config) => config,
        Err(why) => return Finding::cannot_tell(CHECK, why, "see agents"),
    };
    let mut makers: Vec<&str> = LINKS
        .iter()
        .filter(|(prefix, _)| seen.interfaces.iter().any(|it| it.starts_with(prefix)))
        .map(|(_, maker)| *maker)
        .collect();
    makers.dedup();
    let pods = if makers.is_empty() {
        "no pod's link".to_owned()
    } else {
        format!("pods' links of {}", makers.join(" and of "))
    };
    let proxy = seen.kube_proxy.as_deref().map_or_else(
        || "kube-proxy does not tell its mode".to_owned(),
        |mode| format!("kube-proxy's mode is {mode}"),
    );
    let details = [
        format!("interfaces: {}", some_of(&seen.interfaces, 20)),
        proxy,
    ];
    let is_cilium = !seen.cilium.is_empty();
    let finding = if is_cilium && mode.writes_rules() {
        Finding::warning(
            CHECK,
            format!(
                "Cilium is here ({}), and --intercept={mode}: with kube-proxy replacement Cilium's programs see a pod's packet before any rule",
                some_of(&seen.cilium, 3)
            ),
            "see whether interception is in force; if not, --intercept=cilium and `podiam intercept print`",
        )
    } else if !is_cilium && mode == Mode::Cilium {
        Finding::wrong(
            CHECK,
            "--intercept=cilium, and there is no sign of Cilium's dataplane: nothing brings pods' requests to the agent",
            "--intercept=nftables",
        )
    } else if mode.writes_rules() && !interfaces.is_all() && !covers(interfaces, &seen.interfaces) {
        Finding::wrong(
            CHECK,
            format!(
                "--host-interface={interfaces} is none of the node's interfaces: the rules cover nobody"
            ),
            "leave --host-interface away: every interface is covered then",
        )
    } else {
        Finding::ok(CHECK, format!("{pods}; --intercept={mode} fits"))
    };
    finding.and(details)
}

fn covers(interfaces: &Interfaces, present: &[String]) -> bool {
    present.iter().any(|name| interfaces.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn ciliums_mode_belongs_to_ciliums_nodes_and_interfaces_must_be_there() {
        use Verdict::{Ok as Right, Warning, Wrong};
        let node = |cilium: bool| Dataplane {
            cilium: cilium
                .then(|| "/sys/class/net/cilium_host".to_owned())
                .into_iter()
                .collect(),
            interfaces: ["eth0", "eni1a"].map(str::to_owned).to_vec(),
            kube_proxy: Some("iptables".into()),
        };
        for (cilium, mode, interfaces, verdict) in [
            (false, Mode::Nftables, "", Right),
            (false, Mode::Nftables, "eni+", Right),
            (false, Mode::Nftables, "cali+", Wrong),
            (false, Mode::Cilium, "", Wrong),
            (true, Mode::Cilium, "", Right),
            (true, Mode::Nftables, "", Warning),
            (true, Mode::Iptables, "", Warning),
        ] {
            let interfaces: Interfaces = interfaces.parse().unwrap();
            let finding = judge(Ok(node(cilium)), Ok((mode, &interfaces)));
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.evidence[1].contains("eni1a"), "{finding:?}");
        }
    }
}
