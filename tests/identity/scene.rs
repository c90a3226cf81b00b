//! A node whose pods have names in a /run/netns of their own, and the agent that sees them or does not.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use podiam_lab::aws::{Aws, Config};
use podiam_lab::netns::{
    IMDS, IMDS6, Impostor, Names, Namespace, PODS, PODS6, Pod, STS, Vpc, Wiring,
};
use podiam_lab::wire;

use crate::support::agent::{Agent, enter};
use crate::support::http::ROLES;
use crate::support::manifest::{Folder, Manifest};
use crate::support::{PATIENCE, eventually};

/// What the agent says when it has learned where its pods are.
pub(crate) const LEARNED: &str = "pods are told apart by";

/// A node without an agent.
pub(crate) struct Scene {
    pub(crate) vpc: Arc<Vpc>,
    pub(crate) manifests: Folder,
    names: Names,
    /// Counts pods, so that each has its own name.
    pods: RefCell<u32>,
    _aws: Aws,
}

/// What the agent may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// All that it could need.
    Full,
    /// It may not enter pods' namespaces.
    NoSysAdmin,
    /// Nor does it see any: as the chart starts it where nothing more is asked for.
    Blind,
}

/// A pod with a name in /run/netns. Dropped: the name and the link go first, as a runtime does it.
pub(crate) struct Named<'a> {
    pub(crate) pod: Option<Pod>,
    name: String,
    names: &'a Names,
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        drop(self.pod.take());
        let _ = self.names.remove(&self.name);
    }
}

impl Named<'_> {
    pub(crate) fn namespace(&self) -> &Namespace {
        self.pod.as_ref().unwrap().namespace()
    }
}

impl Scene {
    pub(crate) fn new(wiring: Wiring, manifests: &[Manifest]) -> Self {
        let vpc = Arc::new(Vpc::dual_stack(wiring).unwrap());
        let aws = vpc.start_aws(Config::default()).unwrap();
        Self {
            vpc,
            manifests: Folder::new(manifests),
            names: Names::new().unwrap(),
            pods: RefCell::default(),
            _aws: aws,
        }
    }

    /// Adds a pod at 10.0.100.`number`.
    pub(crate) fn add_pod(&self, number: u8) -> Named<'_> {
        self.add_pod_at(&[address(number).into()])
    }

    /// The same with its IPv6 address, too.
    pub(crate) fn add_pod6(&self, number: u8) -> Named<'_> {
        self.add_pod_at(&[address(number).into(), address6(number).into()])
    }

    fn add_pod_at(&self, addresses: &[IpAddr]) -> Named<'_> {
        let pod = self.vpc.add_pod_at(addresses).unwrap();
        *self.pods.borrow_mut() += 1;
        let name = format!("cni-{}", self.pods.borrow());
        self.names.add(&name, pod.namespace()).unwrap();
        Named {
            pod: Some(pod),
            name,
            names: &self.names,
        }
    }

    /// Starts the agent. It may not be ready yet.
    pub(crate) fn start_agent(&self, privilege: Privilege, flags: &[&str]) -> Agent {
        let node = self.vpc.node().namespace();
        let program = env!("CARGO_BIN_EXE_podiam");
        let mut command = enter(node, "nsenter");
        if privilege == Privilege::Blind {
            // In the mount namespace of this test there are no names of pods.
            command.args(["--net=/proc/self/ns/net", "--"]);
        } else {
            command.arg(self.names.entrance()).arg("--");
        }
        match privilege {
            Privilege::Full => {}
            Privilege::NoSysAdmin => {
                command.args(["setpriv", "--bounding-set=-sys_admin", "--"]);
            }
            Privilege::Blind => {
                command.args(["setpriv", "--bounding-set=-sys_admin,-sys_ptrace", "--"]);
            }
        }
        command.arg(program);
        let workloads = format!("--workloads={}", self.manifests.path().display());
        let mut all = vec![workloads.as_str(), "--allow-shared-bridge=false"];
        all.extend(flags);
        Agent::start_on(&self.vpc, command, &format!("http://{STS}"), &all)
    }

    /// Runs `ip` on the node.
    pub(crate) fn ip(&self, commands: &str) {
        self.vpc.node().namespace().ip(commands).unwrap();
    }

    /// Loads rules in nft's syntax.
    pub(crate) fn nft(&self, rules: &str) {
        let mut nft = Command::new("nft");
        let status = self
            .vpc
            .node()
            .namespace()
            .spawn(nft.arg(rules))
            .unwrap()
            .wait()
            .unwrap();
        assert!(status.success(), "nft: {rules}");
    }
}

/// 10.0.100.`number`.
pub(crate) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(PODS.to_bits() + u32::from(number))
}

/// `fd00:100::number`.
pub(crate) fn address6(number: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(PODS6.to_bits() + u128::from(number))
}

/// The metadata service.
pub(crate) fn imds() -> SocketAddrV4 {
    SocketAddrV4::new(IMDS, 80)
}

/// `200 role`, or the status and the reason: what a client in this namespace is told at `target`.
pub(crate) async fn ask(from: &Namespace, target: SocketAddr) -> String {
    match try_ask(from, target).await {
        Ok(said) => said,
        Err(error) => error.to_string(),
    }
}

async fn try_ask(from: &Namespace, target: SocketAddr) -> std::io::Result<String> {
    let stream = tokio::time::timeout(PATIENCE, from.connect(target)).await??;
    // Wherever it is sent: the metadata service is what is asked for.
    let host = match target.ip() {
        IpAddr::V4(_) => "169.254.169.254",
        IpAddr::V6(_) => "[fd00:ec2::254]",
    };
    let request = wire::request("GET", ROLES, host, &[]);
    let answer = tokio::time::timeout(PATIENCE, wire::once(stream, &request)).await??;
    Ok(format!("{} {}", answer.status, answer.text().trim()))
}

/// Asks until the answer is `outcome`.
pub(crate) async fn until(from: &Namespace, outcome: &str) {
    until_at(from, imds().into(), outcome).await;
}

/// The same at another address.
pub(crate) async fn until_at(from: &Namespace, target: SocketAddr, outcome: &str) {
    eventually(outcome, || async {
        let said = ask(from, target).await;
        if said == outcome { Ok(()) } else { Err(said) }
    })
    .await;
}

/// What an attacker in the namespace `from` is told at the metadata service's address in the name of `victim`.
pub(crate) async fn impersonate(from: &Namespace, victim: u8) -> String {
    steal(
        from,
        address(victim).into(),
        address(1).into(),
        imds().into(),
    )
    .await
}

/// The same over IPv6.
pub(crate) async fn impersonate6(from: &Namespace, victim: u8) -> String {
    let imds = (IMDS6, 80).into();
    steal(from, address6(victim).into(), address6(1).into(), imds).await
}

async fn steal(from: &Namespace, victim: IpAddr, gateway: IpAddr, imds: SocketAddr) -> String {
    let mut impostor = Impostor::new(from).unwrap();
    let headers = [("Connection", "close")];
    let host = match imds.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let request = wire::request("GET", ROLES, &host, &headers);
    let work = move || {
        let limit = Duration::from_secs(10);
        impostor.ask(victim, gateway, imds, &request, limit)
    };
    let answer = tokio::task::spawn_blocking(work).await.unwrap();
    match answer {
        Ok(answer) => {
            let text = String::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let status = head.split(' ').nth(1).unwrap();
            format!("{status} {}", body.trim())
        }
        Err(error) => error.to_string(),
    }
}

/// A pod's address as text.
pub(crate) fn ip(number: u8) -> String {
    IpAddr::V4(address(number)).to_string()
}
