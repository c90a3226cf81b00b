//! A node of a given topology with the real agent on it, its pods, and how a table's row is asked.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use podiam_lab::aws::{Aws, Config};
use podiam_lab::netns::{IMDS, IMDS6, NODE, NODE6, Namespace, PODS, PODS6, Pod, STS, Vpc, Wiring};
use podiam_lab::wire;
use tokio::net::TcpSocket;

use crate::support::PATIENCE;
use crate::support::agent::{Agent, Host};
pub(crate) use crate::support::http::ROLES;

/// How long an attack that should be dropped is waited for.
const DROPPED: Duration = Duration::from_millis(400);
/// The header that marks what an attack sends, so that the real metadata service would be seen to hear of it.
const MARK: &str = "x-attack";

/// `--app-port`.
pub(crate) const APP_PORT: u16 = 8181;

/// Ways in which pods are wired, and the addresses that they have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Topology {
    wiring: Wiring,
    v4: bool,
    v6: bool,
}

/// The topologies that differ: links of the pods' own (AWS VPC CNI, Calico) or a bridge (flannel, kubenet), each with
/// both families and with IPv6 alone.
pub(crate) const TOPOLOGIES: [Topology; 4] = [
    Topology::new(Wiring::Routed, true),
    Topology::new(Wiring::Bridge, true),
    Topology::new(Wiring::Routed, false),
    Topology::new(Wiring::Bridge, false),
];

impl Topology {
    pub(crate) const fn new(wiring: Wiring, v4: bool) -> Self {
        Self {
            wiring,
            v4,
            v6: true,
        }
    }

    fn addresses(self, number: u8) -> Vec<IpAddr> {
        let v4 = self.v4.then(|| pod_v4(number));
        let v6 = self.v6.then(|| pod_v6(number));
        v4.into_iter().chain(v6).collect()
    }
}

impl Topology {
    pub(crate) fn is_routed(self) -> bool {
        self.wiring == Wiring::Routed
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families = if self.v4 { "dual stack" } else { "IPv6 only" };
        write!(f, "{:?}, {families}", self.wiring)
    }
}

fn pod_v4(number: u8) -> IpAddr {
    std::net::Ipv4Addr::from_bits(PODS.to_bits() + u32::from(number)).into()
}

fn pod_v6(number: u8) -> IpAddr {
    std::net::Ipv6Addr::from_bits(PODS6.to_bits() + u128::from(number)).into()
}

/// A node without an agent, and the pods on it.
pub(crate) struct Node {
    pub(crate) topology: Topology,
    pub(crate) vpc: Arc<Vpc>,
    pub(crate) aws: Aws,
    /// Has the role `app`.
    pub(crate) app: Pod,
    /// Has the role `victim`.
    pub(crate) victim: Pod,
    /// Is in no manifest.
    pub(crate) unknown: Pod,
    /// Another host of the VPC.
    pub(crate) host: Namespace,
    manifests: tempfile::TempDir,
}

