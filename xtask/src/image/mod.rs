//! `cargo xtask image`: a container image from scratch without a Docker daemon. The static binary, the CA roots, a passwd
//! file and the bill of materials; no shell. The same commit gives the same bytes: every time is the commit's, every
//! owner root, every list sorted.

mod binary;
mod check;
mod emulated;
mod oci;
pub(crate) mod release;
mod rootfs;
mod sbom;
mod simple;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
pub(crate) use oci::sha256;

pub(crate) use check::program;
pub(crate) use simple::of_one_program;

use crate::parts::{self, Part, debian};

/// The most that the layers may take, compressed.
const MOST_BYTES: u64 = 12 << 20;

/// Options of `cargo xtask image`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The processor to build for
    #[arg(long, value_enum, default_value_t = Arch::Amd64)]
    arch: Arch,
    /// Pack twice and compare, unpack, look for what must not be there, and run it
    #[arg(long)]
    check: bool,
    /// Compile a second time from nothing and compare the bytes (minutes)
    #[arg(long)]
    twice: bool,
}

/// A processor, by the name that images use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    /// `x86_64`
    #[value(alias = "x86_64")]
    Amd64,
    /// `aarch64`
    #[value(alias = "aarch64")]
    Arm64,
}

impl Arch {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// Rust's name of the target.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }
}

/// What is built: a commit of this workspace.
struct Source {
    version: &'static str,
    /// The commit, with `-dirty` where files differ from it.
    commit: String,
    /// When it was committed, in seconds since 1970 and as RFC 3339.
    seconds: u64,
    date: String,
}

impl Source {
    fn read() -> Result<Self> {
        let git = |words: &[&str]| -> Result<String> {
            let mut command = Command::new("git");
            command.current_dir(crate::workspace()).env("TZ", "UTC");
            let output = command.args(words).output().context("cannot start git")?;
            if !output.status.success() {
                bail!("git: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
            Ok(String::from_utf8(output.stdout)?)
        };
        let format = [
            "log",
            "-1",
            "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
            "--format=%H %ct %cd",
        ];
        let commit = git(&format)?;
        let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        let mut words = commit.split_whitespace();
        let mut next = || words.next().context("git log says nothing");
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: format!("{}{}", next()?, if changed { "-dirty" } else { "" }),
            seconds: next()?.parse()?,
            date: next()?.to_owned(),
        })
    }
}

/// Builds the image, and checks it where that is asked for.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    build(args)?;
    Ok(ExitCode::SUCCESS)
}

/// Builds the image for this machine's processor, and returns the archive.
pub(crate) fn for_this_machine() -> Result<PathBuf> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => Arch::Amd64,
        "aarch64" => Arch::Arm64,
        other => bail!("no image is built for {other}"),
    };
    build(&Args {
        arch,
        check: false,
        twice: false,
    })
}

fn build(args: &Args) -> Result<PathBuf> {
    let arch = args.arch;
    debian::ensure(&debian::IMAGE)?;
    if arch == Arch::Arm64 {
        debian::ensure(&debian::IMAGE_ARM64)?;
    }
    parts::ensure(&[Part::CargoAuditable, Part::CargoCyclonedx, Part::Python])?;
    let source = Source::read()?;
    let binary = binary::build(arch, &source, &crate::target().join("image"))?;
    if args.twice {
        let again = crate::target().join("image-again");
        if again.exists() {
            std::fs::remove_dir_all(&again)?;
        }
        if binary::build(arch, &source, &again)? != binary {
            bail!("two builds of {} differ", source.commit);
        }
        println!("two builds from nothing are the same, byte for byte");
    }

    let pack = || oci::pack(arch, &source, &rootfs::layer(arch, &source, &binary)?);
    let image = pack()?;
    let folder = crate::workspace().join("dist");
    let archive = image.write(
        &folder,
        &format!("podiam-{}-{}", source.version, arch.name()),
    )?;
    report(&image, &archive);
    if image.layer_bytes() > MOST_BYTES {
        bail!("more than {} MiB", MOST_BYTES >> 20);
    }
    if args.check {
        if pack()?.archive()? != std::fs::read(&archive)? {
            bail!("packed twice, the image differs");
        }
        println!("packed twice: the same, byte for byte");
        check::check(arch, &archive)?;
    }
    Ok(archive)
}

fn report(image: &oci::Image, archive: &Path) {
    #[allow(clippy::cast_precision_loss, reason = "a few million")]
    let mebibytes = image.layer_bytes() as f64 / f64::from(1 << 20);
    println!("{}", archive.display());
    println!("  {mebibytes:.1} MiB compressed, {}", image.digest());
}
