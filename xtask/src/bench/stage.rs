//! A node for one measurement of `stampede`: the lab's AWS with STS by TLS, manifests that change, an agent, and pods that
//! are addresses of loopback.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::BytesMut;
use podiam_lab::wire::{self, Answer};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::process::Process;

/// What a client waits for credentials in all, asking again where it is told 503: botocore's limit for one request, the
/// shortest that an SDK has over all its attempts.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long anything may take that should happen at once.
const LIMIT: Duration = Duration::from_mins(1);

/// The node.
pub(super) struct Stage {
    folder: tempfile::TempDir,
    binary: PathBuf,
    pods: SocketAddr,
    admin: SocketAddr,
    imds: String,
    sts: String,
    _aws: Process,
}

/// One client's way to its credentials.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// From the first request to the last answer.
    pub(super) took: Duration,
    /// Whether it got them.
    pub(super) given: bool,
    /// How often it was told 503.
    pub(super) refused: u32,
}

impl Stage {
    /// Without an agent yet; STS takes `delay` for an answer.
    pub(super) fn new(release: &Path, delay: Duration) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("pods"))?;
        let mut command = Command::new(release.join("podiam-lab"));
        command
            .args(["aws", "--sts-delay-ms", &delay.as_millis().to_string()])
            .arg("--sts-certificate")
            .arg(folder.path().join("sts.pem"));
        let (aws, line) = Process::start_and_read_line(&mut command)?;
        let address = |name: &str| {
            let url = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            url.map(|url| url.trim_end_matches('/').to_owned())
                .with_context(|| format!("the lab did not say where {name} is: {line}"))
        };
        let free = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
        let imds = address("imds")?;
        Ok(Self {
            binary: release.join("podiam"),
            pods: free()?,
            admin: free()?,
            imds: imds.trim_start_matches("http://").to_owned(),
            sts: address("sts")?,
            folder,
            _aws: aws,
        })
    }

    /// The node's pods from now on: so many, each with the role that `role` names.
    pub(super) fn run_pods(&self, count: u16, role: impl Fn(u16) -> String) -> Result<()> {
        let mut text = String::new();
        for number in 0..count {
            write!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: pod-{number}, namespace: bench, annotations: \
                 {{iam.amazonaws.com/role: {}}}}}\nstatus: {{phase: Running, podIP: {}}}\n",
                role(number),
                address(number)
            )?;
        }
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, text)?;
        std::fs::rename(draft, self.folder.path().join("pods/pods.yaml"))?;
        Ok(())
    }

    /// Starts the agent; it may not be ready yet.
    pub(super) fn agent(&self, flags: &[&str]) -> Result<Process> {
        let mut command = Command::new(&self.binary);
        command
            .args([
                "agent",
                "--host-ip=127.0.0.1",
                "--base-role-arn=arn:aws:iam::123456789012:role/",
                "--aws-region=us-east-1",
                "--log-level=error",
                "--self-test-interval=0",
                // Its pods are addresses of loopback: no link and no namespace is theirs.
                "--identity=ip",
            ])
            .arg(format!(
                "--workloads={}",
                self.folder.path().join("pods").display()
            ))
            .arg(format!("--app-port={}", self.pods.port()))
            .arg(format!("--metrics-port={}", self.admin.port()))
            .arg(format!("--metadata-addr={}", self.imds))
            .args(flags)
            .env("SSL_CERT_FILE", self.folder.path().join("sts.pem"))
            .env("AWS_ENDPOINT_URL_STS", &self.sts);
        Process::start(&mut command)
    }

    /// Waits until the sum of the metrics that begin with `name` is at least `value`.
    pub(super) async fn until(&self, name: &str, value: f64) -> Result<()> {
        let started = Instant::now();
        while self.metric(name).await < value {
            if started.elapsed() > LIMIT {
                let metrics = get(self.admin, None, "/metrics").await?.text();
                let lines = metrics
                    .lines()
                    .filter(|line| line.starts_with("podiam_sts_"));
                let lines: Vec<_> = lines.filter(|line| !line.contains("_bucket")).collect();
                bail!(
                    "{name} is not {value} after {LIMIT:?}:\n{}",
                    lines.join("\n")
                );
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// The sum of the metrics that begin with `name`; zero while there is no answer.
    pub(super) async fn metric(&self, name: &str) -> f64 {
        let Ok(answer) = get(self.admin, None, "/metrics").await else {
            return 0.0;
        };
        let text = answer.text();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// Sends an order to the lab: `POST` a fault, or `DELETE` all.
    pub(super) async fn order(&self, method: &str, body: &str) -> Result<()> {
        let target: SocketAddr = self.sts.trim_start_matches("https://").parse()?;
        let certificate = CertificateDer::from_pem_file(self.folder.path().join("sts.pem"))?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(target).await?;
        let mut stream = TlsConnector::from(Arc::new(config))
            .connect(ServerName::from(target.ip()), stream)
            .await?;
        let length = body.len().to_string();
        let headers = [("Content-Length", length.as_str())];
        let mut request = wire::request(method, "/lab/faults", "lab", &headers);
        request.extend_from_slice(body.as_bytes());
        let answer = wire::exchange(&mut stream, &request, &mut BytesMut::new()).await?;
        ensure!(answer.status == 200, "the lab refused: {answer:?}");
        Ok(())
    }

    /// The first requests of these pods, all at once, each on a connection of its own.
    pub(super) async fn ask_all(&self, roles: &[(u16, String)], patient: bool) -> Result<Vec<Way>> {
        let mut clients = tokio::task::JoinSet::new();
        for (pod, role) in roles {
            let (pods, pod, role) = (self.pods, *pod, role.clone());
            clients.spawn(async move { ask(pods, pod, &role, patient).await });
        }
        clients.join_all().await.into_iter().collect()
    }

    /// The same, one after the other.
    pub(super) async fn ask_each(&self, roles: &[(u16, String)]) -> Result<Vec<Way>> {
        let mut ways = Vec::new();
        for (pod, role) in roles {
            ways.push(ask(self.pods, *pod, role, true).await?);
        }
        Ok(ways)
    }
}

/// Asks for the credentials of `pod`; again, where it is told 503 and is `patient`.
async fn ask(pods: SocketAddr, pod: u16, role: &str, patient: bool) -> Result<Way> {
    let path = format!("/latest/meta-data/iam/security-credentials/{role}");
    let started = Instant::now();
    let mut refused = 0;
    loop {
        let answer = get(pods, Some(address(pod)), &path).await?;
        let given = answer.status == 200;
        if !given {
            ensure!(answer.status == 503, "a wrong answer: {answer:?}");
            refused += 1;
        }
        let took = started.elapsed();
        if given || !patient || took >= PATIENCE {
            return Ok(Way {
                took,
                given,
                refused,
            });
        }
    }
}

/// One request on a connection of its own.
pub(crate) async fn get(
    target: SocketAddr,
    source: Option<IpAddr>,
    path: &str,
) -> std::io::Result<Answer> {
    let socket = TcpSocket::new_v4()?;
    if let Some(source) = source {
        socket.bind((source, 0).into())?;
    }
    let mut stream = socket.connect(target).await?;
    let request = wire::request("GET", path, &target.ip().to_string(), &[]);
    wire::exchange(&mut stream, &request, &mut BytesMut::new()).await
}

fn address(pod: u16) -> IpAddr {
    let [high, low] = pod.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 1, 1 + high, low))
}
