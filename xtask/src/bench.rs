//! `cargo xtask bench`: what podiam costs, beside the floor, in the same run. The floor is a bare, single-threaded hyper
//! responder with the same body; both are asked in turn (A B A B …), so that the machine's moods hit both.
//!
//! CPU comes from the kernel's accounting of the server's process (10 ms ticks), memory from its status. A figure that
//! misses its bar makes the command fail.

pub(crate) mod process;
pub(crate) mod stage;
mod stampede;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use podiam_lab::load::{Amount, Load, Reuse};
use podiam_lab::wire;
use process::Process;
use serde_json::json;

/// Pods on the node: the default limit of a kubelet.
const PODS: u8 = 110;
/// CPU per cached request against the floor's.
const CPU_BAR: f64 = 1.5;
/// Resident memory with [`PODS`] pods, in MiB.
const RSS_BAR: f64 = 15.0;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Requests of each measured run over kept-alive connections
    #[arg(long, default_value_t = 100_000)]
    requests: u64,
    /// Requests of each measured run with a connection for each
    #[arg(long, default_value_t = 30_000)]
    connects: u64,
    /// Runs of each kind; the median is shown
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Prints the figures as one JSON object for each section after its table
    #[arg(long)]
    json: bool,
    /// This section only
    #[arg(long)]
    section: Option<Section>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Section {
    /// Requests that are answered from memory
    Cached,
    /// Many pods at once, a slow STS, a new process
    Stampede,
}

/// One row of the comparison.
struct Comparison {
    what: String,
    agent: f64,
    floor: f64,
    ratio: f64,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = crate::workspace();
    println!("building podiam and the floor (release)");
    for package in ["podiam", "podiam-lab"] {
        let mut cargo = Command::new(crate::cargo());
        cargo
            .current_dir(workspace)
            .args(["build", "--release", "--locked", "--package", package]);
        let status = cargo.status().context("cargo cannot be started")?;
        ensure!(
            status.success(),
            "cargo build of {package} failed ({status})"
        );
    }
    let release = crate::target().join("release");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let wanted = |section| args.section.is_none_or(|only| only == section);
    let mut missed = Vec::new();
    if wanted(Section::Cached) {
        missed.extend(runtime.block_on(figures(args, &release))?);
    }
    if wanted(Section::Stampede) {
        missed.extend(runtime.block_on(crowds(args, &release))?);
    }
    for line in &missed {
        println!("missed: {line}");
    }
    Ok(if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The section `stampede`: its table, and what misses its bar.
async fn crowds(args: &Args, release: &Path) -> Result<Vec<String>> {
    let figures = stampede::run(release).await?;
    println!("\n{:<56}{:>14}{:>14}", "stampede", "podiam", "bar");
    for figure in &figures {
        let show = |value: f64| format!("{value:.1} {}", figure.unit);
        let bar = figure.bar.map(show).unwrap_or_default();
        println!("{:<56}{:>14}{bar:>14}", figure.what, show(figure.value));
    }
    if args.json {
        let rows: Vec<_> = figures
            .iter()
            .map(|figure| json!({ "what": figure.what, "value": figure.value, "unit": figure.unit, "bar": figure.bar }))
            .collect();
        println!("{}", json!({ "stampede": rows }));
    }
    let missed = figures.iter().filter(|figure| figure.misses());
    Ok(missed
        .map(|figure| format!("{}: {:.1} {}", figure.what, figure.value, figure.unit))
        .collect())
}

/// The section `cached`: its table, and what misses its bar.
async fn figures(args: &Args, release: &Path) -> Result<Vec<String>> {
    let bench = Bench::prepare(release)?;
    let size = release.join("podiam").metadata()?.len();
    let mut starts = Vec::new();
    for _ in 0..args.runs {
        starts.push(bench.start_agent().await?.1.as_secs_f64() * 1e3);
    }
    let start = median(starts.into_iter());
    let (agent, _) = bench.start_agent().await?;
    let (path, body) = bench.role_and_body().await?;
    let idle = agent.rss_mib()?;
    let floor = bench.start_floor(release, &body)?;

    let mut rows = Vec::new();
    for (what, connections, reuse, requests) in [
        (
            "kept alive, 1 connection",
            1,
            Reuse::KeepAlive,
            args.requests,
        ),
        (
            "kept alive, 16 connections",
            16,
            Reuse::KeepAlive,
            args.requests,
        ),
        (
            "kept alive, 64 connections",
            64,
            Reuse::KeepAlive,
            args.requests,
        ),
        (
            "a connection per request, 16 at a time",
            16,
            Reuse::Never,
            args.connects,
        ),
    ] {
        let load = |target, path: &str| Load {
            target,
            request: wire::request("GET", path, "169.254.169.254", &[]).into(),
            status: 200,
            body: Some(body.clone().into()),
            connections,
            reuse,
            sources: vec![pod_address(0)],
            amount: Amount::Requests(requests),
        };
        let mut pairs = Vec::new();
        for _ in 0..args.runs {
            let ours = measure(&agent, load(bench.pods, &path)).await?;
            let least = measure(&floor, load(bench.floor, &path)).await?;
            pairs.push((ours, least));
            println!("  {what}: {ours:.2} s of CPU for 100,000 requests, floor {least:.2} s");
        }
        rows.push(Comparison {
            what: what.to_owned(),
            agent: median(pairs.iter().map(|pair| pair.0)),
            floor: median(pairs.iter().map(|pair| pair.1)),
            ratio: median(pairs.iter().map(|pair| pair.0 / pair.1)),
        });
    }
    let loaded = agent.rss_mib()?;

    println!("\n{}", table(&rows, size, start, idle, loaded));
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| json!({ "what": row.what, "agent_cpu_s": row.agent, "floor_cpu_s": row.floor, "ratio": row.ratio }))
            .collect();
        println!(
            "{}",
            json!({ "pods": PODS, "cpu_seconds_per_100000_requests": rows, "binary_bytes": size,
                    "start_to_ready_ms": start, "rss_idle_mib": idle, "rss_after_load_mib": loaded })
        );
    }
    let missed: Vec<String> = rows
        .iter()
        .filter(|row| row.ratio > CPU_BAR)
        .map(|row| {
            format!(
                "{}: {:.2} x the floor, at most {CPU_BAR} x is wanted",
                row.what, row.ratio
            )
        })
        .chain(
            (idle > RSS_BAR)
                .then(|| format!("idle memory: {idle:.1} MiB, at most {RSS_BAR} MiB is wanted")),
        )
        .collect();
    Ok(missed)
}

