//! The rule set in real network namespaces: what pods reach, what they do not, and what the kernel holds.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests fail where the test would"
)]

#[path = "../support/mod.rs"]
mod support;

mod events;
mod failures;
mod gate;
mod interfaces;
mod older;
mod ownership;
mod pods;
mod sources;
mod table;

use podiam_intercept::{METADATA_V4, Nftables, Outcome, Rules, Status};
use support::{
    Namespace,
    topology::{TARGET, TARGET_V6},
};

fn rules(interfaces: &str) -> Rules {
    let interfaces = interfaces.parse().unwrap();
    Rules::new(METADATA_V4, TARGET.parse().unwrap(), interfaces)
}

fn dual_stack() -> Rules {
    Rules {
        target_v6: Some(TARGET_V6.parse().unwrap()),
        ..rules("")
    }
}

/// Installs and leaves, as an agent that was killed: nobody owns the table.
fn install(namespace: &Namespace, rules: &Rules) -> Outcome {
    let outcome = namespace.run(|| Nftables::default().install(rules));
    wait_until_nobody_owns_it(namespace);
    outcome.unwrap()
}

/// A test beside this one that is just starting a program holds every socket of this process a moment longer.
fn wait_until_nobody_owns_it(namespace: &Namespace) {
    while status(namespace).is_some_and(|status| status.owner.is_some()) {
        std::thread::yield_now();
    }
}

/// Installs as on a kernel that cannot keep a table closed.
fn install_plain(namespace: &Namespace, rules: &Rules) -> Outcome {
    namespace
        .run(|| Nftables::on_an_old_kernel().install(rules))
        .unwrap()
}

fn status(namespace: &Namespace) -> Option<Status> {
    namespace.run(|| Nftables::default().status()).unwrap()
}

fn remove(namespace: &Namespace) -> bool {
    namespace.run(|| Nftables::default().remove()).unwrap()
}

/// Packets that the rules of `chain` counted whose text contains `part`.
fn packets(namespace: &Namespace, chain: &str, part: &str) -> u64 {
    let rules = status(namespace).unwrap().rules;
    let matching = rules.iter().filter(|found| {
        found.chain == chain && found.rule.as_ref().is_some_and(|rule| rule.contains(part))
    });
    matching.map(|rule| rule.packets).sum()
}
