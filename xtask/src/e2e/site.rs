//! The site: process 1 of the enclosure. It brings AWS, the control plane and the node up, tells the scenes, and ends.
//!
//! Its network namespace is the VPC: the node is one link away. The metadata service's address, the API server's Service
//! and AWS are addresses in it, so that a packet for one of them that leaves the node arrives.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use podiam_lab::aws::{Aws, Config};
use podiam_lab::netns::{IMDS, Namespace};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::control_plane::{self, ControlPlane};
use super::daemon::Daemon;
use super::node::{Boot, Node};
use super::plan::SitePlan;
use super::scenes::{self, Scene};
use super::stage::Stage;
use super::wait;
use crate::parts::{self, Part};
use crate::progress::{Style, human};
use crate::report::Report;

/// The site's address on the link to the nodes.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The Service `kubernetes`.
pub(super) const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The link, as `ip` names it.
pub(super) const LINK: &str = "vpc0";
/// moto: STS, and IAM.
const AWS_PORT: u16 = 4566;

/// What pods and agents set `AWS_ENDPOINT_URL_STS` to.
pub(super) fn sts_url() -> String {
    format!("http://{HOST}:{AWS_PORT}")
}

/// Runs to the end of the scenes, or until it is interrupted.
pub(super) fn run(plan: &SitePlan) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    end_when_interrupted(&runtime)?;
    let mut report = Report::new(Style::detect());
    let mut stage = Site::build(plan, runtime)?.open(&mut report)?;
    let chosen: &[Scene] = if plan.scenes.is_empty() {
        &Scene::ALL
    } else {
        &plan.scenes
    };
    scenes::play(chosen, &mut stage, &mut report);
    if plan.keep {
        stage.keep(&report);
    }
    Ok(report.conclude())
}

/// This is process 1: with its end the kernel ends all the others.
fn end_when_interrupted(runtime: &Runtime) -> Result<()> {
    let _inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    runtime.spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        eprintln!("\ninterrupted; everything is removed");
        std::process::exit(130);
    });
    Ok(())
}

/// The site before its node is up.
struct Site<'p> {
    plan: &'p SitePlan,
    runtime: Runtime,
    stage: PathBuf,
    logs: PathBuf,
    network: Namespace,
}

impl<'p> Site<'p> {
    /// Mounts a file system in memory, which goes with this process, and makes the network.
    fn build(plan: &'p SitePlan, runtime: Runtime) -> Result<Self> {
        let stage = plan.folder.join("stage");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "mode=755", "tmpfs"])
            .arg(&stage)
            .output()
            .context("`mount` cannot be started")?;
        anyhow::ensure!(
            mount.status.success(),
            "no file system in memory: {}",
            String::from_utf8_lossy(&mount.stderr)
        );
        let network = Namespace::current()?;
        network.ip(&format!(
            "link set lo up\naddr add {SERVICE}/32 dev lo\naddr add {IMDS}/32 dev lo\n\
             link add {LINK} address 02:00:00:00:00:01 type bridge\n\
             addr add {HOST}/24 dev {LINK}\nlink set {LINK} up"
        ))?;
        Ok(Self {
            plan,
            runtime,
            stage,
            logs: plan.folder.join("logs"),
            network,
        })
    }

    /// Starts everything, and says how long it took.
    fn open(self, report: &mut Report) -> Result<Stage> {
        let started = Instant::now();
        let aws = self.runtime.block_on(metadata_service())?;
        let moto = self.moto()?;
        std::fs::create_dir_all(self.stage.join("pki"))?;
        std::fs::write(self.stage.join("pki/audit.json"), control_plane::AUDIT)?;
        let control = ControlPlane::start(&self.stage, &self.logs)?;
        report.line(&format!(
            "AWS and the control plane are ready after {}",
            human(started.elapsed())
        ));
        let kubeconfig = control.pki.kubeconfig(
            "node",
            &format!("system:node:{}", super::node::NAME),
            "system:nodes",
            &control_plane::url(),
        )?;
        let mut node = Node::new(self.plan, &self.stage, &self.logs, kubeconfig);
        node.boot(&self.network, Boot::default())?;
        let mut stage = Stage {
            kubectl: control.kubectl.clone(),
            control,
            aws,
            _moto: moto,
            node,
            network: self.network,
            _answering: self.runtime,
            folder: self.plan.folder.clone(),
            memory: self.stage,
            pods: Vec::new(),
            past: (0, 0),
            seen: 0,
        };
        stage.node_is_ready()?;
        report.line(&format!(
            "the node {} is ready after {}",
            super::node::NAME,
            human(started.elapsed())
        ));
        Ok(stage)
    }

    fn moto(&self) -> Result<Daemon> {
        let mut command = Command::new(Part::Python.program(&parts::cache()?));
        command.args(["-m", "moto.server", "-H"]);
        command.args([HOST.to_string(), "-p".into(), AWS_PORT.to_string()]);
        let mut moto = Daemon::start("moto", &mut command, &self.logs)?;
        let address = SocketAddr::new(HOST.into(), AWS_PORT);
        wait::until("moto", Duration::from_mins(1), || {
            moto.check()?;
            Ok(TcpStream::connect(address)?)
        })?;
        Ok(moto)
    }
}

/// The lab's IMDS, at its real address. The STS that comes with it is not used: moto is.
async fn metadata_service() -> Result<Aws> {
    let imds = TcpListener::bind((IMDS, 80))
        .await
        .context("the metadata service's address")?;
    let unused = TcpListener::bind("127.0.0.1:0").await?;
    let config = Config {
        node_ip: super::node::ADDRESS,
        ..Config::default()
    };
    Ok(Aws::serve(config, imds, unused)?)
}

/// The folder of a part, for those that look for it.
pub(super) fn chart() -> &'static Path {
    static CHART: std::sync::LazyLock<PathBuf> =
        std::sync::LazyLock::new(|| crate::workspace().join("deploy/helm/podiam"));
    &CHART
}
