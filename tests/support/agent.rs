//! The real binary, as a node runs it: on loopback, where a client bound to a pod's address is the pod, or on the lab's
//! node, with pods that are network namespaces.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;

use podiam_lab::netns::{self, Vpc};
use tokio::net::TcpStream;

use super::http::{self, ROLES, Reply};
use super::process::Process;
use super::{eventually, free_address};

/// The base ARN of these tests.
pub const BASE: &str = "arn:aws:iam::123456789012:role/";

/// A running agent. Dropped: SIGTERM, then SIGKILL.
pub struct Agent {
    process: Process,
    host: Host,
    /// Where pods' requests go.
    pub pods: SocketAddr,
    admin: SocketAddr,
}

/// Where an agent runs.
#[derive(Clone)]
pub enum Host {
    /// This machine, with one of loopback's addresses as the node's.
    Loopback(Ipv4Addr),
    /// The node of a VPC, intercepting what its pods send to the real address.
    Node(Arc<Vpc>),
    /// A namespace in which nobody else is; only loopback.
    Namespace(Arc<netns::Namespace>),
}

impl Agent {
    /// Starts it on loopback with these flags beside those that every test needs; STS is at `sts`. It may not be ready yet.
    pub fn start(sts: &str, flags: &[&str]) -> Self {
        Self::start_at(Host::Loopback(Ipv4Addr::LOCALHOST), sts, flags)
    }

    /// Starts it at a place.
    pub fn start_at(host: Host, sts: &str, flags: &[&str]) -> Self {
        let program = env!("CARGO_BIN_EXE_podiam");
        match host.clone() {
            Host::Loopback(_) => Self::run(host, Command::new(program), sts, flags),
            Host::Node(vpc) => {
                let command = enter(vpc.node().namespace(), program);
                let flags: Vec<&str> = ["--intercept=nftables"]
                    .into_iter()
                    .chain(flags.iter().copied())
                    .collect();
                Self::run(host, command, sts, &flags)
            }
            Host::Namespace(ref namespace) => {
                Self::run(host.clone(), enter(namespace, program), sts, flags)
            }
        }
    }

    /// Starts `command`, which ends in the agent's program, on loopback.
    pub fn start_as(command: Command, sts: &str, flags: &[&str]) -> Self {
        Self::run(Host::Loopback(Ipv4Addr::LOCALHOST), command, sts, flags)
    }

    /// Starts `command`, which ends in the agent's program, in a namespace.
    pub fn start_in(
        namespace: &Arc<netns::Namespace>,
        command: Command,
        sts: &str,
        flags: &[&str],
    ) -> Self {
        Self::run(Host::Namespace(Arc::clone(namespace)), command, sts, flags)
    }

    fn run(host: Host, mut command: Command, sts: &str, flags: &[&str]) -> Self {
        let other_ip = flags
            .iter()
            .rev()
            .find_map(|flag| flag.strip_prefix("--host-ip="));
        let other_ip: Option<IpAddr> = other_ip.map(|ip| ip.parse().unwrap());
        let (mut pods, mut admin): (SocketAddr, SocketAddr) = match &host {
            Host::Loopback(ip) => (free_address(*ip), free_address(*ip)),
            // Nobody else is in that namespace.
            Host::Node(_) => ((netns::NODE, 8181).into(), (netns::NODE, 9181).into()),
            Host::Namespace(_) => (
                (Ipv4Addr::LOCALHOST, 8181).into(),
                (Ipv4Addr::LOCALHOST, 9181).into(),
            ),
        };
        if let Some(ip) = other_ip {
            pods.set_ip(ip);
            admin.set_ip(ip);
        }
        command
            .arg("agent")
            .args([
                &format!("--host-ip={}", pods.ip()),
                &format!("--app-port={}", pods.port()),
                &format!("--metrics-port={}", admin.port()),
                &format!("--base-role-arn={BASE}"),
                "--aws-region=eu-central-1",
                "--access-log=all",
                "--log-level=debug",
            ])
            // Nobody listens there, and nothing leaves this machine: neither questions for the real metadata service nor
            // the self-test's.
            .args(if matches!(host, Host::Loopback(_)) {
                &["--metadata-addr=127.0.0.1:9", "--self-test-interval=0"][..]
            } else {
                &[]
            })
            .args(flags)
            .envs([
                ("AWS_ACCESS_KEY_ID", "AKIANODE"),
                ("AWS_SECRET_ACCESS_KEY", "node"),
            ])
            .env("AWS_ENDPOINT_URL_STS", sts);
        // What the developer's own shell says must not reach the agent.
        for name in [
            "AWS_PROFILE",
            "AWS_SESSION_TOKEN",
            "KUBECONFIG",
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
            "AWS_ENDPOINT_URL",
            "AWS_USE_FIPS_ENDPOINT",
            "AWS_USE_DUALSTACK_ENDPOINT",
        ] {
            command.env_remove(name);
        }
        Self {
            process: Process::spawn("podiam", &command),
            host,
            pods,
            admin,
        }
    }

