//! The real binary, as a node would run it, on loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use super::http::{self, ROLES, Reply};
use super::process::Process;
use super::{eventually, free_address};

/// A running agent. Dropped: SIGTERM, then SIGKILL.
pub struct Agent {
    process: Process,
    /// Where pods' requests go.
    pub pods: SocketAddr,
    admin: SocketAddr,
}

/// The node's own address in these tests.
pub const NODE: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The base ARN of these tests.
pub const BASE: &str = "arn:aws:iam::123456789012:role/";

impl Agent {
    /// Starts it with these flags beside those that every test needs; STS is at `sts`. It may not be ready yet.
    pub fn start(sts: &str, flags: &[&str]) -> Self {
        Self::start_with(sts, flags, Command::new)
    }

    /// The same, below another command, which `wrap` makes out of the agent's program.
    pub fn start_with(
        sts: &str,
        flags: &[&str],
        wrap: impl FnOnce(&'static str) -> Command,
    ) -> Self {
        let pods = free_address(NODE);
        let admin = free_address(NODE);
        let mut command = wrap(env!("CARGO_BIN_EXE_podiam"));
        command
            .arg("agent")
            .args([
                &format!("--host-ip={NODE}"),
                &format!("--app-port={}", pods.port()),
                &format!("--metrics-port={}", admin.port()),
                &format!("--base-role-arn={BASE}"),
                "--aws-region=eu-central-1",
                // Nobody listens there, and nothing leaves this machine.
                "--metadata-addr=127.0.0.1:9",
                "--access-log=all",
                "--log-level=debug",
            ])
            .args(flags)
            .envs([
                ("AWS_ACCESS_KEY_ID", "AKIANODE"),
                ("AWS_SECRET_ACCESS_KEY", "node"),
                ("AWS_ENDPOINT_URL_STS", sts),
            ]);
        // What the developer's own shell says must not reach the agent.
        for name in [
            "AWS_PROFILE",
            "AWS_SESSION_TOKEN",
            "KUBECONFIG",
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
        ] {
            command.env_remove(name);
        }
        Self {
            process: Process::spawn("podiam", &command),
            pods,
            admin,
        }
    }

    /// Waits until /readyz says yes.
    pub async fn ready(&self) {
        eventually("a ready agent", || async {
            self.process.assert_running();
            let reply = http::get(None, self.admin, "/readyz").await?;
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
        http::get(None, self.admin, "/readyz").await
    }

    /// /metrics.
    pub async fn metrics(&self) -> String {
        http::get(None, self.admin, "/metrics").await.unwrap().body
    }

    /// One request of the pod at `ip`.
    pub async fn ask(&self, ip: &str, path: &str) -> Reply {
        http::get(Some(source(ip)), self.pods, path).await.unwrap()
    }

    /// Waits until the pod at `ip` is told `role` in its role list.
    pub async fn gives(&self, ip: &str, role: &str) {
        eventually(&format!("the role {role} for {ip}"), || async {
            let reply = http::get(Some(source(ip)), self.pods, ROLES).await?;
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
            let reply = http::get(Some(source(ip)), self.pods, ROLES).await?;
            if reply.status == status {
                Ok(reply)
            } else {
                Err(format!("{}: {}", reply.status, reply.body))
            }
        })
        .await
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process itself.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn source(ip: &str) -> IpAddr {
    ip.parse().unwrap()
}
