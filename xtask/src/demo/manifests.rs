//! The pods of `examples/manifests`, as far as the demo must know them: to make their namespaces and to say what the
//! agent should do with them. The agent reads the same files by itself.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// A pod of the manifests.
pub(super) struct Subject {
    /// `namespace/name`.
    pub(super) who: String,
    pub(super) address: Ipv4Addr,
    /// The annotation's value: path and name.
    pub(super) role: Option<String>,
    pub(super) external_id: Option<String>,
}

#[derive(Deserialize)]
struct Object {
    kind: String,
    metadata: Metadata,
    status: Option<Status>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(rename = "podIP")]
    pod_ip: Ipv4Addr,
}

/// Reads every pod of the folder, by address.
pub(super) fn read(folder: &Path) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let objects: Vec<Object> =
            serde_saphyr::from_multiple(&text).with_context(|| path.display().to_string())?;
        subjects.extend(objects.into_iter().filter_map(subject));
    }
    subjects.sort_by_key(|subject| subject.address);
    Ok(subjects)
}

fn subject(object: Object) -> Option<Subject> {
    let Object {
        kind,
        metadata:
            Metadata {
                name,
                namespace,
                mut annotations,
            },
        status,
    } = object;
    (kind == "Pod").then_some(Subject {
        who: format!("{namespace}/{name}"),
        address: status?.pod_ip,
        role: annotations.remove("iam.amazonaws.com/role"),
        external_id: annotations.remove("iam.amazonaws.com/external-id"),
    })
}
