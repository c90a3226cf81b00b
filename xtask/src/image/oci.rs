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
pub(crate) fn sha256(bytes: &[u8]) -> String {
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

/// Images of several processors behind one index, which is itself what the layout names. Without Docker's manifest, which
/// knows one processor only.
pub(super) fn join(images: &[&Image], source: &Source) -> Result<Image> {
    let mut files = BTreeMap::new();
    let mut manifests = Vec::new();
    for image in images {
        let index: Value = serde_json::from_slice(&image.files["index.json"])?;
        let mut manifest = index["manifests"][0].clone();
        if let Some(described) = manifest.as_object_mut() {
            described.remove("annotations");
        }
        manifests.push(manifest);
        let blobs = image
            .files
            .iter()
            .filter(|(path, _)| path.starts_with("blobs/"));
        files.extend(blobs.map(|(path, content)| (path.clone(), content.clone())));
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
        "annotations": labels(source),
    });
    let index = index.to_string().into_bytes();
    let digest = sha256(&index);
    let outer = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": format!("sha256:{digest}"),
            "size": index.len(),
            "annotations": {
                "org.opencontainers.image.ref.name": source.version,
                "io.containerd.image.name": format!("docker.io/library/podiam:{}", source.version),
            },
        }],
    });
    files.insert(format!("blobs/sha256/{digest}"), index);
    files.insert("index.json".into(), outer.to_string().into_bytes());
    files.insert(
        "oci-layout".into(),
        json!({"imageLayoutVersion": "1.0.0"})
            .to_string()
            .into_bytes(),
    );
    Ok(Image {
        files,
        manifest: digest,
        layer_bytes: images.iter().map(|image| image.layer_bytes).sum(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_one_index_each_processor_finds_its_own_manifest_and_layer() {
        let source = Source {
            version: "1.2.3",
            commit: "c".into(),
            seconds: 1_700_000_000,
            date: "2023-11-14T22:13:20Z".into(),
        };
        let intel = pack(Arch::Amd64, &source, b"the layer of one").unwrap();
        let arm = pack(Arch::Arm64, &source, b"the layer of the other").unwrap();
        let joined = join(&[&intel, &arm], &source).unwrap();

        let blob = |described: &Value| -> Value {
            let digest = described["digest"]
                .as_str()
                .unwrap()
                .strip_prefix("sha256:")
                .unwrap();
            let content = &joined.files[&format!("blobs/sha256/{digest}")];
            assert_eq!(sha256(content), digest);
            assert_eq!(described["size"], content.len());
            serde_json::from_slice(content).unwrap()
        };
        let outer: Value = serde_json::from_slice(&joined.files["index.json"]).unwrap();
        let index = blob(&outer["manifests"][0]);
        let manifests = index["manifests"].as_array().unwrap();
        let found: Vec<&str> = manifests
            .iter()
            .map(|it| it["platform"]["architecture"].as_str().unwrap())
            .collect();
        assert_eq!(found, ["amd64", "arm64"]);
        for described in manifests {
            let manifest = blob(described);
            let config = blob(&manifest["config"]);
            assert_eq!(
                config["architecture"],
                described["platform"]["architecture"]
            );
            let layer = manifest["layers"][0]["digest"].as_str().unwrap();
            let path = format!("blobs/sha256/{}", layer.strip_prefix("sha256:").unwrap());
            assert!(joined.files.contains_key(&path), "{layer}");
        }
        assert!(!joined.files.contains_key("manifest.json"));
    }
}
