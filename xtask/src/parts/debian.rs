//! Programs that come with the system. Missing ones are installed where that is a matter of course (root on Debian or
//! its kin); anywhere else the error names each program, its package and the command.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What a step of the tests needs from the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The file to be found on the PATH.
    name: &'static str,
    /// Debian's package that holds it.
    package: &'static str,
    /// What for.
    purpose: &'static str,
}

/// All of them.
pub(crate) const PROGRAMS: [Program; 19] = [
    Program {
        name: "ip",
        package: "iproute2",
        purpose: "makes pods out of network namespaces",
    },
    Program {
        name: "nft",
        package: "nftables",
        purpose: "checks what podiam wrote into the kernel",
    },
    Program {
        name: "iptables-nft",
        package: "iptables",
        purpose: "is what --intercept=iptables runs, in its variant nft",
    },
    Program {
        name: "iptables-legacy",
        package: "iptables",
        purpose: "is what --intercept=iptables runs, in its variant legacy",
    },
    Program {
        name: "chromium",
        package: "chromium",
        purpose: "renders the status page",
    },
    Program {
        name: "setsid",
        package: "util-linux",
        purpose: "gives `podiam status --watch` a terminal",
    },
    Program {
        name: "setpriv",
        package: "util-linux",
        purpose: "ends what the tests started if they are killed",
    },
    Program {
        name: "mount",
        package: "mount",
        purpose: "puts a ServiceAccount where a pod finds it",
    },
    Program {
        name: "c++",
        package: "g++",
        purpose: "compiles libFuzzer",
    },
    Program {
        name: "cc",
        package: "gcc",
        purpose: "links",
    },
    Program {
        name: "promtool",
        package: "prometheus",
        purpose: "judges the alerts and the queries of the dashboard",
    },
    Program {
        name: "prometheus",
        package: "prometheus",
        purpose: "scrapes an agent, and calls",
    },
    Program {
        name: "python3",
        package: "python3",
        purpose: "runs moto, boto3 and the AWS CLI",
    },
    Program {
        name: "node",
        package: "nodejs",
        purpose: "runs the engine that judges IAM policies",
    },
    Program {
        name: "npm",
        package: "npm",
        purpose: "fetches that engine",
    },
    Program {
        name: "containerd",
        package: "containerd",
        purpose: "tells the addresses of sandboxes",
    },
    Program {
        name: "runc",
        package: "runc",
        purpose: "runs them",
    },
    Program {
        name: "/usr/lib/cni/bridge",
        package: "containernetworking-plugins",
        purpose: "gives them addresses",
    },
    Program {
        name: "busybox",
        package: "busybox-static",
        purpose: "is what they run",
    },
];

/// What counts instructions.
pub(crate) const INSTRUCTIONS: [Program; 1] = [Program {
    name: "valgrind",
    package: "valgrind",
    purpose: "counts the agent's instructions",
}];

/// What the image needs.
pub(crate) const IMAGE: [Program; 2] = [
    Program {
        name: "musl-gcc",
        package: "musl-tools",
        purpose: "compiles the C in the image's program",
    },
    Program {
        name: "chroot",
        package: "coreutils",
        purpose: "runs the image's program with nothing else",
    },
];

/// What the image for another processor needs beside.
pub(crate) const IMAGE_ARM64: [Program; 1] = [Program {
    name: "aarch64-linux-gnu-gcc",
    package: "gcc-aarch64-linux-gnu",
    purpose: "compiles the C in the image's program for arm64",
}];

/// What a Kubernetes node on this machine needs.
pub(crate) const NODE: [Program; 7] = [
    Program {
        name: "ip",
        package: "iproute2",
        purpose: "makes the networks of node and pods",
    },
    Program {
        name: "unshare",
        package: "util-linux",
        purpose: "keeps the cluster apart from this machine",
    },
    Program {
        name: "mount",
        package: "mount",
        purpose: "gives the node folders of its own",
    },
    Program {
        name: "nft",
        package: "nftables",
        purpose: "shows the rules that podiam wrote",
    },
    Program {
        name: "containerd",
        package: "containerd",
        purpose: "runs the node's containers",
    },
    Program {
        name: "runc",
        package: "runc",
        purpose: "starts them",
    },
    Program {
        name: "/usr/lib/cni/ptp",
        package: "containernetworking-plugins",
        purpose: "connects the pods",
    },
];

/// Makes sure that the programs are there.
pub(crate) fn ensure(programs: &[Program]) -> Result<()> {
    let mut missing: Vec<Program> = programs
        .iter()
        .copied()
        .filter(|program| !on_path(program.name))
        .collect();
    // Debian splits pip out of Python; the module alone tells.
    if on_path("python3") && !python_has("ensurepip") {
        missing.push(Program {
            name: "python3 -m venv",
            package: "python3-venv",
            purpose: "makes the environment of moto",
        });
    }
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|program| program.package).collect();
    packages.dedup();
    let command = format!(
        "apt-get install --no-install-recommends {}",
        packages.join(" ")
    );
    if nix::unistd::geteuid().is_root() && on_path("apt-get") {
        println!("installing what is missing from the system: {command}");
        return install(&packages);
    }
    let list: Vec<String> = missing
        .iter()
        .map(|p| format!("\n  {} ({}), which {}", p.name, p.package, p.purpose))
        .collect();
    bail!(
        "missing from the system:{}\non Debian, as root: {command}",
        list.concat()
    )
}

fn install(packages: &[&str]) -> Result<()> {
    let apt = |args: &[&str]| -> Result<bool> {
        let mut command = Command::new("apt-get");
        command
            .args(["-qq", "--yes", "-o", "DPkg::Lock::Timeout=120"])
            .args(args);
        let status = command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .status()
            .context("cannot start apt-get")?;
        Ok(status.success())
    };
    let mut install = vec!["install", "--no-install-recommends"];
    install.extend(packages);
    // The lists of a fresh machine are empty or old: refresh them only if the first try says so.
    if apt(&install)? || (apt(&["update"])? && apt(&install)?) {
        return Ok(());
    }
    bail!("apt-get could not install {}", packages.join(", "))
}

/// Whether a program of that name is on the PATH or where Debian keeps an administrator's programs.
pub(crate) fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administration = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path)
        .chain(administration)
        .any(|folder| is_program(&folder.join(name)))
}

fn is_program(file: &Path) -> bool {
    nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok() && file.is_file()
}

fn python_has(module: &str) -> bool {
    Command::new("python3")
        .args(["-c", &format!("import {module}")])
        .output()
        .is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_nobody_has_is_missing_and_the_shell_is_there() {
        assert!(on_path("sh"));
        assert!(!on_path("podiam-no-such-program"));
    }
}
