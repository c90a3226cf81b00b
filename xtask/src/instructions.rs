//! `cargo xtask instructions`: how many instructions the agent spends on one cached request, counted by callgrind, which
//! knows no moods of the machine. The agent answers N1 requests, then N2 more, and what it spent on each lot is told
//! apart; the difference of the two, by the difference of the numbers, holds no start, no timer and no dump.
//!
//! Not a step of `cargo xtask test` yet: with a connection for each request, two runs of one build were seen to differ by
//! 13 % (kept alive, by 0.01 %).
//!
//! `instructions.json` keeps what was counted last. A change of more than 3 % fails, for better or worse: then
//! `--update` writes the new figures down, and the commit says why.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use podiam_lab::aws::{Aws, Config};
use podiam_lab::load::{Amount, Load, Reuse};
use podiam_lab::wire;
use serde::{Deserialize, Serialize};

use crate::bench::process::Process;
use crate::bench::stage::get;
use crate::parts::debian;

/// How far a figure may be from the recorded one.
const ALLOWED: f64 = 0.03;
/// Requests of the two lots, after some that fill caches.
const WARM_UP: u64 = 200;
const LOTS: [u64; 2] = [500, 1500];
/// Pods on the node; one of them asks.
const PODS: u8 = 20;
/// Callgrind is some fifty times slower than the machine.
const LIMIT: Duration = Duration::from_mins(3);

/// Options of `cargo xtask instructions`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Counts in the release build; without it in the development build, which is there after the tests
    #[arg(long)]
    release: bool,
    /// Records what is counted as what is right from now on
    #[arg(long)]
    update: bool,
}

/// One build's figures, and by what they were counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Figures {
    rustc: String,
    valgrind: String,
    /// Instructions for a request over a kept-alive connection.
    kept_alive: f64,
    /// Instructions for a request with a connection of its own.
    new_connection: f64,
}

/// What `instructions.json` holds.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    development: Option<Figures>,
    release: Option<Figures>,
}

