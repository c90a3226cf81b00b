//! A VPC: a namespace for AWS with the link-local addresses of IMDS and an address for STS, a node that routes to it,
//! pods on the node, further hosts beside it. Without podiam's rules a pod therefore reaches the real metadata address.
//!
//! ```text
//! pods ── routed links | bridge cni0 ── node eth0 ──┐
//!                                      host eth0 ──┴── vpc0: IMDS, STS
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Error, Namespace, Node, Pod, Wiring};
use crate::aws::{Aws, Config};

/// The address of IMDS.
pub const IMDS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The IPv6 address of IMDS, in a [`Vpc::dual_stack`].
pub const IMDS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// The address of STS.
pub const STS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The node's address.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
/// The node's IPv6 address, in a [`Vpc::dual_stack`].
pub const NODE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 0x10);
/// The pods' network: a /24.
pub const PODS: Ipv4Addr = Ipv4Addr::new(10, 0, 100, 0);
/// The pods' IPv6 network, in a [`Vpc::dual_stack`]: a /64.
pub const PODS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0, 0);

/// The link that everybody in the VPC is on, in AWS's namespace.
const SWITCH: &str = "vpc0";

/// `ip`'s words for an address on a network of this VPC. One of IPv6 can be used at once: before duplicate address
/// detection is done, the kernel sends from the link-local address instead, which nobody forwards.
pub(super) fn on_link(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}/24"),
        IpAddr::V6(address) => format!("{address}/64 nodad"),
    }
}

/// AWS and a node. Everything vanishes when it is dropped.
#[derive(Debug)]
pub struct Vpc {
    aws: Namespace,
    node: Node,
    dual_stack: bool,
}

impl Vpc {
    /// A VPC of IPv4 whose pods have links of their own.
    pub fn new() -> Result<Self, Error> {
        Self::build(Wiring::Routed, false)
    }

    /// A VPC of IPv4 and IPv6.
    pub fn dual_stack(wiring: Wiring) -> Result<Self, Error> {
        Self::build(wiring, true)
    }

    fn build(wiring: Wiring, dual_stack: bool) -> Result<Self, Error> {
        let mut gateways = vec![IpAddr::from(Ipv4Addr::from_bits(PODS.to_bits() + 1))];
        if dual_stack {
            gateways.push(Ipv6Addr::from_bits(PODS6.to_bits() + 1).into());
        }
        let (aws, node) = (Namespace::new()?, Node::new(wiring, gateways)?);
        if dual_stack {
            aws.trust_ipv6_addresses()?;
        }
        aws.bridge(SWITCH)?;
        aws.ip(&format!(
            "addr add {STS}/24 dev {SWITCH}\naddr add {IMDS}/32 dev {SWITCH}\nroute add {PODS}/24 via {NODE}"
        ))?;
        let vpc = Self {
            aws,
            node,
            dual_stack,
        };
        vpc.attach(vpc.node.namespace(), "node", NODE)?;
        vpc.node
            .namespace()
            .ip(&format!("route add {IMDS} dev eth0"))?;
        if dual_stack {
            vpc.aws.ip(&format!(
                "addr add fd00:10::2/64 dev {SWITCH} nodad\naddr add {IMDS6}/128 dev {SWITCH} nodad\n\
                 route add {PODS6}/64 via {NODE6}"
            ))?;
            vpc.node.namespace().ip(&format!(
                "addr add {NODE6}/64 dev eth0 nodad\nroute add {IMDS6}/128 dev eth0"
            ))?;
        }
        Ok(vpc)
    }

    /// Puts a namespace on the VPC's link, as the interface `eth0`.
    fn attach(&self, namespace: &Namespace, port: &str, address: Ipv4Addr) -> Result<(), Error> {
        namespace.wire("eth0", &self.aws, port)?;
        namespace.ip(&format!("addr add {address}/24 dev eth0"))?;
        self.aws.ip(&format!("link set {port} master {SWITCH}"))
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The namespace of AWS: whoever listens here at [`IMDS`] sees what leaves the node for it.
    pub fn aws(&self) -> &Namespace {
        &self.aws
    }

    /// Adds a pod with one address, of [`PODS`]: AWS has a route to no other.
    pub fn add_pod(&self, address: Ipv4Addr) -> Result<Pod, Error> {
        self.node.add_pod(&[address.into()])
    }

    /// Adds a pod with several addresses, of [`PODS`] and [`PODS6`].
    pub fn add_pod_at(&self, addresses: &[IpAddr]) -> Result<Pod, Error> {
        self.node.add_pod(addresses)
    }

    /// Adds another host beside the node, at the address 10.0.0.`number`, with a route to the pods. It sends what it
    /// has for IMDS to the node, as an attacker on the same link would.
    pub fn add_host(&self, number: u8) -> Result<Namespace, Error> {
        let host = Namespace::new()?;
        if self.dual_stack {
            host.trust_ipv6_addresses()?;
        }
        let address = Ipv4Addr::from_bits(NODE.to_bits() & !0xff | u32::from(number));
        self.attach(&host, &format!("host{number}"), address)?;
        host.ip(&format!(
            "route add {PODS}/24 via {NODE}\nroute add {IMDS} via {NODE}"
        ))?;
        if self.dual_stack {
            host.ip(&format!(
                "addr add fd00:10::{number:x}/64 dev eth0 nodad\n\
                 route add {PODS6}/64 via {NODE6}\nroute add {IMDS6}/128 via {NODE6}"
            ))?;
        }
        Ok(host)
    }

    /// Starts the lab's AWS: IMDS at its real address and port, STS at port 80 of [`STS`].
    pub fn start_aws(&self, config: Config) -> std::io::Result<Aws> {
        let listen = |address| self.aws.listen(SocketAddr::new(address, 80));
        let mut aws = Aws::serve(
            Config {
                node_ip: NODE,
                ..config
            },
            listen(IMDS.into())?,
            listen(STS.into())?,
        )?;
        if self.dual_stack {
            aws.serve_imds_at(listen(IMDS6.into())?);
        }
        Ok(aws)
    }
}
