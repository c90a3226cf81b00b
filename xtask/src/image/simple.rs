//! An image of one static program, as `docker save` writes it: what a test puts into pods. It is read by
//! `ctr images import` and never published.

use anyhow::Result;
use serde_json::{Value, json};
use tar::{Builder, EntryType};

use super::oci::sha256;
use super::rootfs::header;

/// The archive of an image `name` (`repository:tag`) that holds `program` as `/NAME`, and runs it with `arguments`
/// unless told otherwise.
pub(crate) fn of_one_program(
    name: &str,
    file: &str,
    program: &[u8],
    arguments: &[&str],
) -> Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    let mut tmp = header("tmp/", 0o777, 0, 0)?;
    tmp.set_entry_type(EntryType::Directory);
    tmp.set_cksum();
    layer.append(&tmp, std::io::empty())?;
    append(&mut layer, file, 0o755, program)?;
    let layer = layer.into_inner()?;

    let digest = sha256(&layer);
    let config = json!({
        "architecture": super::check::native(),
        "os": "linux",
        "config": {"Entrypoint": [format!("/{file}")], "Cmd": arguments},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let config = config.to_string().into_bytes();
    let names = [
        format!("{}.json", sha256(&config)),
        format!("{digest}/layer.tar"),
    ];
    let manifest: Value = json!([{"Config": names[0], "RepoTags": [name], "Layers": [names[1]]}]);
    let mut archive = Builder::new(Vec::new());
    append(&mut archive, &names[0], 0o644, &config)?;
    append(&mut archive, &names[1], 0o644, &layer)?;
    append(
        &mut archive,
        "manifest.json",
        0o644,
        manifest.to_string().as_bytes(),
    )?;
    Ok(archive.into_inner()?)
}

fn append(tar: &mut Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = header(path, mode, content.len() as u64, 0)?;
    header.set_cksum();
    Ok(tar.append(&header, content)?)
}
