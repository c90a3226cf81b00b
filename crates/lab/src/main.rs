//! `podiam-lab`: the lab's parts as programs, for those that cannot call the library.

#![allow(
    clippy::print_stdout,
    reason = "the addresses and the report are what the caller waits for"
)]

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use hyper::header::{HeaderName, HeaderValue};
use podiam_lab::aws::{Aws, Config, Injection, Service, Tls, TokenPolicy};
use podiam_lab::floor::Floor;
use podiam_lab::load::{Amount, Load, Reuse};
use podiam_lab::wire;
use tokio::net::TcpListener;

/// podiam's stand-ins.
#[derive(Parser)]
#[command(name = "podiam-lab", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// An AWS of one process: IMDS and STS. Prints `imds=URL sts=URL` when both listen; log and faults: /lab on STS
    Aws(AwsArgs),
    /// Answers every request with one body: the floor of a measurement. Prints `floor=URL` when it listens
    Floor(FloorArgs),
    /// Asks one URL over and over, checks every answer, prints throughput and latencies
    Load(LoadArgs),
}

#[derive(Args)]
struct AwsArgs {
    /// Where IMDS listens; port 0: a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    imds: SocketAddr,
    /// Where STS (and /lab) listens
    #[arg(long, default_value = "127.0.0.1:0")]
    sts: SocketAddr,
    /// The node's role
    #[arg(long, default_value_t = Config::default().node_role)]
    node_role: String,
    /// The region
    #[arg(long, default_value_t = Config::default().region)]
    region: String,
    /// IMDS answers requests with a token only
    #[arg(long)]
    tokens_required: bool,
    /// Delay of every STS answer, in milliseconds
    #[arg(long, default_value_t = 0)]
    sts_delay_ms: u64,
    /// STS speaks TLS, and its certificate is written here: what clients name in `SSL_CERT_FILE`
    #[arg(long)]
    sts_certificate: Option<PathBuf>,
}

#[derive(Args)]
struct FloorArgs {
    /// Where it listens; port 0: a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The body
    #[arg(long, default_value = "ok")]
    body: String,
    /// A header, `Name: value`; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
}

#[derive(Args)]
struct LoadArgs {
    /// Whom to ask
    target: SocketAddr,
    /// The path
    #[arg(default_value = "/")]
    path: String,
    /// A header, `Name: value`; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The Host header
    #[arg(long, default_value = "169.254.169.254")]
    host: String,
    /// The status that counts as success
    #[arg(long, default_value_t = 200)]
    status: u16,
    /// How many connections ask at the same time
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// A connection per request
    #[arg(long)]
    no_keep_alive: bool,
    /// Local addresses to ask from, in turn
    #[arg(long, value_delimiter = ',')]
    sources: Vec<IpAddr>,
    /// How many requests, instead of a time
    #[arg(long, conflicts_with = "seconds")]
    requests: Option<u64>,
    /// For how long
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match Cli::parse().command {
        Command::Aws(args) => runtime.block_on(aws(args)),
        Command::Floor(args) => runtime.block_on(floor(args)),
        Command::Load(args) => runtime.block_on(load(args)),
    }
}

async fn aws(args: AwsArgs) -> Result<()> {
    let AwsArgs {
        imds,
        sts,
        node_role,
        region,
        tokens_required,
        sts_delay_ms,
        sts_certificate,
    } = args;
    let tokens = if tokens_required {
        TokenPolicy::Required
    } else {
        TokenPolicy::Optional
    };
    let config = Config {
        node_role,
        region,
        tokens,
        ..Config::default()
    };
    let tls = match sts_certificate {
        None => None,
        Some(file) => {
            let tls = Tls::new()?;
            std::fs::write(&file, &tls.certificate)
                .with_context(|| format!("{} cannot be written", file.display()))?;
            Some(tls)
        }
    };
    let (imds, sts) = (listen(imds).await?, listen(sts).await?);
    let aws = Aws::serve_with(config, imds, sts, tls.as_ref())?;
    if sts_delay_ms > 0 {
        aws.inject(
            Service::Sts,
            Injection::delay(Duration::from_millis(sts_delay_ms)),
        );
    }
    let sts = match tls {
        None => aws.sts_url(),
        Some(_) => format!("https://{}", aws.sts_addr),
    };
    println!("imds={} sts={sts}", aws.imds_url());
    tokio::signal::ctrl_c().await?;
    Ok(())
}

async fn floor(args: FloorArgs) -> Result<()> {
    let FloorArgs {
        listen: address,
        body,
        headers,
    } = args;
    let headers = pairs(&headers)?
        .into_iter()
        .map(|(name, value)| Ok((HeaderName::try_from(name)?, HeaderValue::try_from(value)?)));
    let floor = Floor {
        body: body.into(),
        headers: headers.collect::<Result<_>>()?,
    };
    let listener = listen(address).await?;
    println!("floor=http://{}", listener.local_addr()?);
    match floor.serve(listener).await? {}
}

async fn load(args: LoadArgs) -> Result<()> {
    let headers = pairs(&args.headers)?;
    let amount = match args.requests {
        Some(requests) => Amount::Requests(requests),
        None => Amount::For(Duration::try_from_secs_f64(args.seconds).context("--seconds")?),
    };
    let load = Load {
        target: args.target,
        request: wire::request("GET", &args.path, &args.host, &headers).into(),
        status: args.status,
        body: None,
        connections: args.connections,
        reuse: if args.no_keep_alive {
            Reuse::Never
        } else {
            Reuse::KeepAlive
        },
        sources: args.sources,
        amount,
    };
    let report = load.run().await?;
    println!(
        "{} right, {} wrong in {:.2?}: {:.0}/s; p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}, max {:.1?}",
        report.right,
        report.wrong,
        report.elapsed,
        report.rate(),
        report.within(0.5),
        report.within(0.99),
        report.within(0.999),
        report.within(1.0),
    );
    match report.first_problem {
        Some(problem) => bail!("first failure: {problem}"),
        None => Ok(()),
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{address} cannot be listened on"))
}

fn pairs(headers: &[String]) -> Result<Vec<(&str, &str)>> {
    headers
        .iter()
        .map(|header| {
            let (name, value) = header
                .split_once(':')
                .with_context(|| format!("{header:?} is not `Name: value`"))?;
            Ok((name.trim(), value.trim()))
        })
        .collect()
}
