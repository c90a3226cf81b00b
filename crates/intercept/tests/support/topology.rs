//! The two ways in which pods hang on a node, and the network behind it with the real metadata service.
//!
//! ```text
//! pods ── (routed veths | bridge cni0) ── node 10.0.0.1, fd00::1 ── eth0 ── world 169.254.169.254, fd00:ec2::254
//! ```

use super::Namespace;

/// Where the agent listens: `--host-ip` and `--app-port`.
pub(crate) const TARGET: &str = "10.0.0.1:8181";
pub(crate) const TARGET_V6: &str = "[fd00::1]:8181";
/// The metadata service.
pub(crate) const IMDS: &str = "169.254.169.254:80";
pub(crate) const IMDS_V6: &str = "[fd00:ec2::254]:80";

/// A node and the network that it stands in.
pub(crate) struct Node {
    pub(crate) node: Namespace,
    /// Holds the real metadata service's addresses, and 169.254.169.253 for DNS, as a VPC does.
    pub(crate) world: Namespace,
}

/// A pod's namespace and what it is known by.
pub(crate) struct Pod {
    pub(crate) pod: Namespace,
    pub(crate) ip: String,
}

impl Node {
    pub(crate) fn new() -> Self {
        let (node, world) = (Namespace::new(), Namespace::new());
        let path = node.path();
        world.ip(&format!(
            "link add eth0 type veth peer name eth0 netns {path}"
        ));
        for address in ["10.0.0.254/24", "169.254.169.254/32", "169.254.169.253/32"] {
            world.ip(&format!("address add {address} dev eth0"));
        }
        world.ip("address add fd00::254/64 dev eth0 nodad");
        world.ip("address add fd00:ec2::254/128 dev eth0 nodad");
        world.ip("link set eth0 up");
        world.ip("route add 10.244.0.0/16 via 10.0.0.1");
        world.ip("route add fd00:244::/64 via fd00::1");

        node.sysctl("net.ipv4.ip_forward", "1");
        node.sysctl("net.ipv6.conf.all.forwarding", "1");
        node.ip("address add 10.0.0.1/24 dev eth0");
        node.ip("address add fd00::1/64 dev eth0 nodad");
        node.ip("link set eth0 up");
        node.ip("route add 169.254.169.252/30 dev eth0");
        node.ip("route add fd00:ec2::/64 dev eth0");
        Self { node, world }
    }

    /// A pod on a veth whose host side `interface` has no address, as AWS VPC CNI and Calico make it: the pod has a /32
    /// and its default route goes to an address that nobody has, with a permanent neighbour entry.
    pub(crate) fn routed_pod(&self, interface: &str, number: u8) -> Pod {
        let pod = Pod::new(number);
        let (path, ip, v6) = (pod.pod.path(), &pod.ip, pod.v6());
        let node = &self.node;
        node.ip(&format!(
            "link add {interface} type veth peer name eth0 netns {path}"
        ));
        // Without a link-local address the host side has none at all.
        node.ip(&format!("link set {interface} addrgenmode none"));
        node.ip(&format!("link set {interface} up"));
        let mac = node.mac(interface);

        let pod_side = &pod.pod;
        pod_side.ip(&format!("address add {ip}/32 dev eth0"));
        pod_side.ip(&format!("address add {v6}/128 dev eth0 nodad"));
        pod_side.ip("link set eth0 up");
        for (family, gateway) in [("-4", "169.254.1.1"), ("-6", "fe80::1")] {
            pod_side.ip(&format!(
                "neigh add {gateway} lladdr {mac} dev eth0 nud permanent"
            ));
            pod_side.ip(&format!("{family} route add {gateway} dev eth0"));
            pod_side.ip(&format!(
                "{family} route add default via {gateway} dev eth0"
            ));
        }
        let pod_mac = pod_side.mac("eth0");
        node.ip(&format!("route add {ip}/32 dev {interface}"));
        node.ip(&format!("-6 route add {v6}/128 dev {interface}"));
        for address in [ip, &v6] {
            node.ip(&format!(
                "neigh add {address} lladdr {pod_mac} dev {interface} nud permanent"
            ));
        }
        pod
    }

    /// Two pods on one bridge that is their gateway, as flannel and kubenet make it.
    pub(crate) fn bridged_pods(&self) -> (Pod, Pod) {
        let node = &self.node;
        node.ip("link add cni0 type bridge");
        node.ip("address add 10.244.0.1/24 dev cni0");
        node.ip("link set cni0 up");
        let pod = |number: u8| {
            let pod = Pod::new(number);
            let (path, ip) = (pod.pod.path(), &pod.ip);
            node.ip(&format!(
                "link add veth{number} type veth peer name eth0 netns {path}"
            ));
            node.ip(&format!("link set veth{number} master cni0 up"));
            pod.pod.ip(&format!("address add {ip}/24 dev eth0"));
            pod.pod.ip("link set eth0 up");
            pod.pod.ip("route add default via 10.244.0.1");
            pod
        };
        (pod(2), pod(3))
    }
}

impl Pod {
    fn new(number: u8) -> Self {
        Self {
            pod: Namespace::new(),
            ip: format!("10.244.0.{number}"),
        }
    }

    pub(crate) fn v6(&self) -> String {
        let number = self.ip.rsplit('.').next().expect("a dot");
        format!("fd00:244::{number}")
    }
}
