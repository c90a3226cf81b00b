//! A node and its pods, wired as the network plugins that differ do it: links of the pods' own ([`Wiring::Routed`]) or
//! one bridge for all ([`Wiring::Bridge`]). Used by [`super::Vpc`].

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::vpc::on_link;
use super::{Error, Namespace};

/// How pods hang on their node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// As the AWS VPC CNI and Calico do it: the pod has a /32 (and /128) and a default route by way of an address that
    /// nobody has, whose hardware address is a permanent neighbour; the node's end of the link has no address at all.
    Routed,
    /// As flannel and kubenet do it: the pods share the bridge `cni0`, whose addresses are their gateways.
    Bridge,
}

/// The bridge of [`Wiring::Bridge`].
pub(super) const BRIDGE: &str = "cni0";

/// A namespace that forwards for its pods.
#[derive(Debug)]
pub struct Node {
    namespace: Arc<Namespace>,
    wiring: Wiring,
    /// The bridge's addresses; none where pods are routed.
    gateways: Vec<IpAddr>,
    pods: AtomicU32,
}

impl Node {
    /// Makes a node without links. `gateways` are the bridge's addresses; with one of IPv6 the node forwards that too.
    pub(super) fn new(wiring: Wiring, gateways: Vec<IpAddr>) -> Result<Self, Error> {
        let namespace = Arc::new(Namespace::new()?);
        namespace.sysctl("net/ipv4/ip_forward", "1")?;
        if gateways.iter().any(IpAddr::is_ipv6) {
            namespace.sysctl("net/ipv6/conf/all/forwarding", "1")?;
            namespace.trust_ipv6_addresses()?;
        }
        if wiring == Wiring::Bridge {
            namespace.bridge(BRIDGE)?;
            let mut commands = String::new();
            for gateway in &gateways {
                let _ = writeln!(commands, "addr add {} dev {BRIDGE}", on_link(*gateway));
            }
            namespace.ip(&commands)?;
        }
        Ok(Self {
            namespace,
            wiring,
            gateways,
            pods: AtomicU32::new(0),
        })
    }

    /// The node's own namespace: hostNetwork programs run here.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Adds a pod. The same address may be given again once the earlier pod is dropped.
    pub fn add_pod(&self, addresses: &[IpAddr]) -> Result<Pod, Error> {
        let number = self.pods.fetch_add(1, Ordering::Relaxed);
        let interface = match self.wiring {
            Wiring::Routed => format!("eni{number:08x}"),
            Wiring::Bridge => format!("veth{number:08x}"),
        };
        let pod = Pod {
            namespace: Namespace::new()?,
            node: Arc::clone(&self.namespace),
            addresses: addresses.to_vec(),
            interface,
        };
        if addresses.iter().any(IpAddr::is_ipv6) {
            pod.namespace.trust_ipv6_addresses()?;
        }
        self.namespace
            .wire(&pod.interface, &pod.namespace, "eth0")?;
        match self.wiring {
            Wiring::Routed => self.route(&pod, number)?,
            Wiring::Bridge => self.bridge(&pod)?,
        }
        Ok(pod)
    }

    fn route(&self, pod: &Pod, number: u32) -> Result<(), Error> {
        let [_, b, c, d] = number.to_be_bytes();
        let near = format!("02:01:00:{b:02x}:{c:02x}:{d:02x}");
        let far = format!("02:02:00:{b:02x}:{c:02x}:{d:02x}");
        let interface = &pod.interface;
        // Without generated addresses the link's end has none of IPv6 either.
        let mut node_side =
            format!("link set {interface} address {near}\nlink set {interface} addrgenmode none");
        let mut pod_side = format!("link set eth0 address {far}");
        for address in &pod.addresses {
            let (gateway, length, at_once) = match address {
                IpAddr::V4(_) => ("169.254.1.1", 32, ""),
                IpAddr::V6(_) => ("fe80::1", 128, " nodad"),
            };
            let _ = write!(
                node_side,
                "\nroute add {address}/{length} dev {interface}\n\
                 neigh replace {address} lladdr {far} dev {interface} nud permanent"
            );
            let _ = write!(
                pod_side,
                "\naddr add {address}/{length} dev eth0{at_once}\n\
                 route add {gateway} dev eth0\n\
                 route add default via {gateway} dev eth0\n\
                 neigh replace {gateway} lladdr {near} dev eth0 nud permanent"
            );
        }
        self.namespace.ip(&node_side)?;
        pod.namespace.ip(&pod_side)
    }

    fn bridge(&self, pod: &Pod) -> Result<(), Error> {
        self.namespace
            .ip(&format!("link set {} master {BRIDGE}", pod.interface))?;
        let mut pod_side = String::new();
        for address in &pod.addresses {
            let _ = writeln!(pod_side, "addr add {} dev eth0", on_link(*address));
            let gateways = self.gateways.iter();
            for gateway in gateways.filter(|gateway| gateway.is_ipv4() == address.is_ipv4()) {
                let _ = writeln!(pod_side, "route add default via {gateway} dev eth0");
            }
        }
        pod.namespace.ip(&pod_side)
    }
}

/// A pod: a namespace and its link to the node. Dropping it removes the link, and with it the route, at once.
#[derive(Debug)]
pub struct Pod {
    namespace: Namespace,
    node: Arc<Namespace>,
    addresses: Vec<IpAddr>,
    interface: String,
}

impl Pod {
    /// The pod's namespace: its programs run here.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The pod's addresses, as they were given.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The node's end of the link.
    pub fn host_interface(&self) -> &str {
        &self.interface
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // What cannot be removed now goes when the node's namespace does.
        let _ = self.node.ip(&format!("link del {}", self.interface));
    }
}
