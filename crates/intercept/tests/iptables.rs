//! What only iptables has: two variants, a lock, other programs' rules in the same chains, and programs that may be
//! missing. What it shares with nftables is in tests/backends.rs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail where the test would"
)]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::{
    fs::{self, File},
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use podiam_intercept::{Backend, METADATA_V4, Outcome, Rules, iptables::Iptables};
use support::{
    Namespace, accept,
    backends::{Kind, every, programs, variants},
    nobody_at, readable,
    topology::{IMDS, Node, TARGET, TARGET_V6},
};

fn rules(interfaces: &str) -> Rules {
    let interfaces = interfaces.parse().unwrap();
    Rules::new(METADATA_V4, TARGET.parse().unwrap(), interfaces)
}

#[test]
fn an_independent_reader_sees_what_was_meant() {
    for kind in variants() {
        let node = Namespace::new();
        let mut wanted = rules("eni+,!eni7");
        wanted.target_v6 = Some(TARGET_V6.parse().unwrap());
        kind.install(&node, &wanted);
        let mut lines = kind.everything(&node);
        lines.retain(|line| line.starts_with('-'));
        lines.sort();
        let mut expected = [
            "-A FORWARD -j PODIAM-FORWARD",
            "-A FORWARD -j PODIAM-FORWARD",
            "-A INPUT -j PODIAM-INPUT",
            "-A INPUT -j PODIAM-INPUT",
            "-A PREROUTING -j PODIAM-PREROUTING",
            "-A PREROUTING -j PODIAM-PREROUTING",
            "-A PODIAM-FORWARD -d 169.254.169.254/32 -j DROP",
            "-A PODIAM-FORWARD -d fd00:ec2::254/128 -j DROP",
            "-A PODIAM-INPUT -i lo -p tcp -m tcp --dport 8181 -j RETURN",
            "-A PODIAM-INPUT -i lo -p tcp -m tcp --dport 8181 -j RETURN",
            "-A PODIAM-INPUT -p tcp -m tcp --dport 8181 -j DROP",
            "-A PODIAM-INPUT -p tcp -m tcp --dport 8181 -j DROP",
            "-A PODIAM-INPUT -p tcp -m tcp --dport 8181 -m conntrack --ctstate DNAT --ctorigdst 169.254.169.254 -j RETURN",
            "-A PODIAM-INPUT -p tcp -m tcp --dport 8181 -m conntrack --ctstate DNAT --ctorigdst fd00:ec2::254 -j RETURN",
            "-A PODIAM-PREROUTING -d 169.254.169.254/32 -i eni+ -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8181",
            "-A PODIAM-PREROUTING -d fd00:ec2::254/128 -i eni+ -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::1]:8181",
            "-A PODIAM-PREROUTING -i eni7 -j RETURN",
            "-A PODIAM-PREROUTING -i eni7 -j RETURN",
            "-A PREROUTING -j PODIAM-RPFILTER",
            "-A PREROUTING -j PODIAM-RPFILTER",
            "-A PODIAM-RPFILTER -i lxc+ -j RETURN",
            "-A PODIAM-RPFILTER -i lxc+ -j RETURN",
            "-A PODIAM-RPFILTER -i vlan+ -j RETURN",
            "-A PODIAM-RPFILTER -i vlan+ -j RETURN",
            "-A PODIAM-RPFILTER -d 169.254.169.254/32 -m rpfilter --invert -j DROP",
            "-A PODIAM-RPFILTER -d fd00:ec2::254/128 -m rpfilter --invert -j DROP",
        ];
        expected.sort_unstable();
        assert_eq!(lines, expected, "{kind}");
    }
}

#[test]
fn whatever_is_done_to_the_rules_by_hand_is_seen_and_repaired() {
    for kind in variants() {
        let node = Namespace::new();
        for (by_hand, seen) in [
            (
                "-t nat -F PODIAM-PREROUTING",
                "the rule that brings requests to the agent is missing",
            ),
            (
                "-t nat -F",
                "the rule that brings requests to the agent is missing",
            ),
            (
                "-t mangle -F PODIAM-FORWARD",
                "PODIAM-FORWARD: missing: -d 169.254.169.254 -j DROP",
            ),
            (
                "-t mangle -D FORWARD -j PODIAM-FORWARD",
                "FORWARD: the jump to PODIAM-FORWARD is missing",
            ),
            (
                "-t mangle -F",
                "PODIAM-FORWARD: missing: -d 169.254.169.254 -j DROP",
            ),
            (
                "-t nat -I PREROUTING -m comment --comment KUBE-SERVICES -j ACCEPT",
                "PREROUTING: other rules stand before the jump to PODIAM-PREROUTING",
            ),
            (
                "-t mangle -I INPUT -p tcp --dport 8181 -j ACCEPT",
                "INPUT: other rules stand before the jump to PODIAM-INPUT",
            ),
            (
                "-t mangle -I PODIAM-INPUT -p tcp --dport 8181 -j RETURN",
                "PODIAM-INPUT: does not belong here: -p tcp -m tcp --dport 8181 -j RETURN",
            ),
            (
                "-t mangle -A PODIAM-INPUT -p tcp --dport 8181 -j DROP",
                "PODIAM-INPUT: rules doubled or in another order",
            ),
            (
                "-t mangle -A FORWARD -i eth7 -j PODIAM-FORWARD",
                "PODIAM-FORWARD is also reached from elsewhere",
            ),
            (
                "-t nat -N PODIAM-OLD",
                "the chain PODIAM-OLD of nat does not belong here",
            ),
        ] {
            kind.remove(&node);
            kind.install(&node, &rules(""));
            kind.iptables(&node, "", by_hand);
            let drifted = kind.status(&node).expect("rules");
            assert!(
                drifted.drift.iter().any(|line| line == seen),
                "{kind} {by_hand}: {:?}",
                drifted.drift
            );
            assert_eq!(
                kind.install(&node, &rules("")),
                Outcome::Replaced,
                "{kind} {by_hand}"
            );
            let repaired = kind.status(&node).expect("rules");
            assert!(repaired.is_intact(), "{kind} {by_hand}: {repaired}");
            kind.iptables(&node, "", "-t nat -F PREROUTING");
            kind.iptables(&node, "", "-t mangle -F INPUT");
        }
    }
}

#[test]
fn the_rules_of_others_stay_where_they_are_when_the_jump_goes_back_to_the_first_place() {
    // kube-proxy, Docker and Calico as their rules look; Calico inserts its own at the top whenever it applies.
    let others = "\
*nat
:KUBE-SERVICES - [0:0]
:DOCKER - [0:0]
:cali-PREROUTING - [0:0]
-A PREROUTING -m comment --comment \"cali:6gwbT8clXdHdC1b1\" -j cali-PREROUTING
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment \"default/kubernetes:https cluster IP\" -m tcp --dport 443 -j RETURN
COMMIT
";
    for kind in variants() {
        let node = Namespace::new();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let file = folder.join(format!("others-{kind:?}"));
        fs::write(&file, others).unwrap();
        let add = format!("--noflush --wait=10 {}", file.display());
        kind.iptables(&node, "-restore", &add);
        let before = kind.everything(&node);
        kind.install(&node, &rules(""));
        // What they had is put on top once more, as after a restart of theirs.
        kind.iptables(
            &node,
            "",
            "-t nat -D PREROUTING -m comment --comment cali:6gwbT8clXdHdC1b1 -j cali-PREROUTING",
        );
        kind.iptables(
            &node,
            "",
            "-t nat -I PREROUTING -m comment --comment cali:6gwbT8clXdHdC1b1 -j cali-PREROUTING",
        );
        assert!(!kind.status(&node).unwrap().is_intact(), "{kind}");
        assert_eq!(kind.install(&node, &rules("")), Outcome::Replaced, "{kind}");

        let hooked = kind.everything(&node);
        let hooked = hooked
            .iter()
            .filter(|line| line.starts_with("-A PREROUTING") && !line.ends_with("-RPFILTER"));
        let targets: Vec<&str> = hooked.filter_map(|line| line.rsplit(' ').next()).collect();
        let order = [
            "PODIAM-PREROUTING",
            "cali-PREROUTING",
            "KUBE-SERVICES",
            "DOCKER",
        ];
        assert_eq!(targets, order, "{kind}");
        kind.remove(&node);
        assert_eq!(kind.everything(&node), before, "{kind}");
    }
}

#[test]
fn an_accept_of_others_does_not_open_what_is_refused() {
    // Calico accepts in filter what its policies allow, Docker what its networks do, each at the top of the chain.
    for kind in variants() {
        let node = Node::new();
        let other_port = node.world.listen("169.254.169.254:8080");
        let agent = node.node.listen(TARGET);
        let pod = node.routed_pod("eni1", 2);
        kind.install(&node.node, &rules(""));
        for chain in ["FORWARD", "INPUT"] {
            kind.iptables(&node.node, "", &format!("-I {chain} -j ACCEPT"));
        }
        pod.pod.reach_nothing("169.254.169.254:8080");
        pod.pod.reach_nothing(TARGET);
        nobody_at(&other_port);
        nobody_at(&agent);
    }
}

#[test]
fn rules_are_replaced_without_a_moment_in_between() {
    for kind in variants() {
        let node = Node::new();
        let imds = node.world.listen(IMDS);
        let agent = node.node.listen(TARGET);
        let pod = node.routed_pod("eni1", 2);
        // Counts every packet that was not translated, ahead of podiam's own drop.
        node.node.nft("add table inet watch");
        node.node
            .nft("add chain inet watch forward { type filter hook forward priority -300 ; }");
        node.node
            .nft("add rule inet watch forward ip daddr 169.254.169.254 counter");
        kind.install(&node.node, &rules(""));

        // A pod connects all the time, while every installation replaces the chains.
        let (connected, replaced) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let enough = || connected.load(Relaxed) >= 100 && replaced.load(Relaxed) >= 10;
        std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                while !enough() {
                    pod.pod.reach(IMDS);
                    accept(&agent);
                    connected.fetch_add(1, Relaxed);
                }
            });
            for interfaces in ["eni+", ""].into_iter().cycle() {
                if enough() || client.is_finished() {
                    break;
                }
                assert_eq!(
                    kind.install(&node.node, &rules(interfaces)),
                    Outcome::Replaced
                );
                replaced.fetch_add(1, Relaxed);
            }
        });
        let watched = node.node.nft("list table inet watch");
        assert!(watched.contains("counter packets 0 "), "{kind}: {watched}");
        nobody_at(&imds);
    }
}

