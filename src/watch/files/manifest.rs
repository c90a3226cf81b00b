//! Manifests: ordinary Kubernetes YAML or JSON, several documents to a file, read into workloads, namespaces and
//! service accounts.
//!
//! Read are `Pod`, `Namespace`, `ServiceAccount` and lists of them; other kinds are skipped. What a cluster would have filled in:
//! - no namespace is `default`, no phase is running (only `Succeeded` and `Failed` say otherwise);
//! - no UID is `manifest:NAMESPACE/NAME`: the same pod in whatever file, before and after a restart;
//! - a pod that names no service account runs as `default`;
//! - a namespace that a pod is in and a service account that it runs as exist, without annotations, if no manifest says
//!   more of them;
//! - with `--node`, a pod without `spec.nodeName` is on that node.

mod fault;

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_saphyr::{Options, Spanned};

use self::fault::{Place, Problem};
use crate::watch::objects;
use crate::workload::{AnnotationKeys, Namespace, ServiceAccount, Workload};

pub(super) use self::fault::ManifestError;

/// The text of one file.
pub(super) struct Source {
    pub(super) file: String,
    pub(super) text: String,
}

/// What all files together say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Manifests {
    pub(super) pods: Vec<Workload>,
    pub(super) namespaces: Vec<Namespace>,
    pub(super) service_accounts: Vec<ServiceAccount>,
    pub(super) skipped: Vec<Skipped>,
}

/// A document of a kind that is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skipped {
    pub(super) file: String,
    pub(super) document: usize,
    pub(super) kind: String,
    /// In a cluster it would make pods: its author may wonder where they are.
    pub(super) makes_pods: bool,
}

/// A document of any kind: the fields that pods, namespaces and lists have.
#[derive(Deserialize)]
struct Document {
    kind: Option<String>,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
    items: Option<Vec<Spanned<Value>>>,
}

/// Reads all of the files, or says what is wrong with the first bad document. With `node`, leaves out the pods of others.
pub(super) fn read(
    sources: &[Source],
    node: Option<&str>,
    keys: &AnnotationKeys,
) -> Result<Manifests, ManifestError> {
    let manifests = Manifests::default();
    let mut reader = Reader {
        node,
        keys,
        manifests,
        found: HashMap::new(),
    };
    for source in sources {
        reader.file(source)?;
    }
    Ok(reader.finish())
}

struct Reader<'a> {
    node: Option<&'a str>,
    keys: &'a AnnotationKeys,
    manifests: Manifests,
    /// Where each object was found, by kind and name.
    found: HashMap<(&'static str, String), String>,
}

