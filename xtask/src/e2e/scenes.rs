//! The scenes, in the order they are played. Each makes its namespace, does what happens to clusters, states what must
//! hold, and leaves podiam installed as it found it.

mod bridge;
mod crashloop;
mod jobs;
mod known;
mod oom;
mod open;
mod reboot;
mod removal;
mod restricted;
mod roles;
mod rollout;
mod taint;

use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::evidence;
use super::stage::Stage;
use crate::progress::human;
use crate::report::Report;

/// A scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub(super) enum Scene {
    /// A pod gets its role; one without gets none; nobody gets another's
    Roles,
    /// A namespace that does not allow a role
    Restricted,
    /// Many short pods, whose addresses are used again by pods of another role
    Jobs,
    /// A container that crashes again and again
    Crashloop,
    /// How soon a pod is answered, with and without the container runtime's word
    Known,
    /// podiam is updated under load
    Rollout,
    /// podiam's `DaemonSet` is deleted, and comes back
    Removal,
    /// The kernel kills the agent for want of memory
    Oom,
    /// The node loses its power and boots
    Reboot,
    /// A new node with the startup taint
    Taint,
    /// Pods that share a bridge
    Bridge,
}

impl Scene {
    /// All, in the order they are played.
    pub(super) const ALL: [Self; 11] = [
        Self::Roles,
        Self::Restricted,
        Self::Jobs,
        Self::Crashloop,
        Self::Known,
        Self::Rollout,
        Self::Removal,
        Self::Oom,
        Self::Reboot,
        Self::Taint,
        Self::Bridge,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Roles => "roles",
            Self::Restricted => "restricted",
            Self::Jobs => "jobs",
            Self::Crashloop => "crashloop",
            Self::Known => "known",
            Self::Rollout => "rollout",
            Self::Removal => "removal",
            Self::Oom => "oom",
            Self::Reboot => "reboot",
            Self::Taint => "taint",
            Self::Bridge => "bridge",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Roles => "A pod's role is its own",
            Self::Restricted => "A namespace allows some roles",
            Self::Jobs => "Jobs, and addresses that change hands",
            Self::Crashloop => "A container that crashes",
            Self::Known => "A pod asks before the API knows its address",
            Self::Rollout => "An update under load",
            Self::Removal => "The DaemonSet is deleted",
            Self::Oom => "The kernel kills the agent",
            Self::Reboot => "The node reboots",
            Self::Taint => "A new node, with the startup taint",
            Self::Bridge => "A node whose pods share a bridge",
        }
    }

    fn play(self, stage: &mut Stage, report: &mut Report) -> Result<()> {
        match self {
            Self::Roles => roles::play(stage, report),
            Self::Restricted => restricted::play(stage, report),
            Self::Jobs => jobs::play(stage, report),
            Self::Crashloop => crashloop::play(stage, report),
            Self::Known => known::play(stage, report),
            Self::Rollout => rollout::play(stage, report),
            Self::Removal => removal::play(stage, report),
            Self::Oom => oom::play(stage, report),
            Self::Reboot => reboot::play(stage, report),
            Self::Taint => taint::play(stage, report),
            Self::Bridge => bridge::play(stage, report),
        }
    }
}

/// Installs podiam, then plays the scenes. One that fails leaves evidence, and the next is played all the same.
pub(super) fn play(scenes: &[Scene], stage: &mut Stage, report: &mut Report) {
    let installed = act(
        "install",
        "Before podiam, and its installation",
        stage,
        report,
        open::play,
    );
    if !installed {
        return;
    }
    for scene in scenes {
        act(
            scene.name(),
            scene.title(),
            stage,
            report,
            |stage, report| scene.play(stage, report),
        );
    }
}

fn act(
    name: &str,
    title: &str,
    stage: &mut Stage,
    report: &mut Report,
    play: impl FnOnce(&mut Stage, &mut Report) -> Result<()>,
) -> bool {
    report.section(title);
    let (started, failed) = (Instant::now(), report.failed());
    if let Err(error) = play(stage, report) {
        report.broken(&error);
    }
    let whole = report.failed() == failed;
    if !whole {
        match evidence::keep(stage, name) {
            Ok(folder) => report.fact("evidence", &folder.display().to_string()),
            Err(error) => report.broken(&error.context("the evidence cannot be kept")),
        }
        if let Err(error) = stage.mend() {
            report.broken(&error.context("what the scene left cannot be mended"));
        }
    }
    if let Err(error) = stage.clear(&[name]) {
        report.broken(&error);
    }
    report.fact("scene took", &human(started.elapsed()));
    whole
}
