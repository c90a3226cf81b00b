//! A node and its pods, wired as the AWS VPC CNI wires them: the pod has a /32 and a default route by way of
//! 169.254.1.1, whose hardware address is a permanent neighbour; the node's end of the link has no address at all.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Error, Namespace};

/// A namespace that forwards for its pods.
#[derive(Debug)]
pub struct Node {
    namespace: Arc<Namespace>,
    pods: AtomicU32,
}

impl Node {
    /// Makes a node without links.
    pub fn new() -> Result<Self, Error> {
        let namespace = Arc::new(Namespace::new()?);
        let forward = || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1");
        namespace.enter(forward)?.map_err(Error::Sysctl)?;
        Ok(Self {
            namespace,
            pods: AtomicU32::new(0),
        })
    }

    /// The node's own namespace: hostNetwork programs run here.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Adds a pod. The same address may be given again once the earlier pod is dropped.
    pub fn add_pod(&self, address: Ipv4Addr) -> Result<Pod, Error> {
        let number = self.pods.fetch_add(1, Ordering::Relaxed);
        let interface = format!("eni{number:08x}");
        let [_, b, c, d] = number.to_be_bytes();
        let gateway = format!("02:01:00:{b:02x}:{c:02x}:{d:02x}");
        let pod = Pod {
            namespace: Namespace::new()?,
            node: Arc::clone(&self.namespace),
            address,
            interface,
        };
        let Pod {
            namespace,
            interface,
            ..
        } = &pod;
        self.namespace.wire(interface, namespace, "eth0")?;
        self.namespace.ip(&format!(
            "link set {interface} address {gateway}\nroute add {address}/32 dev {interface} scope link"
        ))?;
        namespace.ip(&format!(
            "addr add {address}/32 dev eth0\nroute add 169.254.1.1 dev eth0 scope link\n\
             route add default via 169.254.1.1 dev eth0\n\
             neigh add 169.254.1.1 lladdr {gateway} dev eth0 nud permanent"
        ))?;
        Ok(pod)
    }
}

/// A pod: a namespace and its link to the node. Dropping it removes the link, and with it the route, at once.
#[derive(Debug)]
pub struct Pod {
    namespace: Namespace,
    node: Arc<Namespace>,
    address: Ipv4Addr,
    interface: String,
}

impl Pod {
    /// The pod's namespace: its programs run here.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The pod's address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The node's end of the link: `eni` and a number.
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
