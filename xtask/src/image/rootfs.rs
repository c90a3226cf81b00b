//! What is in the image, and the layer of it: an uncompressed tar whose bytes depend on the content alone.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};

use super::{Arch, Source, sbom};
use crate::parts::{self, Part};

/// Nobody has a shell, because there is none.
const PASSWD: &str = "root:x:0:0:root:/:/podiam\npodiam:x:65532:65532:podiam:/:/podiam\n";
const GROUP: &str = "root:x:0:\npodiam:x:65532:\n";

/// What is at a path.
enum Entry {
    Folder,
    File(Vec<u8>),
    Program(Vec<u8>),
    Link(&'static str),
}

/// The layer.
pub(super) fn layer(arch: Arch, source: &Source, binary: &[u8]) -> Result<Vec<u8>> {
    let root = |name: &str| {
        let path = crate::workspace().join(name);
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    // In the order of their paths; a folder comes before what is in it.
    let entries = [
        ("etc", Entry::Folder),
        ("etc/group", Entry::File(GROUP.into())),
        ("etc/passwd", Entry::File(PASSWD.into())),
        ("etc/ssl", Entry::Folder),
        ("etc/ssl/certs", Entry::Folder),
        ("etc/ssl/certs/ca-certificates.crt", Entry::File(roots()?)),
        // Started by this name it behaves as `podiam agent`.
        ("kube2iam", Entry::Link("podiam")),
        ("podiam", Entry::Program(binary.to_vec())),
        ("usr", Entry::Folder),
        ("usr/share", Entry::Folder),
        ("usr/share/doc", Entry::Folder),
        ("usr/share/doc/podiam", Entry::Folder),
        (
            "usr/share/doc/podiam/LICENSE-APACHE",
            Entry::File(root("LICENSE-APACHE")?),
        ),
        (
            "usr/share/doc/podiam/LICENSE-MIT",
            Entry::File(root("LICENSE-MIT")?),
        ),
        (
            "usr/share/doc/podiam/sbom.cdx.json",
            Entry::File(sbom::make(arch, source)?),
        ),
    ];
    let mut layer = Builder::new(Vec::new());
    for (path, entry) in entries {
        append(&mut layer, path, entry, source.seconds)?;
    }
    Ok(layer.into_inner()?)
}

fn append(tar: &mut Builder<Vec<u8>>, path: &str, entry: Entry, seconds: u64) -> Result<()> {
    let (kind, mode, content, target) = match entry {
        Entry::Folder => (EntryType::Directory, 0o755, Vec::new(), None),
        Entry::File(content) => (EntryType::Regular, 0o644, content, None),
        Entry::Program(content) => (EntryType::Regular, 0o755, content, None),
        Entry::Link(target) => (EntryType::Symlink, 0o777, Vec::new(), Some(target)),
    };
    let mut header = header(path, mode, content.len() as u64, seconds)?;
    header.set_entry_type(kind);
    if let Some(target) = target {
        header.set_link_name(target)?;
    }
    header.set_cksum();
    tar.append(&header, content.as_slice())?;
    Ok(())
}

/// A header with nothing of this machine in it: owner root, the time given.
pub(super) fn header(path: &str, mode: u32, size: u64, seconds: u64) -> Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(path)?;
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(seconds);
    header.set_size(size);
    Ok(header)
}

/// Mozilla's root certificates, as the pinned Python package certifi has them: the same on every machine that builds.
fn roots() -> Result<Vec<u8>> {
    let library = Part::Python.folder(&parts::cache()?).join("lib");
    let file = find(&library).with_context(|| format!("no certifi below {}", library.display()))?;
    std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
}

fn find(library: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(library).ok()?;
    versions
        .filter_map(Result::ok)
        .map(|version| version.path().join("site-packages/certifi/cacert.pem"))
        .find(|file| file.exists())
}
