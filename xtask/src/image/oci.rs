//! The image around the layer: an OCI layout, and the same as one archive. The archive has Docker's manifest too, so that
//! `ctr images import`, `docker load`, `podman load` and `skopeo` all take it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::{Builder, EntryType};

use super::rootfs::header;
use super::{Arch, Source};

/// An image: its files by their path in the layout.
pub(super) struct Image {
    files: BTreeMap<String, Vec<u8>>,
    manifest: String,
    layer_bytes: u64,
    seconds: u64,
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    let digits = digest
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Packs a layer (a tar) into an image.
pub(super) fn pack(arch: Arch, source: &Source, layer: &[u8]) -> Result<Image> {
    // No name and no time in the header of gzip.
    let mut gzip = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    gzip.write_all(layer)?;
    let compressed = gzip.finish()?;
    let layer_bytes = compressed.len() as u64;

    let mut files = BTreeMap::new();
    let mut blob = |kind: &str, content: Vec<u8>| {
        let digest = sha256(&content);
        let described =
            json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": content.len()});
        files.insert(format!("blobs/sha256/{digest}"), content);
        (described, digest)
    };
    let config = config(arch, source, &sha256(layer));
    let (config, config_digest) = blob(
        "application/vnd.oci.image.config.v1+json",
        config.to_string().into_bytes(),
    );
    let (layer, layer_digest) = blob("application/vnd.oci.image.layer.v1.tar+gzip", compressed);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
        "annotations": labels(source),
    });
    let (mut manifest, manifest_digest) = blob(
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string().into_bytes(),
    );
    manifest["platform"] = json!({"architecture": arch.name(), "os": "linux"});
    let name = format!("podiam:{}", source.version);
    manifest["annotations"] = json!({
        "org.opencontainers.image.ref.name": source.version,
        "io.containerd.image.name": format!("docker.io/library/{name}"),
    });
    let text = |value: Value| value.to_string().into_bytes();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    files.insert("index.json".into(), text(index));
    files.insert(
        "oci-layout".into(),
        text(json!({"imageLayoutVersion": "1.0.0"})),
    );
    let docker = json!([{
        "Config": format!("blobs/sha256/{config_digest}"),
        "RepoTags": [name],
        "Layers": [format!("blobs/sha256/{layer_digest}")],
    }]);
    files.insert("manifest.json".into(), text(docker));
    Ok(Image {
        files,
        manifest: manifest_digest,
        layer_bytes,
        seconds: source.seconds,
    })
}

fn config(arch: Arch, source: &Source, layer: &str) -> Value {
    json!({
        "architecture": arch.name(),
        "os": "linux",
        "created": source.date,
        "config": {
            // Root: the kernel gives NET_ADMIN to nobody else. The chart takes every other right away.
            "User": "0:0",
            "Entrypoint": ["/podiam"],
            "WorkingDir": "/",
            "Labels": labels(source),
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        "history": [{"created": source.date, "created_by": "cargo xtask image"}],
    })
}

fn labels(source: &Source) -> Value {
    json!({
        "org.opencontainers.image.title": "podiam",
        "org.opencontainers.image.description": "Per-pod AWS IAM roles for Kubernetes",
        "org.opencontainers.image.version": source.version,
        "org.opencontainers.image.revision": source.commit,
        "org.opencontainers.image.created": source.date,
        "org.opencontainers.image.licenses": "Apache-2.0 OR MIT",
        "org.opencontainers.image.source": "https://github.com/podiam/podiam",
    })
}

impl Image {
    /// The size of the layer as it is pulled, in bytes.
    pub(super) fn layer_bytes(&self) -> u64 {
        self.layer_bytes
    }

    /// The digest of the manifest, by which the image can be pinned.
    pub(super) fn digest(&self) -> String {
        format!("sha256:{}", self.manifest)
    }

    /// Writes the layout into a folder `name`, and the archive beside it, whose path is returned.
    pub(super) fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let layout = folder.join(name);
        if layout.exists() {
            fs::remove_dir_all(&layout).context("cannot remove the image of before")?;
        }
        for (path, content) in &self.files {
            let path = layout.join(path);
            fs::create_dir_all(path.parent().unwrap_or(&layout))?;
            fs::write(&path, content)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let archive = folder.join(format!("{name}.oci.tar"));
        fs::write(&archive, self.archive()?)
            .with_context(|| format!("cannot write {}", archive.display()))?;
        Ok(archive)
    }

    /// The layout as one tar.
    pub(super) fn archive(&self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for folder in ["blobs/", "blobs/sha256/"] {
            let mut header = header(folder, 0o755, 0, self.seconds)?;
            header.set_entry_type(EntryType::Directory);
            header.set_cksum();
            tar.append(&header, std::io::empty())?;
        }
        for (path, content) in &self.files {
            let mut header = header(path, 0o644, content.len() as u64, self.seconds)?;
            header.set_cksum();
            tar.append(&header, content.as_slice())?;
        }
        Ok(tar.into_inner()?)
    }
}