/// CPU seconds of `server` for 100,000 requests of `load`.
async fn measure(server: &Process, load: Load) -> Result<f64> {
    let before = server.cpu_seconds()?;
    let report = load.run().await.context("the load generator failed")?;
    ensure!(
        report.wrong == 0,
        "{} answers were wrong: {}",
        report.wrong,
        report.first_problem.unwrap_or_default()
    );
    #[allow(
        clippy::cast_precision_loss,
        reason = "a count of requests is far below 2^52"
    )]
    Ok((server.cpu_seconds()? - before) * 1e5 / report.right as f64)
}

/// The node of the measurement: manifests, addresses, the lab's AWS.
struct Bench {
    folder: tempfile::TempDir,
    binary: std::path::PathBuf,
    pods: SocketAddr,
    admin: SocketAddr,
    floor: SocketAddr,
    imds: String,
    sts: String,
    _aws: Process,
}

impl Bench {
    fn prepare(release: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let manifests: String = (0..PODS).fold(String::new(), |mut text, number| {
            let _ = write!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: pod-{number}, namespace: bench, annotations: \
                 {{iam.amazonaws.com/role: role-{number}}}}}\nstatus: {{phase: Running, podIP: {}}}\n",
                pod_address(number)
            );
            text
        });
        std::fs::write(folder.path().join("pods.yaml"), manifests)?;
        let (aws, line) =
            Process::start_and_read_line(Command::new(release.join("podiam-lab")).arg("aws"))?;
        let address = |name: &str| {
            let url = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            url.map(str::to_owned)
                .with_context(|| format!("the lab did not say where {name} is: {line}"))
        };
        let free = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
        Ok(Self {
            binary: release.join("podiam"),
            pods: free()?,
            admin: free()?,
            floor: free()?,
            imds: address("imds")?
                .trim_start_matches("http://")
                .trim_end_matches('/')
                .to_owned(),
            sts: address("sts")?,
            folder,
            _aws: aws,
        })
    }

    /// Starts the agent and says how long it took to be ready.
    async fn start_agent(&self) -> Result<(Process, Duration)> {
        let mut command = Command::new(&self.binary);
        command
            .args([
                "agent",
                "--host-ip=127.0.0.1",
                "--base-role-arn=arn:aws:iam::123456789012:role/",
            ])
            .arg(format!("--workloads={}", self.folder.path().display()))
            .arg(format!("--app-port={}", self.pods.port()))
            .arg(format!("--metrics-port={}", self.admin.port()))
            .arg(format!("--metadata-addr={}", self.imds))
            // Nothing intercepts here, so a question to 169.254.169.254 would leave this machine.
            .arg("--self-test-interval=0")
            .args(["--aws-region=us-east-1", "--log-level=warn"])
            // The pods are addresses of loopback: they have no links.
            .args(["--identity=ip", "--max-requests-per-pod=0"])
            .env("AWS_ENDPOINT_URL_STS", &self.sts);
        let started = Instant::now();
        let mut agent = Process::start(&mut command)?;
        while stage::get(self.admin, None, "/readyz")
            .await
            .map_or(true, |answer| answer.status != 200)
        {
            agent
                .check_running()
                .context("the agent did not become ready")?;
            ensure!(
                started.elapsed() < Duration::from_secs(30),
                "the agent is not ready after 30 s"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok((agent, started.elapsed()))
    }

    /// The path of the first pod's credentials, and the credentials.
    async fn role_and_body(&self) -> Result<(String, String)> {
        let path = "/latest/meta-data/iam/security-credentials/role-0".to_owned();
        let answer = stage::get(self.pods, Some(pod_address(0)), &path)
            .await
            .context("no answer from the agent")?;
        ensure!(answer.status == 200, "the agent refused: {answer:?}");
        Ok((path, String::from_utf8(answer.body.to_vec())?))
    }

    fn start_floor(&self, release: &Path, body: &str) -> Result<Process> {
        let mut floor = Command::new(release.join("podiam-lab"));
        floor
            .args([
                "floor",
                "--header",
                "Server: EC2ws",
                "--header",
                "Content-Type: text/plain",
            ])
            .args(["--listen", &self.floor.to_string(), "--body", body]);
        Ok(Process::start_and_read_line(&mut floor)?.0)
    }
}

fn pod_address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, number + 1))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a file's size in MiB, with one digit"
)]
fn table(rows: &[Comparison], size: u64, start: f64, idle: f64, loaded: f64) -> String {
    let mut text = format!(
        "{:<44}{:>10}{:>10}{:>9}{:>8}\n",
        "CPU for 100,000 cached requests", "podiam", "floor", "ratio", "bar"
    );
    for row in rows {
        let _ = writeln!(
            text,
            "{:<44}{:>8.2} s{:>8.2} s{:>7.2} x{:>6.2} x",
            row.what, row.agent, row.floor, row.ratio, CPU_BAR
        );
    }
    let _ = writeln!(
        text,
        "\n{:<44}{:>10}{:>27}",
        "other figures", "podiam", "bar"
    );
    for (what, value, bar) in [
        (
            format!("resident memory, idle, {PODS} pods"),
            format!("{idle:.1} MiB"),
            format!("{RSS_BAR:.0} MiB"),
        ),
        (
            "resident memory after the load".into(),
            format!("{loaded:.1} MiB"),
            String::new(),
        ),
        (
            format!("start to ready, {PODS} pods"),
            format!("{start:.0} ms"),
            String::new(),
        ),
        (
            "release binary".into(),
            format!("{:.1} MiB", size as f64 / f64::from(1 << 20)),
            String::new(),
        ),
    ] {
        let _ = writeln!(text, "{what:<44}{value:>10}{bar:>27}");
    }
    text
}
