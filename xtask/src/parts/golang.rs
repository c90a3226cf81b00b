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
    build(folder, log, part.name(), &["go.etcd.io/etcd/server/v3"], "")
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
    build(
        folder,
        log,
        part.name(),
        &["helm.sh/helm/v3/cmd/helm"],
        &stamps,
    )
}

/// Builds kube-apiserver.
pub(super) fn build_kube_apiserver(part: Part, folder: &Path, log: &Log) -> Result<()> {
    let package = "k8s.io/kubernetes/cmd/kube-apiserver";
    build(
        folder,
        log,
        part.name(),
        &[package],
        &kubernetes_stamps(part)?,
    )
}

/// Builds the rest of Kubernetes, with what the build of kube-apiserver has left in Go's cache.
pub(super) fn build_kubernetes(part: Part, folder: &Path, log: &Log) -> Result<()> {
    let packages = [
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubectl",
        "k8s.io/kubernetes/cmd/kubelet",
    ];
    build(folder, log, "", &packages, &kubernetes_stamps(part)?)
}

/// Builds the program of the end-to-end run's pods.
pub(super) fn build_workload(part: Part, folder: &Path, log: &Log) -> Result<()> {
    build(folder, log, part.name(), &["."], "")
}

/// The version, stamped in as the release build does: without it the server says v0.0.0, and clients and feature gates
/// that compare versions go astray.
fn kubernetes_stamps(part: Part) -> Result<String> {
    let version = part.version();
    let (major, rest) = version.split_once('.').context("a version has a dot")?;
    let (minor, _) = rest.split_once('.').context("a version has two dots")?;
    let stamp = "-X k8s.io/component-base/version.git";
    Ok(format!(
        " {stamp}Version=v{version} {stamp}Major={major} {stamp}Minor={minor}"
    ))
}

/// Builds `packages` into the folder's `bin`: the one as the program `name`, several (`name` is empty) by their own names.
fn build(folder: &Path, log: &Log, name: &str, packages: &[&str], stamps: &str) -> Result<()> {
    check_version()?;
    // A folder with a slash behind it is one to Go, whether it exists or not.
    let output = folder.join("bin").join(name);
    log.run(
        Command::new("go")
            .current_dir(folder)
            .args(["build", "-v", "-mod=readonly", "-trimpath", "-ldflags"])
            .arg(format!("-s -w{stamps}"))
            .arg("-o")
            .arg(output)
            .args(packages)
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
        "Go {}.{} or newer is needed to build etcd, Kubernetes, Helm and the pods' program",
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