/// Both variants, the nft one being what the node calls iptables.
fn both() -> Iptables {
    Iptables::with_programs_in(vec![programs(&["nft", "legacy"])])
}

#[test]
fn of_two_variants_the_one_that_the_node_uses_is_written_to_and_status_says_why() {
    if !every().contains(&Kind::IptablesLegacy) {
        return; // The other variant's error has been tested instead, by `every`.
    }
    let (nft, legacy) = (Kind::IptablesNft, Kind::IptablesLegacy);
    let node = Node::new();
    let node = &node.node;
    let install = || node.run(|| both().install(&rules(""))).unwrap();
    let place = || {
        let status = node.run(|| both().status()).unwrap().expect("rules");
        assert!(status.is_intact(), "{status}");
        status.place
    };
    let has = |kind: Kind| {
        kind.everything(node)
            .iter()
            .any(|line| line.contains("PODIAM"))
    };

    assert_eq!(install(), Outcome::Created);
    assert_eq!(
        place(),
        "iptables, variant nft (it is what this node calls iptables)"
    );
    assert!(has(nft) && !has(legacy));

    for port in 1..=3 {
        legacy.iptables(
            node,
            "",
            &format!("-A INPUT -p tcp --dport {port} -j ACCEPT"),
        );
    }
    let status = node.run(|| both().status()).unwrap().expect("rules");
    assert_eq!(
        status.drift,
        [
            "the rules are in the variant nft, and the node uses legacy: more of the node's rules are in it"
        ]
    );
    assert_eq!(install(), Outcome::Replaced);
    assert_eq!(
        place(),
        "iptables, variant legacy (more of the node's rules are in it)"
    );
    assert!(has(legacy) && !has(nft));

    // The kubelet tells by a chain of its own.
    nft.iptables(node, "", "-t mangle -N KUBE-IPTABLES-HINT");
    assert_eq!(install(), Outcome::Replaced);
    assert_eq!(
        place(),
        "iptables, variant nft (the kubelet's chains are in it)"
    );
    assert!(has(nft) && !has(legacy));

    // Rules in both are taken out of both.
    legacy.install(node, &rules(""));
    let status = node.run(|| both().status()).unwrap().expect("rules");
    assert_eq!(status.drift, ["there are rules in the variant legacy too"]);
    assert!(node.run(|| both().remove()).unwrap());
    assert!(!has(nft) && !has(legacy));
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let nothing = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("nothing");
    fs::create_dir_all(&nothing).unwrap();
    let without_v6 = tempfile::tempdir().unwrap();
    for name in ["iptables", "iptables-save", "iptables-restore"] {
        std::os::unix::fs::symlink("/usr/sbin/xtables-nft-multi", without_v6.path().join(name))
            .unwrap();
    }
    let node = Namespace::new();
    for (folder, program) in [
        (nothing, "iptables"),
        (without_v6.path().to_owned(), "ip6tables"),
    ] {
        let mut backend = Iptables::with_programs_in(vec![folder]);
        let error = node.run(|| backend.install(&rules("")).unwrap_err());
        assert_eq!(
            error.to_string(),
            format!(
                "the program {program} is missing: install the package iptables, or use --intercept=nftables, which needs no program"
            )
        );
    }
}

