//! Who may read what is said of single pods: the node itself. Which role a pod has, and why another has none, is no
//! pod's business. Asked by `admin` for each such request; kernel and interfaces are asked anew each time.

use std::net::{IpAddr, SocketAddr};

use nix::ifaddrs::getifaddrs;

/// Why others are refused.
pub(super) const REFUSAL: &str = "this is told to the node itself alone, because it says who has which role: ask on the node, \
                                  by `kubectl exec` in the agent's pod, or through `kubectl port-forward` to it\n";

/// Whether a connection from `peer` was opened on this node, in the agent's own network namespace: its address is
/// loopback or one of the namespace's own. No other host's and no pod's connection can have such an address: the kernel
/// takes no packet from outside that claims to be from one of its own addresses, and answers to it stay inside.
pub fn from_the_node(peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    if peer.is_loopback() {
        return true;
    }
    match getifaddrs() {
        Ok(own) => own
            .filter_map(|interface| interface.address)
            .filter_map(|address| {
                let v4 = address
                    .as_sockaddr_in()
                    .map(|address| SocketAddr::from(*address));
                v4.or_else(|| {
                    address
                        .as_sockaddr_in6()
                        .map(|address| SocketAddr::from(*address))
                })
            })
            .any(|own| own.ip() == peer),
        Err(error) => {
            tracing::warn!("the node's own addresses are not known, so {peer} is refused: {error}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_the_node_and_addresses_that_it_does_not_have_are_not() {
        for own in ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"] {
            assert!(from_the_node(own.parse().unwrap()), "{own}");
        }
        // Addresses of documentation (RFC 5737, RFC 3849): no machine has them.
        for foreign in ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7"] {
            assert!(!from_the_node(foreign.parse().unwrap()), "{foreign}");
        }
    }
}