impl Reader<'_> {
    fn file(&mut self, source: &Source) -> Result<(), ManifestError> {
        // Limits are for strangers' documents; these are the operator's, and a cluster's dump is large.
        let options: Options = serde_saphyr::options! { budget: None, with_snippet: false };
        let mut text = source.text.as_bytes();
        let documents = serde_saphyr::read_with_options::<_, Spanned<Document>>(&mut text, options);
        for (number, document) in (1..).zip(documents) {
            let document = document.map_err(|error| ManifestError {
                file: source.file.clone(),
                document: number,
                line: None,
                problem: Problem::Syntax(error.to_string()),
            })?;
            let line = document.referenced.line();
            let place = Place {
                file: &source.file,
                document: number,
                line,
            };
            self.document(place, document.value)?;
        }
        Ok(())
    }

    fn document(&mut self, place: Place<'_>, document: Document) -> Result<(), ManifestError> {
        let Document {
            kind,
            metadata,
            spec,
            status,
            items,
        } = document;
        let kind = kind.ok_or_else(|| place.error(Problem::NoKind))?;
        let Some(of) = kind.strip_suffix("List") else {
            let object = json!({ "metadata": metadata, "spec": spec, "status": status });
            return self.object(place, &kind, object);
        };
        for item in items.unwrap_or_default() {
            let place = Place {
                line: item.referenced.line(),
                ..place
            };
            // The items of a PodList need not say that they are pods.
            let own = item
                .value
                .get("kind")
                .and_then(Value::as_str)
                .map(str::to_owned);
            let kind = own
                .or_else(|| Some(of.to_owned()).filter(|of| !of.is_empty()))
                .ok_or_else(|| place.error(Problem::NoKind))?;
            self.object(place, &kind, item.value)?;
        }
        Ok(())
    }

    fn object(&mut self, place: Place<'_>, kind: &str, object: Value) -> Result<(), ManifestError> {
        match kind {
            "Pod" => self.pod(place, typed(place, object)?),
            "Namespace" => self.namespace(place, typed(place, object)?),
            "ServiceAccount" => self.service_account(place, typed(place, object)?),
            other => {
                self.manifests.skipped.push(Skipped {
                    file: place.file.to_owned(),
                    document: place.document,
                    kind: other.to_owned(),
                    makes_pods: MAKERS_OF_PODS.contains(&other),
                });
                Ok(())
            }
        }
    }

    fn pod(&mut self, place: Place<'_>, mut pod: objects::Pod) -> Result<(), ManifestError> {
        let on_node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let metadata = &mut pod.metadata;
        let name = metadata.name.clone().unwrap_or_default();
        let namespace = metadata
            .namespace
            .get_or_insert_with(|| DEFAULT.into())
            .clone();
        metadata
            .uid
            .get_or_insert_with(|| format!("manifest:{namespace}/{name}"));
        let spec = pod.spec.get_or_insert_default();
        spec.service_account_name
            .get_or_insert_with(|| DEFAULT.into());

        let pod = pod
            .into_workload(self.keys)
            .map_err(|error| place.error(error))?;
        check_name(place, "name", &pod.name)?;
        check_name(place, "namespace", &pod.namespace)?;
        self.only_once(place, "Pod", format!("{namespace}/{name}"))?;
        self.only_once(place, "UID", pod.uid.to_string())?;
        if self.node.is_none() || on_node.is_none() || on_node.as_deref() == self.node {
            self.manifests.pods.push(pod);
        }
        Ok(())
    }

    fn namespace(
        &mut self,
        place: Place<'_>,
        namespace: objects::Namespace,
    ) -> Result<(), ManifestError> {
        let namespace = namespace
            .into_namespace(self.keys)
            .map_err(|error| place.error(error))?;
        check_name(place, "name", &namespace.name)?;
        self.only_once(place, "Namespace", namespace.name.to_string())?;
        self.manifests.namespaces.push(namespace);
        Ok(())
    }

    fn service_account(
        &mut self,
        place: Place<'_>,
        mut account: objects::ServiceAccount,
    ) -> Result<(), ManifestError> {
        let namespace = &mut account.metadata.namespace;
        namespace.get_or_insert_with(|| DEFAULT.into());
        let account = account
            .into_service_account(self.keys)
            .map_err(|error| place.error(error))?;
        check_name(place, "name", &account.name)?;
        check_name(place, "namespace", &account.namespace)?;
        let name = format!("{}/{}", account.namespace, account.name);
        self.only_once(place, "ServiceAccount", name)?;
        self.manifests.service_accounts.push(account);
        Ok(())
    }

    fn only_once(
        &mut self,
        place: Place<'_>,
        kind: &'static str,
        name: String,
    ) -> Result<(), ManifestError> {
        let here = format!(
            "{}, document {} (line {})",
            place.file, place.document, place.line
        );
        match self.found.insert((kind, name.clone()), here) {
            Some(first) => Err(place.error(Problem::Twice { kind, name, first })),
            None => Ok(()),
        }
    }

    /// Adds the namespaces and service accounts that are only implied.
    fn finish(self) -> Manifests {
        let mut manifests = self.manifests;
        for pod in &manifests.pods {
            let namespaces = &mut manifests.namespaces;
            if namespaces.iter().all(|known| known.name != pod.namespace) {
                namespaces.push(Namespace {
                    name: Arc::clone(&pod.namespace),
                    ..Namespace::default()
                });
            }
            let Some(name) = &pod.service_account else {
                continue;
            };
            let accounts = &mut manifests.service_accounts;
            let is_known =
                |known: &ServiceAccount| known.name == *name && known.namespace == pod.namespace;
            if !accounts.iter().any(is_known) {
                accounts.push(ServiceAccount {
                    namespace: Arc::clone(&pod.namespace),
                    name: Arc::clone(name),
                    ..ServiceAccount::default()
                });
            }
        }
        manifests
    }
}

/// The namespace of objects, and the service account of pods, that name none.
const DEFAULT: &str = "default";

/// Kinds whose pods a cluster would make.
const MAKERS_OF_PODS: [&str; 7] = [
    "Deployment",
    "DaemonSet",
    "StatefulSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
    "CronJob",
];

/// Reads an object as what its kind says; an error names the path of the field.
fn typed<T: DeserializeOwned>(place: Place<'_>, object: Value) -> Result<T, ManifestError> {
    serde_path_to_error::deserialize(object)
        .map_err(|error| place.error(Problem::Field(error.to_string())))
}

/// A cluster checks names; here they go into logs and session names all the same.
fn check_name(place: Place<'_>, field: &'static str, name: &str) -> Result<(), ManifestError> {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
    if !name.is_empty() && name.len() <= 253 && name.bytes().all(legal) {
        return Ok(());
    }
    Err(place.error(Problem::Name {
        field,
        value: name.to_owned(),
    }))
}

#[cfg(test)]
mod tests;