impl Record {
    fn of(&mut self, release: bool) -> &mut Option<Figures> {
        if release {
            &mut self.release
        } else {
            &mut self.development
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let path = crate::workspace().join("xtask/instructions.json");
    let mut record: Record = match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .with_context(|| format!("{} cannot be read", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Record::default(),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let counted = count(args.release)?;
    println!("instructions for a cached request: {counted:#?}");
    let recorded = record.of(args.release);
    if args.update {
        *recorded = Some(counted);
        std::fs::write(&path, serde_json::to_string_pretty(&record)? + "\n")?;
        println!("recorded in {}", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(recorded) = recorded else {
        bail!("nothing is recorded for this build: run `cargo xtask instructions --update`");
    };
    let complaints = compare(recorded, &counted);
    for complaint in &complaints {
        println!("{complaint}");
    }
    Ok(if complaints.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is wrong with `counted`, and what to do about it.
fn compare(recorded: &Figures, counted: &Figures) -> Vec<String> {
    let kinds = [
        ("kept alive", recorded.kept_alive, counted.kept_alive),
        (
            "a connection for each",
            recorded.new_connection,
            counted.new_connection,
        ),
    ];
    let mut complaints: Vec<String> = kinds
        .into_iter()
        .filter_map(|(what, before, now)| {
            let change = now / before - 1.0;
            (change.abs() > ALLOWED).then(|| {
                format!(
                    "{what}: {now:.0} instructions for a request, {before:.0} are recorded ({:+.1} %, {:.0} % is allowed)",
                    change * 100.0,
                    ALLOWED * 100.0
                )
            })
        })
        .collect();
    if complaints.is_empty() {
        return complaints;
    }
    let other = |what: &str, before: &str, now: &str| {
        (before != now).then(|| {
            format!(
                "the record is of {what} {before}, and this is {now}: if the commit before this one fails here too, record \
                 its figures first with `cargo xtask instructions --update`, then compare"
            )
        })
    };
    complaints.extend(other("rustc", &recorded.rustc, &counted.rustc));
    complaints.extend(other("valgrind", &recorded.valgrind, &counted.valgrind));
    complaints.push(
        "if it is meant: `cargo xtask instructions --update`, and say why in the commit".to_owned(),
    );
    complaints
}

fn count(release: bool) -> Result<Figures> {
    debian::ensure(&debian::INSTRUCTIONS)?;
    let mut cargo = Command::new(crate::cargo());
    cargo.current_dir(crate::workspace()).args([
        "build",
        "--locked",
        "--package=podiam",
        "--bin=podiam",
    ]);
    if release {
        cargo.arg("--release");
    }
    let status = cargo.status().context("cargo cannot be started")?;
    ensure!(status.success(), "cargo build failed ({status})");
    let folder = if release { "release" } else { "debug" };
    let binary = crate::target().join(folder).join("podiam");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (kept_alive, new_connection) = runtime.block_on(async {
        let agent = Agent::start(&binary).await?;
        Ok::<_, anyhow::Error>((
            agent.per_request(Reuse::KeepAlive).await?,
            agent.per_request(Reuse::Never).await?,
        ))
    })?;
    Ok(Figures {
        rustc: version("rustc")?,
        valgrind: version("valgrind")?,
        kept_alive,
        new_connection,
    })
}

fn version(program: &str) -> Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// An agent under callgrind, with one data worker, so that it does not matter who accepts what.
struct Agent {
    folder: tempfile::TempDir,
    pods: SocketAddr,
    process: Process,
    _aws: Aws,
}

impl Agent {
    async fn start(binary: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let manifests = folder.path().join("pods");
        std::fs::create_dir(&manifests)?;
        std::fs::write(manifests.join("pods.yaml"), pods())?;
        let aws = Aws::start(Config::default()).await?;
        let free = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
        let (pods, admin) = (free()?, free()?);
        let mut command = Command::new("valgrind");
        command
            .args(["--quiet", "--tool=callgrind"])
            .arg(format!(
                "--callgrind-out-file={}",
                folder.path().join("out").display()
            ))
            .arg(binary)
            .args(["agent", "--host-ip=127.0.0.1", "--data-workers=1"])
            .arg("--base-role-arn=arn:aws:iam::123456789012:role/")
            .arg(format!("--workloads={}", manifests.display()))
            .arg(format!("--app-port={}", pods.port()))
            .arg(format!("--metrics-port={}", admin.port()))
            .arg(format!(
                "--metadata-addr={}",
                aws.imds_url()
                    .trim_start_matches("http://")
                    .trim_end_matches('/')
            ))
            .args([
                "--aws-region=us-east-1",
                "--log-level=error",
                "--self-test-interval=0",
            ])
            .args(["--identity=ip", "--max-requests-per-pod=0", "--sts-rate=0"])
            .env("AWS_ENDPOINT_URL_STS", aws.sts_url());
        let mut process = Process::start(&mut command)?;
        let started = Instant::now();
        while !all_ready(admin).await {
            process
                .check_running()
                .context("the agent under callgrind did not become ready")?;
            ensure!(
                started.elapsed() < LIMIT,
                "the agent under callgrind is not ready after {LIMIT:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(Self {
            folder,
            pods,
            process,
            _aws: aws,
        })
    }

    async fn per_request(&self, reuse: Reuse) -> Result<f64> {
        self.ask(WARM_UP, reuse).await?;
        self.spent()?;
        let mut spent = Vec::new();
        for requests in LOTS {
            self.ask(requests, reuse).await?;
            spent.push(self.spent()?);
        }
        #[allow(
            clippy::cast_precision_loss,
            reason = "a count of instructions is far below 2^52"
        )]
        Ok((spent[1] - spent[0]) as f64 / (LOTS[1] - LOTS[0]) as f64)
    }

    async fn ask(&self, requests: u64, reuse: Reuse) -> Result<()> {
        let path = "/latest/meta-data/iam/security-credentials/role-0";
        let load = Load {
            target: self.pods,
            request: wire::request("GET", path, "169.254.169.254", &[]).into(),
            status: 200,
            body: None,
            connections: 1,
            reuse,
            sources: vec![Ipv4Addr::new(127, 0, 1, 1).into()],
            amount: Amount::Requests(requests),
        };
        let report = load.run().await.context("the load generator failed")?;
        ensure!(
            report.wrong == 0,
            "{} answers were wrong: {}",
            report.wrong,
            report.first_problem.unwrap_or_default()
        );
        Ok(())
    }

    /// The instructions since it was asked last.
    fn spent(&self) -> Result<i64> {
        let known = self.dumps()?;
        let output = Command::new("vgdb")
            .arg(format!("--pid={}", self.process.id()))
            .arg("dump")
            .output()
            .context("cannot start vgdb, which comes with valgrind")?;
        let dumps = self.dumps()?;
        let Some(new) = dumps.iter().find(|dump| !known.contains(dump)) else {
            bail!(
                "vgdb had nothing written ({}): {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        };
        let text = std::fs::read_to_string(new)?;
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("totals: ")?.parse().ok());
        total.with_context(|| format!("{} has no totals", new.display()))
    }

    fn dumps(&self) -> Result<Vec<PathBuf>> {
        let files = std::fs::read_dir(self.folder.path())?;
        let paths = files.map(|file| file.map(|file| file.path()));
        let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
        paths.retain(|path| path.extension().is_some_and(|it| it != "yaml"));
        Ok(paths)
    }
}

/// Whether every pod has credentials.
async fn all_ready(admin: SocketAddr) -> bool {
    let Ok(answer) = get(admin, None, "/metrics").await else {
        return false;
    };
    let line = format!("podiam_credentials{{state=\"ready\"}} {PODS}");
    answer.text().lines().any(|found| found == line)
}

fn pods() -> String {
    (0..PODS).fold(String::new(), |mut text, number| {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: pod-{number}, namespace: bench, annotations: \
             {{iam.amazonaws.com/role: role-{number}}}}}\nstatus: {{phase: Running, podIP: 127.0.1.{}}}\n",
            number + 1
        );
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(kept_alive: f64, new_connection: f64) -> Figures {
        Figures {
            rustc: "rustc 1".into(),
            valgrind: "valgrind-3".into(),
            kept_alive,
            new_connection,
        }
    }

    #[test]
    fn three_percent_are_allowed_and_more_is_told_with_what_to_do() {
        let recorded = figures(1000.0, 2000.0);
        assert!(compare(&recorded, &figures(1029.0, 1941.0)).is_empty());
        let slower = compare(&recorded, &figures(1031.0, 2000.0));
        assert_eq!(slower.len(), 2, "{slower:?}");
        assert!(slower[0].contains("kept alive: 1031") && slower[0].contains("+3.1 %"));
        assert!(slower[1].contains("--update"));
        let faster = compare(&recorded, &figures(1000.0, 1900.0));
        assert!(faster[0].contains("-5.0 %"), "also when it got better");
    }

    #[test]
    fn another_compiler_is_named_where_the_figures_differ() {
        let other = Figures {
            rustc: "rustc 2".into(),
            ..figures(1100.0, 2000.0)
        };
        let told = compare(&figures(1000.0, 2000.0), &other);
        assert!(told.iter().any(|line| line.contains("rustc 2")), "{told:?}");
    }
}
