//! `kernel`: what interception needs of it.

use podiam_intercept::Mode;

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;

const CHECK: Check = Check::Kernel;
/// The first whose tables stay when their owner ends (`NFT_TABLE_F_PERSIST`).
const PERSISTS: (u32, u32) = (6, 9);

/// What was seen.
#[derive(Clone, Debug)]
pub(in crate::doctor) struct Kernel {
    /// As `uname -r` prints it.
    pub(in crate::doctor) release: String,
    /// Whether nftables answers.
    pub(in crate::doctor) nftables: Result<(), String>,
    /// Whether conntrack is there.
    pub(in crate::doctor) conntrack: bool,
}

pub(in crate::doctor) fn judge(kernel: &Kernel, mode: Result<Mode, String>) -> Finding {
    let release = &kernel.release;
    let Some(version) = version(release) else {
        return Finding::cannot_tell(CHECK, format!("{release:?} is no release of Linux"), "");
    };
    let mode = match mode {
        Ok(mode) => mode,
        Err(why) => {
            return Finding::cannot_tell(CHECK, format!("Linux {release}; {why}"), "see agents");
        }
    };
    if mode != Mode::Nftables {
        return Finding::ok(
            CHECK,
            format!("Linux {release}; --intercept={mode} needs no nftables"),
        );
    }
    if let Err(why) = &kernel.nftables {
        return Finding::wrong(
            CHECK,
            format!("Linux {release}, and nftables cannot be used: {why}"),
            "run as root with CAP_NET_ADMIN (kubectl exec into an agent's pod); else load nf_tables, or use --intercept=iptables",
        );
    }
    if !kernel.conntrack {
        return Finding::wrong(
            CHECK,
            format!(
                "Linux {release} without conntrack: a packet to the metadata service cannot be sent to the agent"
            ),
            "load the module nf_conntrack",
        );
    }
    if version < PERSISTS {
        return Finding::warning(
            CHECK,
            format!(
                "Linux {release}, older than 6.9: whoever is root on the node can change the rules, and the agent repairs them"
            ),
            "nothing where the node is trusted; else a newer kernel",
        );
    }
    Finding::ok(
        CHECK,
        format!("Linux {release} with nftables, tables with an owner, and conntrack"),
    )
}

/// Major and minor.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn nftables_conntrack_and_6_9_are_right() {
        use Verdict::{CannotTell, Ok as Right, Warning, Wrong};
        let kernel = |release: &str, nftables: Result<(), &str>, conntrack| Kernel {
            release: release.into(),
            nftables: nftables.map_err(str::to_owned),
            conntrack,
        };
        for (kernel, mode, verdict) in [
            (
                kernel("6.12.4-amzn", Ok(()), true),
                Ok(Mode::Nftables),
                Right,
            ),
            (kernel("6.9.0", Ok(()), true), Ok(Mode::Nftables), Right),
            (kernel("6.8.12", Ok(()), true), Ok(Mode::Nftables), Warning),
            (kernel("5.10.1", Ok(()), true), Ok(Mode::Nftables), Warning),
            (kernel("6.12.4", Err("no"), true), Ok(Mode::Nftables), Wrong),
            (kernel("6.12.4", Ok(()), false), Ok(Mode::Nftables), Wrong),
            (
                kernel("5.10.1", Err("no"), false),
                Ok(Mode::Iptables),
                Right,
            ),
            (kernel("", Ok(()), true), Ok(Mode::Nftables), CannotTell),
            (
                kernel("6.9.0", Ok(()), true),
                Err("flags".to_owned()),
                CannotTell,
            ),
        ] {
            let finding = judge(&kernel, mode);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        }
    }
}