    /// Waits until /readyz says yes.
    pub async fn ready(&self) {
        eventually("a ready agent", || async {
            self.process.assert_running();
            let reply = self.readyz().await?;
            if reply.status == 200 {
                Ok(())
            } else {
                Err(format!("{}\n{}", reply.body, self.process.log()))
            }
        })
        .await;
    }

    /// Waits until /readyz says no with all of these words.
    pub async fn not_ready(&self, words: &[&str]) -> Reply {
        eventually(&format!("/readyz that says {words:?}"), || async {
            self.process.assert_running();
            let reply = self.readyz().await?;
            let said = reply.status == 503 && words.iter().all(|word| reply.body.contains(word));
            if said {
                Ok(reply)
            } else {
                Err(format!("{}: {}", reply.status, reply.body))
            }
        })
        .await
    }

    /// /readyz as it is.
    pub async fn readyz(&self) -> Result<Reply, String> {
        self.ask_admin("/readyz").await
    }

    /// /metrics.
    pub async fn metrics(&self) -> String {
        self.ask_admin("/metrics").await.unwrap().body
    }

    /// /debug/store; needs `--debug`.
    pub async fn store(&self) -> String {
        self.ask_admin("/debug/store").await.unwrap().body
    }

    /// One request to the admin socket.
    pub async fn ask_admin(&self, path: &str) -> Result<Reply, String> {
        let stream = match &self.host {
            Host::Loopback(_) => TcpStream::connect(self.admin).await,
            Host::Node(vpc) => vpc.node().namespace().connect(self.admin).await,
            Host::Namespace(namespace) => namespace.connect(self.admin).await,
        };
        http::get(stream, path).await
    }

    /// One request of the pod at `ip`, on loopback.
    pub async fn ask(&self, ip: &str, path: &str) -> Reply {
        self.try_ask(ip, path).await.unwrap()
    }

    async fn try_ask(&self, ip: &str, path: &str) -> Result<Reply, String> {
        let source: IpAddr = ip.parse().unwrap();
        http::get(http::connect(source, self.pods).await, path).await
    }

    /// Waits until the pod at `ip` is told `role` in its role list.
    pub async fn gives(&self, ip: &str, role: &str) {
        eventually(&format!("the role {role} for {ip}"), || async {
            let reply = self.try_ask(ip, ROLES).await?;
            let given = reply.status == 200 && reply.body == role;
            if given {
                Ok(())
            } else {
                Err(format!("{}: {}", reply.status, reply.body))
            }
        })
        .await;
    }

    /// Waits until the pod at `ip` is refused with this status.
    pub async fn refuses(&self, ip: &str, status: u16) -> Reply {
        eventually(&format!("status {status} for {ip}"), || async {
            let reply = self.try_ask(ip, ROLES).await?;
            if reply.status == status {
                Ok(reply)
            } else {
                Err(format!("{}: {}", reply.status, reply.body))
            }
        })
        .await
    }

    /// The process: its log, signals, end.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// A command in a network namespace.
pub fn enter(namespace: &netns::Namespace, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", namespace.path().display()))
        .arg("--")
        .arg(program);
    command
}
