//! What cannot be done is told in terms of what an administrator can change.

use podiam_intercept::{Nftables, Rules};

use super::{
    rules, status,
    support::{self, Namespace},
};

#[test]
fn a_target_that_no_pod_could_be_brought_to_is_refused() {
    let node = Namespace::new();
    for (target, named) in [
        ("127.0.0.1:8181", "127.0.0.1"),
        ("0.0.0.0:8181", "0.0.0.0"),
        ("10.0.0.1:0", "10.0.0.1"),
    ] {
        let rules = Rules {
            target: Some(target.parse().unwrap()),
            ..rules("")
        };
        let error = node
            .run(|| Nftables::default().install(&rules))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "pods' connections cannot be brought to {named}: --host-ip must be an address of the node"
            )
        );
    }
    assert_eq!(status(&node), None);
}

#[test]
fn without_cap_net_admin_the_error_names_the_capability() {
    let node = Namespace::new();
    let error = node.run(|| {
        support::drop_capabilities_of_this_thread();
        Nftables::default().install(&rules(""))
    });
    assert_eq!(
        error.unwrap_err().to_string(),
        "nftables needs the capability CAP_NET_ADMIN"
    );
}
