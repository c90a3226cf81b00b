//! What is to be intercepted, and where to: the one input of every back end.
//!
//! The configuration makes it, [`crate::nftables`] turns it into rules and reads it back out of the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use serde::Serialize;

use crate::Interfaces;

/// The metadata service over IPv4 (AWS, "Instance Metadata Service").
pub const METADATA_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The metadata service over IPv6, which an instance has to opt into (AWS, "Instance Metadata Service").
pub const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// The port of the metadata service.
pub(crate) const METADATA_PORT: u16 = 80;

/// Interfaces of which the reverse path cannot be checked, by the beginnings of their names.
/// Behind `vlan+` are pods with a branch network interface (AWS VPC CNI, "security groups for pods"): their routes
/// stand in tables that are looked up by the incoming interface. Cilium routes the pods behind `lxc+` by `cilium_host`.
pub(crate) const ASYMMETRIC_PREFIXES: [&str; 2] = ["lxc", "vlan"];

/// Which requests are intercepted, and where the agent answers them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// The address that pods ask: [`METADATA_V4`] but for `--metadata-addr`.
    pub metadata: Ipv4Addr,
    /// Where the agent listens: an address of the node (`--host-ip`) that is not loopback, and `--app-port`. Without one,
    /// `metadata` is refused to pods.
    pub target: Option<SocketAddrV4>,
    /// Where it listens for IPv6, if the node has such an address. Without one, [`METADATA_V6`] is refused to pods.
    /// There is one of the two targets at least.
    pub target_v6: Option<SocketAddrV6>,
    /// The interfaces whose requests are brought to the agent. Requests from every other interface are refused: they
    /// do not reach the real metadata service.
    pub interfaces: Interfaces,
    /// Whether a request must come in by the interface that the answer would leave by.
    pub reverse_path: ReversePath,
}

/// Whether requests whose source address belongs behind another interface are refused: a pod that borrows another pod's
/// address. Pods on one bridge share an interface and can borrow from each other all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReversePath {
    /// Nothing is checked: for nodes on which pods' routes stand in tables that only rules by interface lead to.
    Off,
    /// Checked, but on interfaces whose routes are known to stand elsewhere: those of the branch network interfaces of
    /// AWS (`vlan+`) and of Cilium (`lxc+`).
    #[default]
    On,
}

impl Rules {
    /// Rules for the target's family, with the reverse path checked; pods' requests to the metadata service over the other
    /// family are refused.
    pub fn new(metadata: Ipv4Addr, target: SocketAddr, interfaces: Interfaces) -> Self {
        let (target, target_v6) = match target {
            SocketAddr::V4(target) => (Some(target), None),
            SocketAddr::V6(target) => (None, Some(target)),
        };
        Self {
            metadata,
            target,
            target_v6,
            interfaces,
            reverse_path: ReversePath::default(),
        }
    }

    /// The same, with requests over IPv6 brought to `target` if there is one.
    #[must_use]
    pub fn also_to(mut self, target: Option<SocketAddrV6>) -> Self {
        self.target_v6 = target.or(self.target_v6);
        self
    }

    /// The same, with the reverse path checked or not.
    #[must_use]
    pub fn with_reverse_path(mut self, reverse_path: ReversePath) -> Self {
        self.reverse_path = reverse_path;
        self
    }

    /// Where requests are brought to, over IPv4 and IPv6.
    pub fn targets(&self) -> impl Iterator<Item = SocketAddr> {
        let v4 = self.target.map(SocketAddr::from);
        v4.into_iter().chain(self.target_v6.map(SocketAddr::from))
    }

    /// The first target that the kernel could not bring a pod's connection to.
    pub(crate) fn unusable_target(&self) -> Option<IpAddr> {
        let is_unusable = |target: &SocketAddr| {
            let ip = target.ip();
            target.port() == 0 || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast()
        };
        self.targets().find(is_unusable).map(|target| target.ip())
    }
}

/// Every address of the metadata service that rules for `metadata` are about: the well-known ones always.
pub(crate) fn metadata_addresses(metadata: Ipv4Addr) -> [IpAddr; 3] {
    [METADATA_V4.into(), metadata.into(), METADATA_V6.into()]
}
