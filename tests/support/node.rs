//! A node without a cluster: the lab's AWS, manifests, and the agent between them; and the bytes that its pods send.

use std::net::SocketAddr;

use bytes::BytesMut;
use nix::sys::signal::Signal;
use podiam_lab::aws::{Aws, Config};
use podiam_lab::wire::{self, Answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;
use super::agent::Agent;
use super::http::{self, ROLES};
use super::manifest::{Folder, Manifest};

/// What pods write into their Host header.
pub const IMDS_HOST: &str = "169.254.169.254";
/// The path that IMDSv2 tokens are PUT to.
pub const TOKEN_PATH: &str = "/latest/api/token";
/// The header in which a token is sent.
pub const TOKEN: &str = "X-aws-ec2-metadata-token";
/// The header in which a token's life is asked for.
pub const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";

/// A node. Its agent is ready.
pub struct Node {
    // The agent ends first: it would only complain about the rest.
    pub agent: Agent,
    pub aws: Aws,
    pub manifests: Folder,
    flags: Vec<String>,
}

impl Node {
    /// With an AWS in which all is well.
    pub async fn start(manifests: &[Manifest], flags: &[&str]) -> Self {
        let aws = Aws::start(Config::default()).await.unwrap();
        Self::start_with(aws, manifests, flags).await
    }

    /// With an AWS of the test's making.
    pub async fn start_with(aws: Aws, manifests: &[Manifest], flags: &[&str]) -> Self {
        let manifests = Folder::new(manifests);
        let mut all = vec![
            format!("--workloads={}", manifests.path().display()),
            format!("--metadata-addr={}", aws.imds_addr),
        ];
        all.extend(flags.iter().map(ToString::to_string));
        let agent = agent(&aws, &all).await;
        Self {
            agent,
            aws,
            manifests,
            flags: all,
        }
    }

    /// Ends the agent as a roll-out does, and starts the next one with the same flags.
    pub async fn restart(&mut self) {
        self.agent.process().end(Signal::SIGTERM);
        self.agent = agent(&self.aws, &self.flags).await;
    }

    /// A connection of the pod at `ip`.
    pub async fn connect(&self, ip: &str) -> Client {
        Client::connect(ip, self.agent.pods).await
    }

    /// One request of the pod at `ip` on a connection of its own, with the Host header that a pod sends.
    pub async fn ask(
        &self,
        ip: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        self.connect(ip).await.ask(method, target, headers).await
    }

    /// One GET.
    pub async fn get(&self, ip: &str, target: &str) -> Answer {
        self.ask(ip, "GET", target, &[]).await
    }

    /// GETs the credentials of `role`.
    pub async fn credentials(&self, ip: &str, role: &str) -> Answer {
        self.get(ip, &format!("{ROLES}{role}")).await
    }

    /// GETs the role list with a token.
    pub async fn roles_with(&self, ip: &str, token: &str) -> Answer {
        self.ask(ip, "GET", ROLES, &[(TOKEN, token)]).await
    }

    /// A token of the pod at `ip`, for five minutes.
    pub async fn token(&self, ip: &str) -> String {
        let answer = self.ask(ip, "PUT", TOKEN_PATH, &[(TTL, "300")]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }

    /// How many requests came from an address that was not known (yet).
    pub async fn unknown_addresses(&self) -> u64 {
        let metrics = self.agent.metrics().await;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("kube2iam_iam_k8s_pod_not_in_pod_cache "));
        line.unwrap().parse().unwrap()
    }
}

async fn agent(aws: &Aws, flags: &[String]) -> Agent {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let agent = Agent::start(&aws.sts_url(), &flags);
    agent.ready().await;
    agent
}

/// A connection that stays open.
pub struct Client {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Client {
    async fn connect(ip: &str, target: SocketAddr) -> Self {
        let stream = http::connect(ip.parse().unwrap(), target).await.unwrap();
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    pub async fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.exchange(&wire::request(method, target, IMDS_HOST, headers))
            .await
    }

    pub async fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, &[]).await
    }

    /// Sends bytes, whatever they are.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends a request as bytes and reads the next answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Answer {
        let exchange = wire::exchange(&mut self.stream, request, &mut self.buffer);
        let answer = tokio::time::timeout(PATIENCE, exchange).await;
        answer.expect("an answer").unwrap()
    }

    /// Reads the next answer.
    pub async fn answer(&mut self) -> Answer {
        self.exchange(b"").await
    }

    /// Everything that still comes until the agent closes the connection.
    pub async fn rest(mut self) -> Vec<u8> {
        let mut rest = self.buffer.to_vec();
        let read = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        match read.expect("the agent closes the connection") {
            Ok(_) => {}
            // It closed with bytes of ours unread.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        rest
    }
}
