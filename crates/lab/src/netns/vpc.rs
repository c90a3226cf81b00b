//! A VPC of one node: a namespace for AWS with the link-local address of IMDS and an address for STS, a node that
//! routes to it, pods on the node. Without podiam's rules a pod therefore reaches the real metadata address.

use std::net::{Ipv4Addr, SocketAddr};

use super::{Error, Namespace, Node, Pod};
use crate::aws::{Aws, Config};

/// The address of IMDS.
pub const IMDS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The address of STS.
pub const STS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The node's address.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
/// The pods' network: a /24.
pub const PODS: Ipv4Addr = Ipv4Addr::new(10, 0, 100, 0);

/// AWS and a node. Everything vanishes when it is dropped.
#[derive(Debug)]
pub struct Vpc {
    aws: Namespace,
    node: Node,
}

impl Vpc {
    /// Makes both namespaces and the link between them.
    pub fn new() -> Result<Self, Error> {
        let (aws, node) = (Namespace::new()?, Node::new()?);
        node.namespace().wire("eth0", &aws, "eth0")?;
        node.namespace().ip(&format!(
            "addr add {NODE}/24 dev eth0\nroute add {IMDS} dev eth0"
        ))?;
        aws.ip(&format!(
            "addr add {STS}/24 dev eth0\naddr add {IMDS}/32 dev eth0\nroute add {PODS}/24 via {NODE}"
        ))?;
        Ok(Self { aws, node })
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Adds a pod. Its address must be one of [`PODS`]: AWS has a route to no other.
    pub fn add_pod(&self, address: Ipv4Addr) -> Result<Pod, Error> {
        self.node.add_pod(address)
    }

    /// Starts the lab's AWS: IMDS at its real address and port, STS at port 80 of [`STS`].
    pub fn start_aws(&self, config: Config) -> std::io::Result<Aws> {
        let listen = |address| self.aws.listen(SocketAddr::from((address, 80)));
        Aws::serve(
            Config {
                node_ip: NODE,
                ..config
            },
            listen(IMDS)?,
            listen(STS)?,
        )
    }
}
