//! `cargo xtask e2e`: podiam in a whole Kubernetes on this machine, installed by Helm from its image, with moto as AWS and
//! the lab's IMDS at the real address. Each scene does what happens to clusters and checks what pods get meanwhile.
//!
//! Three processes of this program, each inside the one before: this one makes control groups and namespaces and takes
//! them away ([`enclosure`]); the site is process 1 of its namespaces, runs AWS and the control plane, and tells the story
//! ([`site`]); the node is process 1 of its own and runs containerd and kubelet ([`node`]). When the first ends, however it
//! ends, the kernel ends the others and all that they made.

mod cgroups;
mod control_plane;
mod daemon;
mod enclosure;
mod evidence;
mod helm;
mod kubectl;
mod node;
mod pki;
mod plan;
mod pods;
mod scenes;
mod site;
mod stage;
mod wait;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::image;
use crate::parts::{self, Part, debian};
use crate::progress::{Style, human};
use plan::{Plan, SitePlan};
use scenes::Scene;

/// Options of `cargo xtask e2e`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these scenes, in this order; without any, all of them
    #[arg(value_enum, value_name = "SCENE")]
    scenes: Vec<Scene>,
    /// Leave the cluster running after the scenes, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// An archive that `cargo xtask image` wrote, instead of building one
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// What this process is to be, within the namespaces that another one has made
    #[arg(long, value_name = "PLAN", hide = true)]
    within: Option<PathBuf>,
}

/// Runs it. Failure of an expectation is told by the exit code, an error by the error.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.within {
        None => outside(args),
        Some(plan) => match Plan::read(plan)? {
            Plan::Site(plan) => site::run(&plan),
            Plan::Node(plan) => node::inside::run(&plan),
        },
    }
}

/// What it leaves behind: the logs of the last run, and the evidence of scenes that failed.
fn folder() -> PathBuf {
    crate::target().join("e2e")
}

fn outside(args: &Args) -> Result<ExitCode> {
    let style = Style::detect();
    println!(
        "{}: a cluster of one node, its pods and an AWS of their own; this machine is not changed\n",
        style.bold("podiam e2e")
    );
    enclosure::check()?;
    debian::ensure(&debian::NODE)?;
    parts::ensure(&Part::E2E)?;
    let archive = match &args.image {
        Some(archive) => std::path::absolute(archive)?,
        None => build(style)?,
    };
    let folder = folder();
    let plan = prepare(&folder, archive, args)?;
    cgroups::show()?;
    let code = enclosure::run(&folder, plan)?;
    Ok(ExitCode::from(code))
}

/// The image as it would be published.
fn build(style: Style) -> Result<PathBuf> {
    println!(
        "{}",
        style.dim("building the image (a release build: the first time takes minutes)")
    );
    let started = Instant::now();
    let archive = image::for_this_machine()?;
    println!(
        "{} image built in {}\n",
        style.green("✓"),
        human(started.elapsed())
    );
    Ok(archive)
}

/// Makes the files that the site needs in `folder`, and what it is told.
fn prepare(folder: &Path, archive: PathBuf, args: &Args) -> Result<SitePlan> {
    let write = |name: &str, content: &[u8]| -> Result<PathBuf> {
        let path = folder.join(name);
        std::fs::write(&path, content)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    for name in ["logs", "failed"] {
        let path = folder.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        std::fs::create_dir_all(&path)?;
    }
    std::fs::create_dir_all(folder.join("stage"))?;
    // The guard of the node's boot is the program of the image, as an administrator would install it.
    let podiam = write("podiam", &image::program(&archive)?)?;
    make_executable(&podiam)?;
    let workload = Part::Workload.program(&parts::cache()?);
    let workload =
        std::fs::read(&workload).with_context(|| format!("cannot read {}", workload.display()))?;
    let workload = image::of_one_program(pods::IMAGE, "workload", &workload, &["pause"])?;
    Ok(SitePlan {
        folder: folder.to_owned(),
        images: vec![archive, write("workload.tar", &workload)?],
        podiam,
        scenes: args.scenes.clone(),
        keep: args.keep,
        cgroup: String::new(),
    })
}

fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(file, mode).with_context(|| format!("{}", file.display()))
}
