//! What one process of the run tells the next: a file of JSON that its command line names.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::scenes::Scene;

/// What a process is to be.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Plan {
    /// The control plane, AWS and the story.
    Site(SitePlan),
    /// A node.
    Node(NodePlan),
}

/// The site's.
#[derive(Serialize, Deserialize)]
pub(super) struct SitePlan {
    /// target/e2e: logs and evidence are left there.
    pub(super) folder: PathBuf,
    /// Archives for the node's containerd.
    pub(super) images: Vec<PathBuf>,
    /// podiam's program, out of the image.
    pub(super) podiam: PathBuf,
    /// Empty: all.
    pub(super) scenes: Vec<Scene>,
    pub(super) keep: bool,
    /// The control group that holds the nodes', the same in every hierarchy.
    pub(super) cgroup: String,
}

/// A node's.
#[derive(Serialize, Deserialize)]
pub(super) struct NodePlan {
    /// What outlives a reboot.
    pub(super) disk: PathBuf,
    /// Where its programs write what they have to say.
    pub(super) logs: PathBuf,
    /// Archives that containerd is given, unless it has them.
    pub(super) images: Vec<PathBuf>,
    /// `podiam intercept guard` at boot, as the systemd unit does.
    pub(super) guard: Option<PathBuf>,
    pub(super) kubelet: Vec<String>,
}

impl Plan {
    /// Reads what [`Plan::write`] wrote.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))
    }

    /// Writes it.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}
