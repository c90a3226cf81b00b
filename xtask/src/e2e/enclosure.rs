//! The outermost process: it makes what holds the cluster, starts the site in it, and takes it away when the site is gone.
//!
//! The site has namespaces of its own for network, mounts, processes and IPC. The kernel kills it when this process dies;
//! with it die all its processes, mounts and links. Only control groups are left to be removed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;
use tokio::signal::unix::{SignalKind, signal};

use super::cgroups::Cgroups;
use super::plan::{Plan, SitePlan};

/// What the site's namespaces are made of. `--kill-child`: it dies with `unshare`, and that with us.
const UNSHARE: [&str; 7] = [
    "--net",
    "--mount",
    "--pid",
    "--ipc",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// How often the site is looked at.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it may take to end by itself after a Ctrl-C, which reaches it from the terminal, but not from `kill`.
const GRACE: Duration = Duration::from_secs(1);

/// Fails where this process may not do what is needed, and says what is missing.
pub(super) fn check() -> Result<()> {
    if !geteuid().is_root() {
        bail!(
            "root is needed: the run makes control groups, mounts and namespaces \
             (`sudo -E env PATH=\"$PATH\" cargo xtask e2e`; in a container: `docker run --privileged`)"
        );
    }
    let output = Command::new("unshare")
        .args(UNSHARE)
        .args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"])
        .output()
        .context("`unshare` cannot be started (package util-linux)")?;
    if !output.status.success() {
        bail!(
            "namespaces with mounts of their own cannot be made (CAP_SYS_ADMIN is missing, or seccomp forbids it): {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let filesystems = std::fs::read_to_string("/proc/filesystems").context("/proc/filesystems")?;
    if !filesystems.contains("\toverlay\n") {
        bail!("the kernel has no overlay file system, which containerd needs: `modprobe overlay`");
    }
    Ok(())
}

/// Runs the site to its end, and returns its exit code.
pub(super) fn run(folder: &Path, mut plan: SitePlan) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    // Caught before anything is made. A Ctrl-C at the terminal reaches the site as well, which ends by itself.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;

    let cgroups = Cgroups::new()?;
    plan.cgroup = cgroups.name();
    let file = folder.join("site.json");
    Plan::Site(plan).write(&file)?;
    let mut site = start(&file)?;
    let code = runtime.block_on(async {
        let mut interrupted: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = interrupt.recv() => interrupted = Some(Instant::now()),
                _ = terminate.recv() => site.kill()?,
                _ = hang_up.recv() => site.kill()?,
                () = tokio::time::sleep(PAUSE) => {}
            }
            if interrupted.is_some_and(|since| since.elapsed() > GRACE) {
                site.kill()?;
            }
            if let Some(status) = site.try_wait()? {
                break anyhow::Ok(status.code());
            }
        }
    })?;
    drop(cgroups);
    match code.map(u8::try_from) {
        Some(Ok(code)) => Ok(code),
        _ => bail!("the site was killed; everything is removed"),
    }
}

fn start(plan: &Path) -> Result<Child> {
    let own = std::env::current_exe().context("the path of this program is unknown")?;
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "unshare"])
        .args(UNSHARE)
        .arg(own)
        .args(["e2e", "--within"])
        .arg(plan)
        .stdin(Stdio::null())
        .spawn()
        .context("`setpriv` cannot be started (package util-linux)")
}
