//! Pods and namespaces as manifests, for agents that need no cluster.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The namespace of a pod that is given no other.
pub const NAMESPACE: &str = "t";

/// A running pod at `ip`.
pub fn pod(name: &str, ip: &str) -> Manifest {
    Manifest(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": {}},
        "status": {"phase": "Running", "podIP": ip},
    }))
}

/// A namespace.
pub fn namespace(name: &str) -> Manifest {
    Manifest(json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": {}},
    }))
}

/// A Kubernetes object in the making.
#[derive(Clone)]
pub struct Manifest(Value);

impl Manifest {
    pub fn annotated(self, key: &str, value: &str) -> Self {
        self.with(&["metadata", "annotations", key], value)
    }

    /// The annotation that names the role.
    pub fn role(self, role: &str) -> Self {
        self.annotated(super::pods::ROLE, role)
    }

    pub fn in_namespace(self, namespace: &str) -> Self {
        self.with(&["metadata", "namespace"], namespace)
    }

    pub fn uid(self, uid: &str) -> Self {
        self.with(&["metadata", "uid"], uid)
    }

    pub fn created_at(self, time: &str) -> Self {
        self.with(&["metadata", "creationTimestamp"], time)
    }

    pub fn phase(self, phase: &str) -> Self {
        self.with(&["status", "phase"], phase)
    }

    /// Another address of the pod, of the other family.
    pub fn also_at(mut self, ip: &str) -> Self {
        let first = self.0["status"]["podIP"].clone();
        self.0["status"]["podIPs"] = json!([{"ip": first}, {"ip": ip}]);
        self
    }

    /// A pod in the node's network, with the node's address.
    pub fn host_network(self, ip: &str) -> Self {
        let mut pod = self.with(&["status", "podIP"], ip);
        pod.0["spec"] = json!({"hostNetwork": true});
        pod
    }

    fn with(mut self, path: &[&str], value: &str) -> Self {
        let place = path
            .iter()
            .fold(&mut self.0, |place, name| &mut place[*name]);
        *place = value.into();
        self
    }
}

/// The folder that `--workloads` names.
pub struct Folder(TempDir);

impl Folder {
    pub fn new(manifests: &[Manifest]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.replace(manifests);
        folder
    }

    /// These and no others from now on. The agent never sees half of them.
    pub fn replace(&self, manifests: &[Manifest]) {
        let items: Vec<&Value> = manifests.iter().map(|manifest| &manifest.0).collect();
        let draft = self.0.path().join(".draft");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        std::fs::write(&draft, list.to_string()).unwrap();
        std::fs::rename(draft, self.0.path().join("all.json")).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
