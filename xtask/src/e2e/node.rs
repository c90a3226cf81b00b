//! The node: namespaces for its network, mounts and processes, with containerd and kubelet in them. Its pods have links of
//! their own (the CNI plugin `ptp`), as those of the AWS VPC CNI and Calico have.

mod config;
pub(super) mod inside;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podiam_lab::netns::Namespace;

use super::cgroups;
use super::plan::{NodePlan, Plan, SitePlan};
use super::site::{HOST, LINK};
use super::wait;

/// Its name.
pub(super) const NAME: &str = "node-1";
/// Its address.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
/// Its pods' addresses. There are few, so that they are used again soon.
pub(super) const PODS: &str = "10.244.1.0/27";

/// How a node starts.
#[derive(Clone, Copy, Default)]
pub(super) struct Boot<'a> {
    /// What it registers with: `key=value:Effect`.
    pub(super) taint: Option<&'a str>,
    /// Whether its pods share a bridge, as those of flannel and kubenet do.
    pub(super) bridge: bool,
}

/// A node, running or not.
pub(super) struct Node {
    images: Vec<PathBuf>,
    podiam: PathBuf,
    disk: PathBuf,
    logs: PathBuf,
    cgroup: String,
    kubeconfig: PathBuf,
    /// Its network and `unshare`, whose child is the node's process 1.
    running: Option<(Namespace, Child)>,
}

impl Node {
    pub(super) fn new(plan: &SitePlan, stage: &Path, logs: &Path, kubeconfig: PathBuf) -> Self {
        Self {
            images: plan.images.clone(),
            podiam: plan.podiam.clone(),
            disk: stage.join(NAME),
            logs: logs.to_owned(),
            cgroup: format!("{}/{NAME}", plan.cgroup),
            kubeconfig,
            running: None,
        }
    }

    /// Starts it, with a network in which nothing is yet.
    pub(super) fn boot(&mut self, site: &Namespace, how: Boot<'_>) -> Result<()> {
        let first = !self.disk.exists();
        cgroups::make(&self.cgroup)?;
        fs::create_dir_all(&self.disk)?;
        let kubelet = config::write(&self.disk, &self.cgroup, how.bridge)?;
        let mut flags = vec![
            format!("--config={}", kubelet.display()),
            format!("--kubeconfig={}", self.kubeconfig.display()),
            format!("--hostname-override={NAME}"),
            format!("--node-ip={ADDRESS}"),
            "--v=2".into(),
        ];
        flags.extend(
            how.taint
                .map(|taint| format!("--register-with-taints={taint}")),
        );
        let plan = Plan::Node(NodePlan {
            disk: self.disk.clone(),
            logs: self.logs.clone(),
            images: if first {
                self.images.clone()
            } else {
                Vec::new()
            },
            guard: (!first).then(|| self.podiam.clone()),
            kubelet: flags,
        });
        let file = self.disk.join("plan.json");
        plan.write(&file)?;

        let network = Namespace::new()?;
        network.wire("eth0", site, NAME)?;
        site.ip(&format!("link set {NAME} master {LINK}"))?;
        network.ip(&format!(
            "addr add {ADDRESS}/24 dev eth0\nroute add default via {HOST}"
        ))?;
        network.sysctl("net/ipv4/ip_forward", "1")?;
        site.ip(&format!("route replace {PODS} via {ADDRESS}"))?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(std::env::current_exe()?)
            .args(["e2e", "--within"])
            .arg(&file);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.logs.join(format!("{NAME}.log")))?;
        command.stdout(log.try_clone()?).stderr(log);
        let child = network.spawn(&mut command)?;
        self.running = Some((network, child));
        Ok(())
    }

    /// Takes its power away: every process dies, its network and all rules go. What is on its disk stays.
    pub(super) fn cut_power(&mut self, site: &Namespace) -> Result<()> {
        let Some((network, mut child)) = self.running.take() else {
            return Ok(());
        };
        // Its end is the end of all processes of the node, and is told when they are gone.
        kill(Pid::from_raw(Self::init(&child)?), Signal::SIGKILL)?;
        child.wait()?;
        drop(network);
        // The kernel takes links of a namespace that is gone away some time later.
        Ok(site.ip(&format!("link delete {NAME}"))?)
    }

    /// Whether it was started and not stopped.
    pub(super) fn is_on(&self) -> bool {
        self.running.is_some()
    }

    /// The node's process 1, as this namespace numbers it.
    fn init(unshare: &Child) -> Result<i32> {
        let parent = format!("PPid:\t{}\n", unshare.id());
        wait::until("the node's process 1", Duration::from_secs(5), || {
            for entry in fs::read_dir("/proc")?.flatten() {
                let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
                if status.contains(&parent) {
                    return Ok(entry.file_name().to_string_lossy().parse()?);
                }
            }
            bail!("{NAME} has no process 1")
        })
    }

    /// A command to be run in the node's namespaces.
    pub(super) fn command(&self, program: &str) -> Result<Command> {
        let (_, child) = self.running.as_ref().context("the node is off")?;
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", Self::init(child)?))
            .args(["--net", "--mount", "--pid", "--", program]);
        Ok(command)
    }

    /// What a program says that is run there.
    pub(super) fn run(&self, program: &str, words: &[&str]) -> Result<String> {
        let output = self.command(program)?.args(words).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{program} on {NAME}: {}", said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Fails if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        let log = self.logs.join(format!("{NAME}.log"));
        if let Some((_, child)) = &mut self.running
            && let Some(status) = child.try_wait()?
        {
            bail!("{NAME} ended with {status}:\n{}", super::daemon::tail(&log));
        }
        Ok(())
    }

    /// The control group of its pods.
    pub(super) fn cgroup(&self) -> &str {
        &self.cgroup
    }
}
