//! `cargo xtask chart`: plain manifests out of the Helm chart, for people who do not use Helm. A test here sees that they
//! are what the chart makes today.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::parts::{self, Part};

/// The first lines of the manifests.
const HEADER: &str = "\
# The chart of deploy/helm/podiam with its default values, written by `cargo xtask chart`: change it there.
# `kubectl kustomize` reads kustomization.yaml beside this file, which is the place for what is your own.
";

/// Writes the manifests.
pub(crate) fn run() -> Result<ExitCode> {
    parts::ensure(&[Part::Helm])?;
    let file = manifests();
    fs::write(&file, render()?).with_context(|| format!("cannot write {}", file.display()))?;
    println!("{}", file.display());
    Ok(ExitCode::SUCCESS)
}

fn manifests() -> PathBuf {
    crate::workspace().join("deploy/kubernetes/podiam.yaml")
}

/// The chart's objects, without what only Helm is interested in.
fn render() -> Result<String> {
    let output = Command::new(Part::Helm.program(&parts::cache()?))
        .args(["template", "podiam"])
        .arg(crate::workspace().join("deploy/helm/podiam"))
        .args(["--namespace", "kube-system"])
        .output()
        .context("cannot start helm")?;
    if !output.status.success() {
        bail!("helm: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(plain(&String::from_utf8(output.stdout)?))
}

fn plain(rendered: &str) -> String {
    let helms = [
        "# Source: ",
        "helm.sh/chart: ",
        "app.kubernetes.io/managed-by: ",
    ];
    let lines = rendered.lines().filter(|line| {
        !helms
            .iter()
            .any(|start| line.trim_start().starts_with(start))
    });
    HEADER
        .lines()
        .chain(lines)
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_manifests_are_what_the_chart_makes() {
        let written = fs::read_to_string(manifests()).unwrap();
        let made = render().unwrap();
        assert!(
            written == made,
            "run `cargo xtask chart`; the chart makes\n{made}"
        );
    }

    #[test]
    fn nothing_of_helm_is_left_in_them() {
        let text = "---\n# Source: podiam/templates/a.yaml\nlabels:\n  helm.sh/chart: podiam-1\n  app: podiam\n";
        assert_eq!(
            plain(text),
            format!("{HEADER}---\nlabels:\n  app: podiam\n")
        );
    }
}