impl Node {
    pub(crate) fn new(topology: Topology) -> Self {
        let vpc = Arc::new(Vpc::dual_stack(topology.wiring).unwrap());
        let aws = vpc.start_aws(Config::default()).unwrap();
        let pod = |number| vpc.add_pod_at(&topology.addresses(number)).unwrap();
        let (app, victim, unknown) = (pod(11), pod(12), pod(13));
        let host = vpc.add_host(20).unwrap();
        let manifests = tempfile::tempdir().unwrap();
        let manifest = |name: &str, addresses: &[IpAddr], spec: &str| {
            let ips: Vec<String> = addresses
                .iter()
                .map(|ip| format!("{{ip: '{ip}'}}"))
                .collect();
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: t, annotations: \
                 {{iam.amazonaws.com/role: {name}}}}}\nspec: {{{spec}}}\nstatus: {{phase: Running, podIPs: [{}]}}\n",
                ips.join(", ")
            )
        };
        let documents = [
            manifest("app", app.addresses(), ""),
            manifest("victim", victim.addresses(), ""),
            manifest(
                "host-network",
                &[NODE.into(), NODE6.into()],
                "hostNetwork: true",
            ),
        ];
        std::fs::write(manifests.path().join("pods.yaml"), documents.concat()).unwrap();
        Self {
            topology,
            vpc,
            aws,
            app,
            victim,
            unknown,
            host,
            manifests,
        }
    }

    /// Starts the agent for IPv4 and IPv6. It may not be ready yet.
    pub(crate) fn start_agent(&self) -> Agent {
        self.start_agent_with(&[&format!("--host-ip6={NODE6}")])
    }

    /// Starts the agent with these flags beside those that every node needs.
    pub(crate) fn start_agent_with(&self, flags: &[&str]) -> Agent {
        let workloads = format!("--workloads={}", self.manifests.path().display());
        let flags: Vec<&str> = [workloads.as_str()].iter().chain(flags).copied().collect();
        let host = Host::Node(Arc::clone(&self.vpc));
        Agent::start_at(host, &format!("http://{STS}"), &flags)
    }

    /// The node's own namespace, where hostNetwork pods are too.
    pub(crate) fn namespace(&self) -> &Namespace {
        self.vpc.node().namespace()
    }

    /// The metadata service's addresses that pods of this topology can ask.
    pub(crate) fn imds(&self) -> Vec<SocketAddr> {
        let v4 = self.topology.v4.then_some((IMDS, 80).into());
        v4.into_iter().chain([(IMDS6, 80).into()]).collect()
    }

    /// The agent's sockets that pods of this topology can reach.
    pub(crate) fn agents(&self) -> Vec<SocketAddr> {
        let v4 = self.topology.v4.then_some((NODE, APP_PORT).into());
        v4.into_iter().chain([(NODE6, APP_PORT).into()]).collect()
    }

    /// Loads a file of rules in nft's syntax into the node's kernel, or does what a command line says; what it prints.
    pub(crate) fn nft(&self, rules: &str) -> String {
        self.try_nft(rules)
            .unwrap_or_else(|stderr| panic!("nft: {stderr}\n{rules}"))
    }

    /// The same; what it says where it is refused.
    pub(crate) fn try_nft(&self, rules: &str) -> Result<String, String> {
        self.run("nft", &["-a", "-f", "-"], rules)
    }

    /// Runs a program of an administrator's on the node: what it prints, or what it complains of.
    pub(crate) fn run(
        &self,
        program: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<String, String> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self
            .namespace()
            .spawn(&mut command)
            .unwrap_or_else(|error| panic!("this test needs the program {program}: {error}"));
        io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8(output.stderr).unwrap())
        }
    }

    /// Asserts every row: what `from` is told. `context` says in which table.
    pub(crate) async fn assert(&self, context: &str, rows: &[Row<'_>]) {
        // At the same time: most of it is waiting for what must not come.
        let outcomes = rows
            .iter()
            .map(|row| row.attack.outcome(row.outcome == NOTHING));
        let outcomes = futures::future::join_all(outcomes).await;
        for (row, outcome) in rows.iter().zip(outcomes) {
            assert_eq!(
                outcome, row.outcome,
                "{context} ({}): {}, {}",
                self.topology, row.name, row.attack.to
            );
        }
        self.assert_unheard(context);
    }

    /// Asserts that nothing that an attack sent came to the real metadata service.
    pub(crate) fn assert_unheard(&self, context: &str) {
        let requests = self.aws.imds_requests();
        let heard = requests.iter().find(|request| {
            let mut headers = request.headers.iter();
            headers.any(|(name, _)| name == MARK)
        });
        assert_eq!(heard, None, "{context} ({})", self.topology);
    }
}

/// The outcome of what is dropped: no connection, and not even a refusal.
pub(crate) const NOTHING: &str = "nothing";

/// A row of a table: an attack and its outcome, as [`Attack::outcome`] words it.
pub(crate) struct Row<'a> {
    pub(crate) name: &'a str,
    pub(crate) attack: Attack<'a>,
    pub(crate) outcome: &'a str,
}

/// One request for the role list, unless said otherwise.
pub(crate) struct Attack<'a> {
    from: &'a Namespace,
    source: Option<IpAddr>,
    to: SocketAddr,
    method: &'a str,
    path: &'a str,
    host: String,
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Attack<'a> {
    pub(crate) fn new(from: &'a Namespace, to: SocketAddr) -> Self {
        let host = match to.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Self {
            from,
            source: None,
            to,
            method: "GET",
            path: ROLES,
            host,
            headers: vec![(MARK, "1")],
        }
    }

    /// From this address, which must be one of the namespace's.
    pub(crate) fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    pub(crate) fn request(mut self, method: &'a str, path: &'a str) -> Self {
        (self.method, self.path) = (method, path);
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub(crate) fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn row(self, name: &'a str, outcome: &'a str) -> Row<'a> {
        Row {
            name,
            attack: self,
            outcome,
        }
    }

    /// `200 app`: the status and the body; `nothing`; or what the system says.
    pub(crate) async fn outcome(&self, dropped: bool) -> String {
        let limit = if dropped { DROPPED } else { PATIENCE };
        match tokio::time::timeout(limit, self.connect()).await {
            Err(_) => NOTHING.to_owned(),
            Ok(Err(error)) => error.kind().to_string(),
            Ok(Ok(stream)) => {
                let request = wire::request(self.method, self.path, &self.host, &self.headers);
                match tokio::time::timeout(limit, wire::once(stream, &request)).await {
                    Err(_) => "connected, no answer".to_owned(),
                    Ok(Err(error)) => error.kind().to_string(),
                    Ok(Ok(answer)) => format!("{} {}", answer.status, answer.text().trim()),
                }
            }
        }
    }

    async fn connect(&self) -> io::Result<tokio::net::TcpStream> {
        let make = || match self.to {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = self.from.enter(make).map_err(io::Error::other)??;
        if let Some(source) = self.source {
            socket.bind((source, 0).into())?;
        }
        socket.connect(self.to).await
    }
}

/// Asks until the answer is `outcome`. A connection that the rules cut in two is not waited for.
pub(crate) async fn until(attack: &Attack<'_>, outcome: &str) {
    let started = Instant::now();
    loop {
        let last = attack.outcome(true).await;
        if last == outcome {
            return;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{outcome} did not come; at last: {last}"
        );
    }
}
