//! Who may change the table: its owner while it lives, and after that the next.

use podiam_intercept::{Nftables, Outcome};

use super::{
    install, rules, status,
    support::{
        self, Namespace, accept,
        topology::{IMDS, Node, TARGET},
    },
    wait_until_nobody_owns_it,
};

#[test]
fn an_owned_table_is_closed_to_everybody_else_and_says_whose_it_is() {
    let node = Namespace::new();
    let mut agent = Nftables::default();
    node.run(|| agent.install(&rules(""))).unwrap();

    for by_hand in [
        "delete table inet podiam",
        "flush chain inet podiam forward",
        "add element inet podiam excluded { x }",
    ] {
        let refused = node.nft_refused(by_hand);
        assert!(refused.contains("Operation not permitted"), "{refused}");
    }
    // Of all the tables it passes this one by.
    node.nft("add table inet other");
    node.nft("flush ruleset");
    assert_eq!(node.nft("list tables"), "table inet podiam\n");

    let shown = status(&node).unwrap();
    assert!(shown.is_intact(), "{shown}");
    let process = shown.owner.unwrap().process.expect("our own process");
    assert_eq!(process.pid, std::process::id());

    let error = node.run(|| Nftables::default().remove()).unwrap_err();
    let told = format!(
        "the table inet podiam is owned by {} (process {}), which is still running",
        process.name, process.pid
    );
    assert_eq!(error.to_string(), told);
    let other = rules("eni+");
    let error = node
        .run(|| Nftables::default().install(&other))
        .unwrap_err();
    assert_eq!(error.to_string(), told);

    // The owner itself may.
    assert_eq!(
        node.run(|| agent.install(&other)).unwrap(),
        Outcome::Replaced
    );
    assert!(node.run(|| agent.remove()).unwrap());
}

#[test]
fn the_next_agent_accepts_the_table_and_takes_it_when_the_old_one_goes() {
    let node = Namespace::new();
    let (mut old, mut new) = (Nftables::default(), Nftables::default());
    node.run(|| old.install(&rules("eni+"))).unwrap();
    let mut take = || node.run(|| new.install(&rules("eni+"))).unwrap();
    assert_eq!(take(), Outcome::Unchanged);
    let owned_by = |status: Option<podiam_intercept::Status>| status.unwrap().owner.unwrap().port;
    let before = owned_by(status(&node));
    drop(old);
    wait_until_nobody_owns_it(&node);
    assert_eq!(take(), Outcome::Adopted);
    assert_ne!(owned_by(status(&node)), before);
    assert_eq!(take(), Outcome::Unchanged);
    assert!(
        node.nft_refused("delete table inet podiam")
            .contains("not permitted")
    );
}

#[test]
fn a_table_left_behind_is_adopted_as_it_is() {
    let node = Node::new();
    let listener = node.node.listen(TARGET);
    let pod = node.routed_pod("eni1", 2);
    install(&node.node, &rules("eni+"));
    let _open = (pod.pod.reach(IMDS), accept(&listener));
    let listed = || node.node.nft("--handle list chains inet");
    let rules_before = node.node.nft("list chain inet podiam imds");
    assert!(rules_before.contains("packets 1 "), "{rules_before}");
    let before = listed();

    let mut agent = Nftables::default();
    let mut install = |interfaces| node.node.run(|| agent.install(&rules(interfaces))).unwrap();
    assert_eq!(install("eni+"), Outcome::Adopted);
    assert_eq!(listed(), before);
    assert_eq!(node.node.nft("list chain inet podiam imds"), rules_before);
    assert!(status(&node.node).unwrap().owner.is_some());
}

#[test]
fn a_table_left_behind_with_other_interfaces_is_adjusted_and_adopted() {
    let node = Namespace::new();
    install(&node, &rules("eni+"));
    let mut agent = Nftables::default();
    let outcome = node.run(|| agent.install(&rules("cali+"))).unwrap();
    assert_eq!(outcome, Outcome::Adjusted);
    assert!(status(&node).unwrap().owner.is_some());
}

#[test]
fn a_kernel_that_cannot_keep_a_table_closed_gets_a_plain_one() {
    let node = Namespace::new();
    let mut agent = Nftables::on_an_old_kernel();
    let mut install = |interfaces| node.run(|| agent.install(&rules(interfaces))).unwrap();
    assert_eq!(install("eni+"), Outcome::Created);
    assert_eq!(install("eni+"), Outcome::Unchanged);
    assert_eq!(install("cali+"), Outcome::Adjusted);
    assert_eq!(install(""), Outcome::Replaced);
    let shown = status(&node).unwrap();
    assert!(shown.is_intact() && shown.owner.is_none(), "{shown}");

    // So is one that an earlier agent left.
    let mut next = Nftables::on_an_old_kernel();
    let outcome = node.run(|| next.install(&rules("")));
    assert_eq!(outcome.unwrap(), Outcome::Unchanged);
    node.nft("flush ruleset");
    assert_eq!(status(&node), None);
}

#[test]
fn a_plain_table_is_closed_once_the_kernel_can() {
    let node = Namespace::new();
    let mut old = Nftables::on_an_old_kernel();
    node.run(|| old.install(&rules(""))).unwrap();
    let mut new = Nftables::default();
    let mut install = || node.run(|| new.install(&rules(""))).unwrap();
    assert_eq!(install(), Outcome::Replaced);
    assert_eq!(install(), Outcome::Unchanged);
    assert!(status(&node).unwrap().owner.is_some());
}

#[test]
fn a_table_that_a_foreign_program_owns_is_named_as_the_cause() {
    let node = Namespace::new();
    let owner = support::owner_of_a_table(&node);
    let error = node.run(|| Nftables::default().install(&rules("")));
    assert_eq!(
        error.unwrap_err().to_string(),
        format!(
            "the table inet podiam is owned by nft (process {}), which is still running",
            owner.pid()
        )
    );
    drop(owner);
    assert_eq!(install(&node, &rules("")), Outcome::Created);
}
