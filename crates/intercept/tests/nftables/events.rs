//! Whoever keeps the rules hears of every change of them, and of little else.

use std::time::Instant;

use podiam_intercept::{Backend, Nftables, Outcome};

use super::{
    rules,
    support::{Namespace, readable},
};

#[test]
fn changes_of_the_table_are_heard_and_others_are_not() {
    let node = Namespace::new();
    // On a kernel that keeps the table closed there would be nothing to hear.
    let mut nftables = Nftables::on_an_old_kernel();
    assert!(Backend::changes(&nftables).is_none());
    let install = |nftables: &mut Nftables| node.run(|| nftables.install(&rules(""))).unwrap();
    assert_eq!(install(&mut nftables), Outcome::Created);
    // Its own, which it cannot tell from others'.
    assert!(Backend::settle(&mut nftables).unwrap());
    assert!(!readable(Backend::changes(&nftables).unwrap(), 0));

    for (by_hand, concerns) in [
        ("add table inet other", false),
        ("add chain inet other inner", false),
        ("add table ip podiam", false),
        ("flush chain inet podiam forward", true),
        ("add element inet podiam excluded { x }", true),
        ("add set inet podiam evil { type ipv4_addr ; }", true),
        ("add chain inet podiam evil", true),
        ("add rule inet podiam evil accept", true),
        ("add table inet podiam { flags dormant ; }", true),
        ("delete table inet podiam", true),
        ("flush ruleset", false),
    ] {
        node.nft(by_hand);
        assert!(
            readable(Backend::changes(&nftables).unwrap(), 5_000),
            "{by_hand}"
        );
        assert_eq!(
            Backend::settle(&mut nftables).unwrap(),
            concerns,
            "{by_hand}"
        );
    }

    let since = Instant::now();
    assert_eq!(install(&mut nftables), Outcome::Created);
    println!("writing the table anew took {:?}", since.elapsed());
}

#[test]
fn more_changes_than_the_socket_holds_may_concern_the_table() {
    let node = Namespace::new();
    let mut nftables = Nftables::default();
    node.run(|| nftables.install(&rules(""))).unwrap();
    Backend::settle(&mut nftables).unwrap();
    // Each transaction announces one element for every name: far more than the buffer of a socket.
    node.nft("add table ip other");
    node.nft("add set ip other many { type inet_service ; }");
    let numbers: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
    node.nft(&format!(
        "add element ip other many {{ {} }}",
        numbers.join(",")
    ));
    assert!(Backend::settle(&mut nftables).unwrap());
}
