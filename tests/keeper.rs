//! The keeper of the interception rules over the real kernel, in a network namespace of its own: what others change is
//! repaired, and how fast. Needs root and the program nft (nftables).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot have what it needs fails right there, and prints what it measured"
)]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use podiam::interception;
use podiam::lifecycle::Readiness;
use podiam::metrics::Metrics;
use podiam_intercept::{METADATA_V4, Nftables, Rules};

fn nft(arguments: &str) {
    let status = Command::new("nft")
        .args(arguments.split_whitespace())
        .status()
        .expect("this test needs the program nft (package nftables)");
    assert!(status.success(), "nft {arguments}");
}

/// Waits until the table is there as it should be, and returns how long that took.
fn intact() -> Duration {
    let since = Instant::now();
    let mut reader = Nftables::default();
    while !reader
        .status()
        .unwrap()
        .is_some_and(|status| status.is_intact() && status.intercepts.is_some())
    {
        assert!(since.elapsed() < Duration::from_secs(10), "not repaired");
        std::thread::yield_now();
    }
    since.elapsed()
}

#[test]
fn whatever_others_do_to_the_rules_is_repaired_within_a_second() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root (CAP_SYS_ADMIN)");
    // The runtime's threads are in the namespace of the thread that makes it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let readiness = Readiness::default();
    let metrics = Arc::new(Metrics::new().unwrap());
    let target = "10.0.0.1:8181".parse().unwrap();
    let rules = Rules::new(METADATA_V4, target, "eni+".parse().unwrap());
    runtime.spawn(interception::keep(
        // A table that the kernel keeps closed could not be changed at all.
        Box::new(Nftables::on_an_old_kernel()),
        rules,
        readiness.condition("interception"),
        Arc::clone(&metrics),
    ));
    println!("installed: {:?}", intact());
    while !readiness.missing().is_empty() {
        std::thread::yield_now();
    }

    for by_hand in [
        "delete table inet podiam",
        "flush ruleset",
        "flush chain inet podiam forward",
        "add element inet podiam asymmetric { eni* }",
    ] {
        nft(by_hand);
        let took = intact();
        println!("repaired after `nft {by_hand}`: {took:?}");
        assert!(took < Duration::from_secs(1), "{by_hand}: {took:?}");
    }
    let counted = |text: &str| text.contains("podiam_interception_repairs_total 4");
    while !counted(&String::from_utf8(metrics.render().unwrap()).unwrap()) {
        std::thread::yield_now();
    }
    assert!(readiness.missing().is_empty());
}
