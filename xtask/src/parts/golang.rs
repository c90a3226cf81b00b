//! Parts written in Go, built out of their released modules. The module files beside this crate (`xtask/parts/`) pin every
//! dependency with its checksum; nothing is resolved anew.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Log;
use super::catalog::Part;

/// The oldest Go that the pinned modules accept, as in their go.mod.
const OLDEST: (u32, u32) = (1, 24);

/// Builds etcd.
pub(super) fn build_etcd(part: Part, folder: &Path, log: &Log) -> Result<()> {
    build(part, folder, log, "go.etcd.io/etcd/server/v3", "")
}

/// Builds helm. As in its release build, its version and that of the Kubernetes whose client it is built with are
/// stamped in: without the latter it takes every cluster that it cannot ask for Kubernetes 1.20.
pub(super) fn build_helm(part: Part, folder: &Path, log: &Log) -> Result<()> {
    let module = "-X helm.sh/helm/v3";
    let kubernetes = |package: &str| {
        let stamp = format!("{module}/pkg/{package}.k8sVersion");
        format!(" {stamp}Major=1 {stamp}Minor=34")
    };
    let stamps = format!(
        " {module}/internal/version.version=v{}{}{}",
        part.version(),
        kubernetes("chartutil"),
        kubernetes("lint/rules")
    );
    build(part, folder, log, "helm.sh/helm/v3/cmd/helm", &stamps)
}

/// Builds kube-apiserver. Its version is stamped in, as its release build does: without it the server says v0.0.0 and
/// clients and feature gates that compare versions go astray.
pub(super) fn build_kube_apiserver(part: Part, folder: &Path, log: &Log) -> Result<()> {
    let version = part.version();
    let (major, rest) = version.split_once('.').context("a version has a dot")?;
    let (minor, _) = rest.split_once('.').context("a version has two dots")?;
    let stamp = "-X k8s.io/component-base/version.git";
    let stamps = format!(" {stamp}Version=v{version} {stamp}Major={major} {stamp}Minor={minor}");
    build(
        part,
        folder,
        log,
        "k8s.io/kubernetes/cmd/kube-apiserver",
        &stamps,
    )
}

fn build(part: Part, folder: &Path, log: &Log, package: &str, stamps: &str) -> Result<()> {
    check_version()?;
    log.run(
        Command::new("go")
            .current_dir(folder)
            .args(["build", "-v", "-mod=readonly", "-trimpath", "-ldflags"])
            .arg(format!("-s -w{stamps}"))
            .arg("-o")
            .arg(folder.join("bin").join(part.name()))
            .arg(package)
            // Pure Go needs no C compiler; a toolchain of another version is never downloaded behind our back.
            .envs([
                ("CGO_ENABLED", "0"),
                ("GOTOOLCHAIN", "local"),
                ("GOWORK", "off"),
            ])
            .env_remove("GOFLAGS"),
    )
}

/// Fails where Go is missing or too old, and names the version that is needed.
fn check_version() -> Result<()> {
    let needed = format!(
        "Go {}.{} or newer is needed to build etcd, the Kubernetes API server and Helm",
        OLDEST.0, OLDEST.1
    );
    let output = Command::new("go")
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .output()
        .with_context(|| format!("{needed}, and `go` is not on the PATH"))?;
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match parse(&found) {
        Some(version) if version >= OLDEST => Ok(()),
        _ => bail!("{needed}; found {found:?}"),
    }
}

/// `go1.26.8` as (1, 26); also `go1.25rc1`.
fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version
        .strip_prefix("go")?
        .split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_compared_as_numbers() {
        assert_eq!(parse("go1.26.8"), Some((1, 26)));
        assert_eq!(parse("go1.25rc1"), Some((1, 25)));
        assert!(parse("go1.9.7") < Some(OLDEST));
        assert_eq!(parse("devel +abc"), None);
    }
}
