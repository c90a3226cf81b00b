//! kubectl, as a person would type it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// kubectl as administrator of the cluster.
#[derive(Clone)]
pub(super) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub(super) fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self {
            program,
            kubeconfig,
        }
    }

    /// The kubeconfig that it uses.
    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The program.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Runs it, and returns what it says.
    pub(super) fn run(&self, words: &[&str]) -> Result<String> {
        self.with_input(words, "")
    }

    /// What it says as JSON.
    pub(super) fn json(&self, words: &[&str]) -> Result<Value> {
        let text = self.run(&[words, &["--output=json"]].concat())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Makes an object be as `manifest` says.
    pub(super) fn apply(&self, manifest: &Value) -> Result<()> {
        self.with_input(&["apply", "--filename=-"], &manifest.to_string())?;
        Ok(())
    }

    /// Waits for a condition of `kubectl wait`: `Ready`, `delete`, `jsonpath=...`.
    pub(super) fn wait(
        &self,
        namespace: &str,
        what: &str,
        condition: &str,
        seconds: u32,
    ) -> Result<()> {
        let timeout = format!("--timeout={seconds}s");
        self.run(&[
            "wait",
            "-n",
            namespace,
            what,
            &format!("--for={condition}"),
            &timeout,
        ])?;
        Ok(())
    }

    fn with_input(&self, words: &[&str], input: &str) -> Result<String> {
        let mut child = Command::new(&self.program)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl cannot be started")?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that stopped reading has failed and says why.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {}: {}", words.join(" "), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
