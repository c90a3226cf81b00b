//! Why iptables did not do as it was told, in terms of what an administrator can change.

use std::{io, net::IpAddr, path::Path, process::ExitStatus};

use thiserror::Error;

use crate::conntrack;

/// A failure of [`super::Iptables`]. Each table's rules are as they were before, or as they should be.
#[derive(Debug, Error)]
pub enum Error {
    /// DNAT to loopback, an unspecified or multicast address, or port 0 would drop every request.
    #[error("pods' connections cannot be brought to {0}: --host-ip must be an address of the node")]
    UnusableTarget(IpAddr),
    /// The name of an interface that would not survive iptables' own reading.
    #[error("iptables has no way to write the interface {0:?} of --host-interface")]
    Interface(String),
    /// A program that is not installed.
    #[error(
        "the program {program} is missing: install the package {package}, or use --intercept=nftables, which needs no program"
    )]
    Missing {
        /// The program that was looked for.
        program: String,
        /// The package that holds it, under this name in Debian, Amazon Linux, Alpine and their kin.
        package: &'static str,
    },
    /// A program that cannot be started.
    #[error("cannot run {program}")]
    Run {
        /// Its path.
        program: String,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The capability is missing in the user namespace that owns this network namespace.
    #[error(
        "{program} needs the capability CAP_NET_ADMIN (and the legacy variant CAP_NET_RAW): {said}"
    )]
    NotPermitted {
        /// Its path.
        program: String,
        /// What it said.
        said: String,
    },
    /// Not built in, and no module of that name could be loaded.
    #[error("the kernel lacks what {program} works with: {said}")]
    MissingFeature {
        /// Its path.
        program: String,
        /// What it said.
        said: String,
    },
    /// `/run/xtables.lock` was held all the time.
    #[error("another program held the xtables lock for {waited} s: {said}")]
    Locked {
        /// How long it was waited for, in seconds.
        waited: u32,
        /// What the program said.
        said: String,
    },
    /// The nft variant finds rules in its tables that nft wrote and iptables has no words for.
    #[error(
        "the table {0} holds rules that iptables cannot show, because nft wrote them: use --intercept=nftables"
    )]
    Incompatible(String),
    /// Any other failure of a program.
    #[error("{program} ended with {status}: {said}")]
    Failed {
        /// Its path.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// The rules are in place, but a change of them would go unnoticed.
    #[error("changes of iptables' rules cannot be listened for")]
    Unheard(#[source] io::Error),
    /// The rules are in place, but a connection from before them may go on.
    #[error("connections from before the rules are not ended")]
    OlderConnections(#[source] conntrack::Error),
    /// A listing that is not in the format of iptables-save.
    #[error("{program} printed what cannot be read: {line:?}")]
    Unreadable {
        /// Its path.
        program: String,
        /// The first such line.
        line: String,
    },
}

/// How long a program waits for the xtables lock, in seconds.
pub(super) const LOCK_WAIT: u32 = 5;

/// Names the cause of a program's failure. iptables tells nothing but by text and a few exit codes that two variants
/// use differently.
pub(super) fn explain(program: &Path, status: ExitStatus, stderr: &str) -> Error {
    let program = program.display().to_string();
    let lines = stderr.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let said = lines.collect::<Vec<_>>().join("; ");
    let says = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
    if says(&["xtables lock"]) {
        let waited = LOCK_WAIT;
        return Error::Locked { waited, said };
    }
    // Before the permission: a legacy program without its module says both ("Table does not exist", "you must be root").
    if says(&[
        "do you need to insmod",
        "not supported",
        "missing kernel module",
    ]) {
        return Error::MissingFeature { program, said };
    }
    if says(&["Permission denied", "Operation not permitted"]) {
        return Error::NotPermitted { program, said };
    }
    Error::Failed {
        program,
        status,
        said,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn what_a_program_says_is_told_as_what_an_administrator_can_change() {
        for (said, told) in [
            (
                "Another app is currently holding the xtables lock. Perhaps you want to use the -w option?\n",
                "another program held the xtables lock for 5 s: ",
            ),
            (
                "iptables v1.8.9 (legacy): can't initialize iptables table `nat': Table does not exist (do you need to insmod?)\nPerhaps iptables or your kernel needs to be upgraded.\n",
                "the kernel lacks what /sbin/iptables-restore works with: ",
            ),
            (
                "iptables-nft-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)\n",
                "/sbin/iptables-restore needs the capability CAP_NET_ADMIN",
            ),
            (
                "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\nline 3 failed\n",
                "/sbin/iptables-restore ended with exit status: 1: line 3 failed",
            ),
        ] {
            let status = ExitStatus::from_raw(1 << 8);
            let error = explain(Path::new("/sbin/iptables-restore"), status, said);
            assert!(error.to_string().starts_with(told), "{error}");
        }
    }
}
