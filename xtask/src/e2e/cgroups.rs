//! The control groups of a run: the one thing that namespaces do not hold. They are named after the process that made
//! them and the time of its start, so that a run finds those of one that was killed, and never another's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};

use super::wait;

const ROOT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "podiam-e2e-";

/// A group of one name in every hierarchy. Dropped: removed with all below it.
pub(super) struct Cgroups {
    name: String,
    hierarchies: Vec<PathBuf>,
}

impl Cgroups {
    /// Makes it, after removing those of runs that are no more.
    pub(super) fn new() -> Result<Self> {
        let hierarchies = hierarchies()?;
        sweep(&hierarchies);
        let pid = std::process::id();
        let start = started(pid).context("/proc does not tell when this process started")?;
        let groups = Self {
            name: format!("{PREFIX}{pid}-{start}"),
            hierarchies,
        };
        for hierarchy in &groups.hierarchies {
            let group = hierarchy.join(&groups.name);
            fs::create_dir(&group)
                .with_context(|| format!("the control group {} cannot be made", group.display()))?;
        }
        Ok(groups)
    }

    /// Its name, from the root of a hierarchy.
    pub(super) fn name(&self) -> String {
        format!("/{}", self.name)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.hierarchies, &self.name) {
            eprintln!("{error:#}");
        }
    }
}

/// Makes a group below that of the run, in every hierarchy: anew, without what a node before its reboot has left in it.
pub(super) fn make(name: &str) -> Result<()> {
    let hierarchies = hierarchies()?;
    clear(&hierarchies, name.trim_start_matches('/'))?;
    for hierarchy in hierarchies {
        let group = hierarchy.join(name.trim_start_matches('/'));
        fs::create_dir_all(&group)
            .with_context(|| format!("the control group {} cannot be made", group.display()))?;
    }
    Ok(())
}

/// Where a controller's groups are: its own hierarchy (version 1), or the one of all (version 2).
pub(super) fn controller(name: &str) -> Result<PathBuf> {
    let hierarchies = hierarchies()?;
    match &hierarchies[..] {
        [unified] => Ok(unified.clone()),
        many => {
            let named = |path: &&PathBuf| {
                let folder = path.file_name().unwrap_or_default().to_string_lossy();
                folder.split(',').any(|controller| controller == name)
            };
            many.iter().find(named).cloned().with_context(|| {
                format!("no hierarchy of control groups has the controller {name}")
            })
        }
    }
}

/// Makes the hierarchies visible to this process where they are not (something is mounted above them, or nobody mounted
/// them), in a mount namespace of its own. To be called while it has one thread.
pub(super) fn show() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("no mount namespace (CAP_SYS_ADMIN is missing)")?;
    mount(&["--make-rprivate", "/"])?;
    if hierarchies().is_ok() {
        return Ok(());
    }
    let own = fs::read_to_string("/proc/self/cgroup").context("/proc/self/cgroup")?;
    let controllers = version_1(&own);
    if controllers.is_empty() {
        return mount(&["-t", "cgroup2", "cgroup2", ROOT]);
    }
    mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs", ROOT])?;
    for options in controllers {
        let place = Path::new(ROOT).join(options.trim_start_matches("name="));
        fs::create_dir(&place).with_context(|| format!("{}", place.display()))?;
        mount(&[
            "-t",
            "cgroup",
            "-o",
            options,
            "cgroup",
            &place.to_string_lossy(),
        ])?;
    }
    Ok(())
}

fn mount(words: &[&str]) -> Result<()> {
    let output = Command::new("mount").args(words).output();
    let output = output.context("`mount` cannot be started")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("mount {}: {}", words.join(" "), said.trim());
    }
    Ok(())
}

/// The hierarchies of version 1 as mount options, out of /proc/self/cgroup (`8:pids:/`, `9:name=systemd:/`).
fn version_1(own: &str) -> Vec<&str> {
    own.lines()
        .filter_map(|line| line.split(':').nth(1))
        .filter(|controllers| !controllers.is_empty())
        .collect()
}

/// The one hierarchy of version 2, or all of version 1, as far as they are to be seen.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
    // A path is listed once more where something was mounted above it; what is to be seen is one.
    let found: BTreeSet<PathBuf> = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (path, kind) = (words.nth(1)?, words.next()?);
            (kind == "cgroup" && path.starts_with(ROOT)).then(|| path.into())
        })
        .filter(|path: &PathBuf| path.join("cgroup.procs").exists())
        .collect();
    if found.is_empty() {
        bail!("no control groups are mounted below {ROOT}: kubelet and runc need them");
    }
    Ok(found.into_iter().collect())
}

/// Removes the groups of runs whose process is gone.
fn sweep(hierarchies: &[PathBuf]) {
    for hierarchy in hierarchies {
        for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if owner(&name).is_some_and(|(pid, start)| started(pid) != Some(start)) {
                remove(&entry.path());
            }
        }
    }
}

/// The process that a group's name names, and its start.
fn owner(name: &str) -> Option<(u32, u64)> {
    let (pid, start) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

/// When a process started, in clock ticks since boot.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Removes a group and those below it from every hierarchy; the processes that were in it have been killed.
fn clear(hierarchies: &[PathBuf], name: &str) -> Result<()> {
    let what = format!("the removal of the control group {name}");
    // A process that was killed leaves its group a moment later.
    wait::until(&what, Duration::from_secs(5), || {
        for hierarchy in hierarchies {
            let group = hierarchy.join(name);
            remove(&group);
            ensure!(!group.exists(), "{} has processes", group.display());
        }
        Ok(())
    })
}

/// Removes a group and those below it, as far as they are empty.
fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    // One that has processes stays, and whoever counts sees it.
    let _ = fs::remove_dir(group);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_names_its_process_and_the_time_of_its_start() {
        assert_eq!(owner("podiam-e2e-17-4242"), Some((17, 4242)));
        for other in ["podiam-e2e-", "podiam-e2e-17", "podiam-e2e-x-1", "kubepods"] {
            assert_eq!(owner(other), None, "{other}");
        }
        let own = std::process::id();
        assert!(started(own).is_some_and(|start| start > 0));
        assert_eq!(started(u32::MAX), None);
    }

    #[test]
    fn hierarchies_of_version_1_are_read_as_mount_options() {
        let own = "9:name=systemd:/\n4:cpu,cpuacct:/x\n0::/\n";
        assert_eq!(version_1(own), ["name=systemd", "cpu,cpuacct"]);
        assert!(version_1("0::/user.slice\n").is_empty());
    }
}