/// Runs `work` in the namespace with a folder /run that nobody else sees: the lock of the legacy variant is one for the
/// whole machine, whatever the network namespace.
fn with_a_lock_of_its_own<T: Send>(node: &Namespace, work: impl FnOnce() -> T + Send) -> T {
    node.run(|| {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace needs root (CAP_SYS_ADMIN)");
        let absent = None::<&str>;
        mount(
            absent,
            "/",
            absent,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            absent,
        )
        .unwrap();
        mount(absent, "/run", Some("tmpfs"), MsFlags::empty(), absent).unwrap();
        work()
    })
}

/// As iptables-legacy itself does.
fn take_the_lock() -> File {
    let lock = File::create("/run/xtables.lock").expect("/run/xtables.lock");
    lock.lock().unwrap();
    lock
}

#[test]
fn a_lock_that_another_program_holds_is_waited_for() {
    if !every().contains(&Kind::IptablesLegacy) {
        return; // Only the legacy variant has a lock.
    }
    let node = Namespace::new();
    with_a_lock_of_its_own(&node, || {
        let lock = take_the_lock();
        std::thread::scope(|scope| {
            let install = scope.spawn(|| Kind::IptablesLegacy.install(&node, &rules("")));
            wait_until_somebody_waits_for(&lock, || install.is_finished());
            lock.unlock().unwrap();
            assert_eq!(install.join().unwrap(), Outcome::Created);
        });
    });
}

