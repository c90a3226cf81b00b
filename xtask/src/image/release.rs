//! What a release takes from the image's build: the archive of each architecture, the program in it, its bill of materials,
//! and all architectures behind one index.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{Arch, MOST_BYTES, Source, binary, check, oci, rootfs, sbom};
use crate::parts::{self, Part, debian};

/// One architecture.
pub(crate) struct Built {
    /// Which.
    pub(crate) arch: Arch,
    /// The static program.
    pub(crate) program: Vec<u8>,
    /// Its bill of materials.
    pub(crate) materials: Vec<u8>,
    /// The image's archive, checked.
    pub(crate) archive: PathBuf,
    image: oci::Image,
}

/// When the commit was made, in seconds since 1970: the time of every file.
pub(crate) fn commit_time() -> Result<u64> {
    Ok(Source::read()?.seconds)
}

/// Builds and checks the image of each architecture, into a folder.
pub(crate) fn build(architectures: &[Arch], folder: &Path) -> Result<Vec<Built>> {
    debian::ensure(&debian::IMAGE)?;
    if architectures.contains(&Arch::Arm64) {
        debian::ensure(&debian::IMAGE_ARM64)?;
    }
    parts::ensure(&[Part::CargoAuditable, Part::CargoCyclonedx, Part::Python])?;
    let source = Source::read()?;
    let mut all = Vec::new();
    for &arch in architectures {
        let program = binary::build(arch, &source, &crate::target().join("image"))?;
        let image = oci::pack(arch, &source, &rootfs::layer(arch, &source, &program)?)?;
        if image.layer_bytes() > MOST_BYTES {
            bail!("{}: more than {} MiB", arch.name(), MOST_BYTES >> 20);
        }
        let archive = image.write(
            folder,
            &format!("podiam-{}-{}", source.version, arch.name()),
        )?;
        check::check(arch, &archive)?;
        all.push(Built {
            arch,
            materials: sbom::make(arch, &source)?,
            program,
            archive,
            image,
        });
    }
    Ok(all)
}

/// Writes one archive of all of them, in which each machine finds its own.
pub(crate) fn join(all: &[Built], folder: &Path) -> Result<PathBuf> {
    let source = Source::read()?;
    let images: Vec<&oci::Image> = all.iter().map(|built| &built.image).collect();
    oci::join(&images, &source)?.write(folder, &format!("podiam-{}", source.version))
}
