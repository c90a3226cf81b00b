//! podiam's release: installed and changed by Helm, out of the chart of this tree.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::site;
use super::stage::Stage;
use crate::parts::{self, Part};

/// Where it is installed.
pub(super) const NAMESPACE: &str = "kube-system";

/// What every scene's release has: the image of this run, moto as STS, namespaces that say which roles they allow.
fn values() -> Value {
    json!({
        "image": {"pullPolicy": "Never"},
        "extraArgs": {"base-role-arn": "arn:aws:iam::123456789012:role/", "namespace-restrictions": true},
        "extraEnv": {"AWS_ENDPOINT_URL_STS": site::sts_url()},
        "aws": {"region": "us-east-1"},
    })
}

impl Stage {
    /// Installs podiam, or brings it to these values beside the usual ones, and waits until it is ready.
    pub(super) fn helm(&self, more: &Value) -> Result<()> {
        let mut all = values();
        if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
            all.extend(more.clone());
        }
        let file = self.memory.join("values.json");
        std::fs::write(&file, all.to_string())?;
        let output = Command::new(Part::Helm.program(&parts::cache()?))
            .args(["upgrade", "--install", "podiam"])
            .arg(site::chart())
            .args([
                "--namespace",
                NAMESPACE,
                "--wait",
                "--timeout=2m",
                "--values",
            ])
            .arg(&file)
            .env("KUBECONFIG", self.kubectl.kubeconfig())
            .env("HELM_CACHE_HOME", self.memory.join("helm/cache"))
            .env("HELM_CONFIG_HOME", self.memory.join("helm/config"))
            .env("HELM_DATA_HOME", self.memory.join("helm/data"))
            .output()
            .context("helm cannot be started")?;
        if !output.status.success() {
            bail!("helm: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}