#[test]
fn a_lock_that_is_never_released_is_named_as_the_cause_after_five_seconds() {
    if !every().contains(&Kind::IptablesLegacy) {
        return; // Only the legacy variant has a lock.
    }
    let node = Namespace::new();
    with_a_lock_of_its_own(&node, || {
        let lock = take_the_lock();
        let since = Instant::now();
        let error = Kind::IptablesLegacy.try_install(&node, &rules(""));
        let waited = since.elapsed();
        let told = error.unwrap_err().to_string();
        assert!(
            told.starts_with("another program held the xtables lock for 5 s: "),
            "{told}"
        );
        let about = Duration::from_secs(4)..Duration::from_secs(12);
        assert!(about.contains(&waited), "{waited:?}");
        drop(lock);
        assert_eq!(Kind::IptablesLegacy.status(&node), None);
    });
}

#[test]
fn changes_of_the_rules_are_heard_and_readings_are_not() {
    for kind in variants() {
        let node = Namespace::new();
        with_a_lock_of_its_own(&node, || {
            let mut backend = kind.open();
            assert!(backend.changes().is_none(), "{kind}");
            // Others' rules, which have to be left alone: all the tables are there.
            for own in ["-t nat -N KUBE-SERVICES", "-t mangle -N KUBE-KUBELET"] {
                kind.iptables(&node, "", own);
            }
            let (outcome, quiet) = (Outcome::Created, Outcome::Unchanged);
            assert_eq!(backend.install(&rules("")).unwrap(), outcome, "{kind}");
            while readable(backend.changes().unwrap(), 0) {
                backend.settle().unwrap();
            }
            for _ in 0..3 {
                assert_eq!(backend.install(&rules("")).unwrap(), quiet, "{kind}");
                kind.status(&node).unwrap();
                assert!(
                    !readable(backend.changes().unwrap(), 0),
                    "{kind}: a reading"
                );
            }

            for by_hand in [
                "-t nat -F PODIAM-PREROUTING",
                "-t mangle -D FORWARD -j PODIAM-FORWARD",
                "-t mangle -I INPUT -p tcp --dport 8181 -j ACCEPT",
                "-t nat -F",
                "-t mangle -F",
            ] {
                kind.iptables(&node, "", by_hand);
                assert!(
                    readable(backend.changes().unwrap(), 5_000),
                    "{kind} {by_hand}"
                );
                assert!(backend.settle().unwrap(), "{kind} {by_hand}");
                let repaired = backend.install(&rules("")).unwrap();
                assert_eq!(repaired, Outcome::Replaced, "{kind} {by_hand}");
                while readable(backend.changes().unwrap(), 0) {
                    backend.settle().unwrap();
                }
            }
        });
    }
}

