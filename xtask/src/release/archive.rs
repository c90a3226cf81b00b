//! Compressed archives and checksums, with nothing of this machine in them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// A `.tar.gz` that unpacks into one folder, in which everything is root's and of one time.
pub(super) struct Archive {
    name: String,
    seconds: u64,
    /// Mode and content by path.
    files: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Archive {
    pub(super) fn new(name: &str, seconds: u64) -> Self {
        Self {
            name: name.to_owned(),
            seconds,
            files: BTreeMap::new(),
        }
    }

    /// Adds a file.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let path = format!("{}/{path}", self.name);
        anyhow::ensure!(
            self.files
                .insert(path.clone(), (mode, content.to_vec()))
                .is_none(),
            "{path} twice"
        );
        Ok(())
    }

    /// Adds the files of a folder.
    pub(super) fn folder(&mut self, path: &str, from: &Path) -> Result<()> {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let name = entry.file_name();
            let content = fs::read(entry.path())?;
            self.file(
                &format!("{path}/{}", name.to_string_lossy()),
                0o644,
                &content,
            )?;
        }
        Ok(())
    }

    /// Writes it, named after its folder.
    pub(super) fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(format!("{}.tar.gz", self.name));
        fs::write(&path, pack(&self.files, self.seconds)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// A `.tar.gz` of the same files with one time for all, in the order of their names.
pub(super) fn timeless(package: &[u8], seconds: u64) -> Result<Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(GzDecoder::new(package)).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(path, (0o644, content));
    }
    pack(&files, seconds)
}

fn pack(files: &BTreeMap<String, (u32, Vec<u8>)>, seconds: u64) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (path, (mode, content)) in files {
        let mut header = Header::new_ustar();
        header.set_path(path)?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(seconds);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_slice())?;
    }
    let mut gzip = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    gzip.write_all(&tar.into_inner()?)?;
    Ok(gzip.finish()?)
}

/// Writes SHA256SUMS, as `sha256sum --check` reads it.
pub(super) fn checksums(files: &[PathBuf], folder: &Path) -> Result<PathBuf> {
    let mut lines = Vec::new();
    for file in files {
        let hex = crate::image::sha256(&fs::read(file)?);
        let name = file
            .file_name()
            .context("a file has a name")?
            .to_string_lossy();
        lines.push(format!("{hex}  {name}\n"));
    }
    let path = folder.join("SHA256SUMS");
    fs::write(&path, lines.concat())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_make_the_same_archive_whenever_and_in_whatever_order() {
        let one = |names: [&str; 2]| {
            let mut archive = Archive::new("podiam", 1_700_000_000);
            for name in names {
                archive.file(name, 0o644, name.as_bytes()).unwrap();
            }
            pack(&archive.files, archive.seconds).unwrap()
        };
        assert_eq!(one(["a", "b"]), one(["b", "a"]));
        assert_ne!(one(["a", "b"]), one(["a", "c"]));
        // Another time, the same after it was taken out.
        let later = pack(&BTreeMap::from([("a".to_owned(), (0o644, vec![1]))]), 5).unwrap();
        let sooner = pack(&BTreeMap::from([("a".to_owned(), (0o644, vec![1]))]), 4).unwrap();
        assert_ne!(later, sooner);
        assert_eq!(timeless(&later, 3).unwrap(), timeless(&sooner, 3).unwrap());
    }

    #[test]
    fn checksums_are_those_that_sha256sum_reads() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("abc");
        fs::write(&file, "abc").unwrap();
        let sums = checksums(&[file], folder.path()).unwrap();
        // The test vector of FIPS 180-2.
        assert_eq!(
            fs::read_to_string(sums).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  abc\n"
        );
    }
}
