//! `cargo xtask release --dry-run`: everything that a release consists of, in dist/, with its checksums. The same commit gives
//! the same bytes. It never publishes: without `--dry-run` it says what a maintainer does by hand, and makes nothing.

mod archive;
mod versions;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::image::Arch;
use crate::image::release::{self as image, Built};
use crate::parts::{self, Part};

/// Options of `cargo xtask release`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Make everything in dist/, and publish nothing
    #[arg(long)]
    dry_run: bool,
    /// Take the changelog's section Unreleased, for a rehearsal
    #[arg(long)]
    unreleased: bool,
    /// Only this processor (may be given more than once)
    #[arg(long, value_enum)]
    arch: Vec<Arch>,
}

/// What is left to a maintainer.
const BY_HAND: &str = "\
Nothing was made and nothing was published: publishing is not this command's job. `cargo xtask release --dry-run` makes
everything in dist/. Then, by hand, in this order:

  1. git tag --sign vVERSION && git push origin vVERSION
  2. skopeo copy --all oci-archive:dist/podiam-VERSION.oci.tar docker://REGISTRY/podiam:VERSION
  3. helm push dist/podiam-VERSION.tgz oci://REGISTRY/charts
  4. a release of the tag with dist/podiam-VERSION-notes.md as its text and the files of dist/SHA256SUMS attached
  5. cargo publish --package podiam-iam, podiam-intercept, podiam
";

/// Makes the release, or says what is left to do.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    let notes = versions::check(crate::workspace(), version, args.unreleased)?;
    println!("podiam {version}: program, crates, chart, manifests and changelog agree");
    if !args.dry_run {
        println!("\n{}", BY_HAND.replace("VERSION", version));
        return Ok(ExitCode::FAILURE);
    }
    let folder = crate::workspace().join("dist");
    fs::create_dir_all(&folder)?;
    let architectures = if args.arch.is_empty() {
        Arch::ALL.to_vec()
    } else {
        args.arch.clone()
    };

    let seconds = image::commit_time()?;
    let built = image::build(&architectures, &folder)?;
    let manual = tempfile::tempdir()?;
    crate::reference::manual(manual.path())?;

    let mut files = Vec::new();
    for built in &built {
        files.push(built.archive.clone());
        files.extend(program(built, version, seconds, manual.path(), &folder)?);
    }
    if built.len() > 1 {
        files.push(image::join(&built, &folder)?);
    }
    files.push(chart(version, seconds, &folder)?);
    let manifests = crate::workspace().join("deploy/kubernetes/podiam.yaml");
    let texts = [
        (
            format!("podiam-{version}-manifests.yaml"),
            fs::read(manifests)?,
        ),
        (format!("podiam-{version}-notes.md"), notes.into_bytes()),
    ];
    for (name, text) in texts {
        let path = folder.join(name);
        fs::write(&path, text)?;
        files.push(path);
    }
    files.push(archive::checksums(&files, &folder)?);
    for file in &files {
        println!("{:>12}  {}", fs::metadata(file)?.len(), file.display());
    }
    println!("{} files; nothing was published", files.len());
    Ok(ExitCode::SUCCESS)
}

/// The archive of the program, and its bill of materials beside it.
fn program(
    built: &Built,
    version: &str,
    seconds: u64,
    manual: &Path,
    folder: &Path,
) -> Result<[PathBuf; 2]> {
    let processor = built.arch.target().split('-').next().unwrap_or_default();
    let name = format!("podiam-{version}-{processor}-linux-musl");
    let mut archive = archive::Archive::new(&name, seconds);
    archive.file("podiam", 0o755, &built.program)?;
    for text in ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "CHANGELOG.md"] {
        archive.file(text, 0o644, &fs::read(crate::workspace().join(text))?)?;
    }
    archive.file("sbom.cdx.json", 0o644, &built.materials)?;
    for below in ["completions", "man"] {
        archive.folder(below, &manual.join(below))?;
    }
    let materials = folder.join(format!(
        "podiam-{version}-{}.sbom.cdx.json",
        built.arch.name()
    ));
    fs::write(&materials, &built.materials)?;
    Ok([archive.write(folder)?, materials])
}

/// Helm's package of the chart, with the commit's time in place of now.
fn chart(version: &str, seconds: u64, folder: &Path) -> Result<PathBuf> {
    parts::ensure(&[Part::Helm])?;
    let made = tempfile::tempdir()?;
    let output = Command::new(Part::Helm.program(&parts::cache()?))
        .arg("package")
        .arg(crate::workspace().join("deploy/helm/podiam"))
        .arg("--destination")
        .arg(made.path())
        .output()
        .context("cannot start helm")?;
    if !output.status.success() {
        bail!("helm package: {}", String::from_utf8_lossy(&output.stderr));
    }
    let name = format!("podiam-{version}.tgz");
    let package = fs::read(made.path().join(&name)).context("helm made another package")?;
    let path = folder.join(name);
    fs::write(&path, archive::timeless(&package, seconds)?)?;
    Ok(path)
}
