//! The back ends that write rules, as tests choose them: nftables, and iptables with the programs of one variant only.

use std::time::{Duration, Instant};
use std::{fmt, fs, os::unix::fs::symlink, path::PathBuf, process::Command, sync::LazyLock};

use podiam_intercept::{
    Backend, Error, Interfaces, METADATA_V4, Outcome, Rules, Status,
    iptables::Iptables,
    nftables::{self, Nftables},
};

use super::{Namespace, topology::TARGET};

/// Every back end that writes rules and that this kernel has the means for. Distributions have begun to leave out
/// `ip_tables`, which the legacy variant needs; what is then left to test of it is its error.
pub(crate) fn every() -> Vec<Kind> {
    static HAS_LEGACY: LazyLock<bool> = LazyLock::new(|| {
        let node = Namespace::new();
        let legacy = || {
            Command::new("iptables-legacy")
                .args(["-t", "nat", "-S"])
                .output()
        };
        let tried = node.run(legacy);
        let tried = tried.expect("these tests need the program iptables-legacy (package iptables)");
        if !tried.status.success() {
            let rules = Rules::new(
                METADATA_V4,
                TARGET.parse().expect("an address"),
                Interfaces::all(),
            );
            let error = Kind::IptablesLegacy.try_install(&node, &rules);
            let error = error.expect_err("no ip_tables in the kernel").to_string();
            assert!(error.starts_with("the kernel lacks what "), "{error}");
        }
        tried.status.success()
    });
    let mut every = vec![Kind::Nftables, Kind::IptablesNft];
    every.extend(HAS_LEGACY.then_some(Kind::IptablesLegacy));
    every
}

/// Those of iptables.
pub(crate) fn variants() -> impl Iterator<Item = Kind> {
    every().into_iter().filter(|kind| *kind != Kind::Nftables)
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nftables,
    IptablesNft,
    IptablesLegacy,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nftables => "nftables",
            Self::IptablesNft => "iptables (nft)",
            Self::IptablesLegacy => "iptables (legacy)",
        })
    }
}

impl Kind {
    pub(crate) fn open(self) -> Box<dyn Backend> {
        match self {
            Self::Nftables => Box::new(Nftables::default()),
            Self::IptablesNft => Box::new(Iptables::with_programs_in(vec![programs(&["nft"])])),
            Self::IptablesLegacy => {
                Box::new(Iptables::with_programs_in(vec![programs(&["legacy"])]))
            }
        }
    }

    pub(crate) fn try_install(self, node: &Namespace, rules: &Rules) -> Result<Outcome, Error> {
        node.run(|| self.open().install(rules))
    }

    /// Tries again while the one before still counts as the owner: a program that another test starts just then holds
    /// that one's socket until it runs.
    pub(crate) fn install(self, node: &Namespace, rules: &Rules) -> Outcome {
        let start = Instant::now();
        loop {
            match self.try_install(node, rules) {
                Ok(outcome) => return outcome,
                Err(Error::Nftables(nftables::Error::Owned(_)))
                    if start.elapsed() < Duration::from_secs(5) =>
                {
                    std::thread::yield_now();
                }
                Err(error) => panic!("{self}: {error}"),
            }
        }
    }

    pub(crate) fn guard(self, node: &Namespace) -> Outcome {
        let done = node.run(|| self.open().guard());
        done.unwrap_or_else(|error| panic!("{self}: {error}"))
    }

    pub(crate) fn status(self, node: &Namespace) -> Option<Status> {
        let read = node.run(|| self.open().status());
        read.unwrap_or_else(|error| panic!("{self}: {error}"))
    }

    pub(crate) fn remove(self, node: &Namespace) -> bool {
        let done = node.run(|| self.open().remove());
        done.unwrap_or_else(|error| panic!("{self}: {error}"))
    }

    /// Translates TCP port 80 of `address` as kube-proxy or kube2iam would, in the rule set that this back end works in.
    pub(crate) fn translate(self, node: &Namespace, address: &str, target: &str) {
        if self == Self::Nftables {
            node.nft("add table ip nat");
            node.nft("add chain ip nat PREROUTING { type nat hook prerouting priority dstnat ; }");
            node.nft(&format!(
                "add rule ip nat PREROUTING ip daddr {address} tcp dport 80 dnat to {target}"
            ));
        } else {
            self.iptables(node, "", &format!(
                "-t nat -A PREROUTING -d {address} -p tcp --dport 80 -j DNAT --to-destination {target}"
            ));
        }
    }

    /// Every rule that there is, without counters and without what is only there because somebody looked.
    pub(crate) fn everything(self, node: &Namespace) -> Vec<String> {
        let listed = if self == Self::Nftables {
            node.nft("--stateless list ruleset")
        } else {
            let mut listed = self.iptables(node, "-save", "");
            listed += &node.program(&self.program("ip6tables", "-save"), "iptables", "");
            listed
        };
        let lines = listed.lines().filter(|line| {
            self == Self::Nftables || line.starts_with('-') || line.starts_with(":PODIAM")
        });
        lines.map(str::to_owned).collect()
    }

    /// Runs iptables itself, or `-save` or `-restore` of it.
    pub(crate) fn iptables(self, node: &Namespace, action: &str, arguments: &str) -> String {
        let wait = if action.is_empty() { "-w 10 " } else { "" };
        node.program(
            &self.program("iptables", action),
            "iptables",
            &format!("{wait}{arguments}"),
        )
    }

    fn program(self, family: &str, action: &str) -> String {
        let variant = match self {
            Self::Nftables => panic!("nftables has no program of iptables"),
            Self::IptablesNft => "nft",
            Self::IptablesLegacy => "legacy",
        };
        format!("{family}-{variant}{action}")
    }
}

/// A folder with the programs of the `variants`; the first is also what the plain name `iptables` means.
pub(crate) fn programs(variants: &[&str]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(variants.join("-and-"));
    fs::create_dir_all(&folder).expect("a folder in the target directory");
    for (position, variant) in variants.iter().enumerate() {
        let all_in_one = format!("/usr/sbin/xtables-{variant}-multi");
        assert!(
            fs::exists(&all_in_one).is_ok_and(|exists| exists),
            "these tests need the program {all_in_one} (package iptables)"
        );
        for family in ["iptables", "ip6tables"] {
            for action in ["", "-save", "-restore"] {
                let mut names = vec![format!("{family}-{variant}{action}")];
                if position == 0 {
                    names.push(format!("{family}{action}"));
                }
                for name in names {
                    // Another test may have been faster.
                    let _ = symlink(&all_in_one, folder.join(name));
                }
            }
        }
    }
    folder
}
