//! The node's process 1: makes the node's folders, closes it as the systemd unit of the guard does, starts containerd and
//! kubelet, and waits for their end.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::super::daemon::Daemon;
use super::super::plan::NodePlan;
use super::super::wait;
use crate::parts::{self, Part};

/// What kubelet would write into the machine's kernel, and finds written already: in files that only the node sees.
const SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];
/// Folders below /var/lib that are on the node's disk.
const FOLDERS: [&str; 4] = ["containerd", "kubelet", "cni", "podiam"];

/// Runs until containerd or kubelet ends.
pub(in super::super) fn run(plan: &NodePlan) -> Result<ExitCode> {
    folders(&plan.disk)?;
    if let Some(podiam) = &plan.guard {
        let guard = Command::new(podiam).args(["intercept", "guard"]).status()?;
        ensure!(
            guard.success(),
            "the guard ended with {guard}: kubelet does not start"
        );
    }
    let mut command = Command::new("containerd");
    command
        .arg("--config")
        .arg(plan.disk.join("containerd.toml"));
    let mut containerd = Daemon::start("containerd", &mut command, &plan.logs)?;
    wait::until("containerd", Duration::from_secs(30), || {
        containerd.check()?;
        ctr(&["version"])
    })?;
    for image in &plan.images {
        let image = image.display().to_string();
        ctr(&["--namespace=k8s.io", "images", "import", &image])?;
    }
    let mut command = Command::new(Part::Kubernetes.tool(&parts::cache()?, "kubelet"));
    command.args(&plan.kubelet);
    let kubelet = Daemon::start("kubelet", &mut command, &plan.logs)?;
    reap(&[containerd, kubelet])
}

/// Waits for every process of the node that has no other parent, until one of the two ends.
fn reap(daemons: &[Daemon]) -> Result<ExitCode> {
    loop {
        let ended = nix::sys::wait::wait()?;
        if let Some(daemon) = daemons
            .iter()
            .find(|daemon| ended.pid() == Some(daemon.pid()))
        {
            bail!("{ended:?}\n{}", daemon.tail());
        }
    }
}

/// The node's own /run, /var/log and folders below /var/lib, and the files in place of kernel parameters.
fn folders(disk: &Path) -> Result<()> {
    mount(&["--make-rshared", "/"])?;
    // /var/lib as it is, but what is written there stays in memory. containerd's own layers may not lie on an overlay.
    let (upper, work) = (disk.join("upper"), disk.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let layers = format!(
        "lowerdir=/var/lib,upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    mount(&["-t", "overlay", "-o", &layers, "overlay", "/var/lib"])?;
    for name in FOLDERS {
        let own = disk.join("lib").join(name);
        let place = Path::new("/var/lib").join(name);
        fs::create_dir_all(&own)?;
        fs::create_dir_all(&place)?;
        bind(&own, &place)?;
    }
    for place in ["/run", "/var/log"] {
        mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs", place])?;
    }
    for (name, value) in SYSCTLS {
        let place = Path::new("/proc/sys").join(name);
        if !place.exists() {
            continue;
        }
        let own = disk.join("sysctl").join(name.replace('/', "."));
        fs::create_dir_all(disk.join("sysctl"))?;
        fs::write(&own, format!("{value}\n"))?;
        bind(&own, &place)?;
    }
    Ok(())
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(&[
        "--bind",
        &from.display().to_string(),
        &to.display().to_string(),
    ])
}

fn mount(words: &[&str]) -> Result<()> {
    run_to_its_end("mount", words).map(drop)
}

fn ctr(words: &[&str]) -> Result<String> {
    run_to_its_end("ctr", words)
}

fn run_to_its_end(program: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("`{program}` cannot be started"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", words.join(" "), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