#[test]
fn what_kube_proxy_writes_all_the_time_is_no_change_of_the_rules() {
    let kind = Kind::IptablesNft;
    let node = Namespace::new();
    kind.iptables(&node, "", "-t nat -N KUBE-SERVICES");
    let mut backend = kind.open();
    node.run(|| backend.install(&rules("")).unwrap());
    while backend.settle().unwrap() {}
    for theirs in [
        "-t nat -A KUBE-SERVICES -d 10.96.0.1 -j RETURN",
        "-t nat -N KUBE-SVC-1",
        "-t nat -F KUBE-SERVICES",
        "-A INPUT -p tcp --dport 22 -j ACCEPT",
    ] {
        kind.iptables(&node, "", theirs);
        assert!(readable(backend.changes().unwrap(), 5_000), "{theirs}");
        assert!(!backend.settle().unwrap(), "{theirs}");
    }
}

/// Returns once a process is blocked in flock(2) on `lock`: /proc/locks lists it with an arrow.
fn wait_until_somebody_waits_for(lock: &File, is_over: impl Fn() -> bool) {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{} ", lock.metadata().unwrap().ino());
    while !is_over() {
        let locks = fs::read_to_string("/proc/locks").unwrap();
        if locks
            .lines()
            .any(|line| line.contains("->") && line.contains(&inode))
        {
            return;
        }
        std::thread::yield_now();
    }
    panic!("nobody waits for the lock");
}

/// Root's programs have what the bounding set of the thread has that starts them.
fn drop_network_capabilities_of_programs() {
    const CAP_NET_ADMIN: libc::c_ulong = 12;
    const CAP_NET_RAW: libc::c_ulong = 13;
    for capability in [CAP_NET_ADMIN, CAP_NET_RAW] {
        // SAFETY: PR_CAPBSET_DROP takes a number, touches no memory, and concerns the calling thread alone.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        assert_eq!(result, 0, "prctl: {}", std::io::Error::last_os_error());
    }
}

#[test]
fn without_cap_net_admin_the_error_names_the_capability() {
    for kind in variants() {
        let node = Namespace::new();
        let error = node.run(|| {
            drop_network_capabilities_of_programs();
            kind.open().install(&rules("")).unwrap_err()
        });
        assert!(
            error.to_string().contains("CAP_NET_ADMIN"),
            "{kind}: {error}"
        );
    }
}

#[test]
fn a_table_that_nft_wrote_into_is_named_and_the_other_way_recommended() {
    let node = Namespace::new();
    node.nft("add table ip nat");
    node.nft("add chain ip nat PREROUTING { type nat hook prerouting priority dstnat ; }");
    node.nft("add rule ip nat PREROUTING ip daddr { 10.96.0.1, 10.96.0.2 } tcp dport 80 dnat to 10.0.0.1:9999");
    let error = Kind::IptablesNft
        .try_install(&node, &rules(""))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table nat holds rules that iptables cannot show, because nft wrote them: use --intercept=nftables"
    );
}

#[test]
fn an_interface_that_iptables_would_read_as_something_else_is_refused() {
    let node = Namespace::new();
    for interface in ["-j", "a\"b", "a\\b", "a;b"] {
        let error = Kind::IptablesNft.try_install(&node, &rules(interface));
        let told =
            format!("iptables has no way to write the interface {interface:?} of --host-interface");
        assert_eq!(error.unwrap_err().to_string(), told);
    }
}
