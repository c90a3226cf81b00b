//! Manifests: ordinary Kubernetes YAML or JSON, several documents to a file, read into workloads and namespaces.
//!
//! Read are `Pod`, `Namespace` and lists of them; other kinds are skipped. What a cluster would have filled in:
//! - no namespace is `default`, no phase is running (only `Succeeded` and `Failed` say otherwise);
//! - no UID is `manifest:NAMESPACE/NAME`: the same pod in whatever file, before and after a restart;
//! - a namespace that a pod is in exists, without annotations, if no manifest says more of it;
//! - with `--node`, a pod without `spec.nodeName` is on that node.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_saphyr::{Options, Spanned};
use thiserror::Error;

use crate::watch::objects::{self, ObjectError};
use crate::workload::{AnnotationKeys, Namespace, Workload};

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

/// What is wrong with a manifest, and where. Empty documents are not counted.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{file}, document {document}{}: {problem}", line.map(|line| format!(" (line {line})")).unwrap_or_default())]
pub(super) struct ManifestError {
    file: String,
    /// From 1.
    document: usize,
    /// Where the object begins; a syntax error says by itself where it is.
    line: Option<u64>,
    problem: Problem,
}

#[derive(Debug, PartialEq, Eq, Error)]
enum Problem {
    #[error("{0}")]
    Syntax(String),
    #[error("kind is missing: this is no Kubernetes manifest")]
    NoKind,
    #[error("{0}")]
    Field(String),
    #[error("{0}")]
    Object(#[from] ObjectError),
    #[error("metadata.{field}: {value:?} is not a name that Kubernetes allows")]
    Name { field: &'static str, value: String },
    #[error("the {kind} {name:?} is in {first} already")]
    Twice {
        kind: &'static str,
        name: String,
        first: String,
    },
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

/// Where an object stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    document: usize,
    line: u64,
}

impl Place<'_> {
    fn error(self, problem: impl Into<Problem>) -> ManifestError {
        ManifestError {
            file: self.file.to_owned(),
            document: self.document,
            line: Some(self.line),
            problem: problem.into(),
        }
    }
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
            .get_or_insert_with(|| "default".into())
            .clone();
        metadata
            .uid
            .get_or_insert_with(|| format!("manifest:{namespace}/{name}"));

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

    /// Adds the namespaces that are only implied.
    fn finish(self) -> Manifests {
        let mut manifests = self.manifests;
        for pod in &manifests.pods {
            if manifests
                .namespaces
                .iter()
                .all(|known| known.name != pod.namespace)
            {
                let name = Arc::clone(&pod.namespace);
                manifests.namespaces.push(Namespace {
                    name,
                    allowed_roles: None,
                });
            }
        }
        manifests
    }
}

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
mod tests {
    use super::*;
    use crate::watch::objects::test_keys;
    use crate::workload::PodUid;

    fn read_files(files: &[(&str, &str)], node: Option<&str>) -> Result<Manifests, String> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(file, text)| Source {
                file: (*file).into(),
                text: (*text).into(),
            })
            .collect();
        read(&sources, node, &test_keys()).map_err(|error| error.to_string())
    }

    fn read_text(text: &str) -> Result<Manifests, String> {
        read_files(&[("pods.yaml", text)], None)
    }

    #[test]
    fn documents_of_several_kinds_in_one_file_are_read_and_others_skipped() {
        let manifests = read_text(
            "\
# A tutorial's manifest
---
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  annotations: {iam.amazonaws.com/allowed-roles: '[\"reader\"]'}
---
---
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  uid: 5f0c
  creationTimestamp: 2026-01-02T03:04:05Z
  annotations: {iam.amazonaws.com/role: reader}
spec: {serviceAccountName: web, containers: [{name: c, image: x}]}
status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: '2001:db8::1'}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
apiVersion: v1
kind: ConfigMap
data: {spec: x}
",
        )
        .unwrap();
        let [pod] = manifests.pods.as_slice() else {
            panic!("{manifests:?}")
        };
        assert_eq!(pod.uid, PodUid::new("5f0c"));
        assert_eq!((&*pod.namespace, &*pod.name), ("shop", "web"));
        assert_eq!(pod.annotations.role.as_deref(), Some("reader"));
        assert_eq!(pod.addresses.len(), 2);
        assert_eq!(
            manifests.namespaces,
            [Namespace {
                name: "shop".into(),
                allowed_roles: Some("[\"reader\"]".into())
            }]
        );
        let skipped: Vec<_> = manifests
            .skipped
            .iter()
            .map(|one| (one.document, &*one.kind, one.makes_pods))
            .collect();
        assert_eq!(skipped, [(3, "Deployment", true), (4, "ConfigMap", false)]);
    }

    #[test]
    fn what_a_cluster_would_have_filled_in_has_a_default() {
        let manifests =
            read_text("kind: Pod\nmetadata: {name: web, creationTimestamp: null}\n").unwrap();
        let [pod] = manifests.pods.as_slice() else {
            panic!("{manifests:?}")
        };
        assert_eq!(pod.uid.as_str(), "manifest:default/web");
        assert_eq!(&*pod.namespace, "default");
        assert!(!pod.terminal && !pod.host_network && pod.addresses.is_empty());
        assert_eq!(
            manifests.namespaces,
            [Namespace {
                name: "default".into(),
                allowed_roles: None
            }]
        );
    }

    #[test]
    fn lists_are_read_in_yaml_and_json_whether_or_not_their_items_say_what_they_are() {
        for list in [
            "kind: List\nitems:\n- kind: Pod\n  metadata: {name: a}\n- kind: Namespace\n  metadata: {name: default}\n",
            "kind: PodList\nitems:\n- metadata: {name: a}\n",
            "{\n\t\"kind\": \"List\",\n\t\"items\": [{\"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}}]\n}\n",
        ] {
            let manifests = read_text(list).unwrap();
            assert_eq!(manifests.pods.len(), 1, "{list}");
            assert_eq!(manifests.namespaces.len(), 1, "{list}");
        }
        assert_eq!(
            read_text("kind: PodList\nitems: []\n").unwrap(),
            Manifests::default()
        );
    }

    #[test]
    fn an_error_names_file_document_line_and_field() {
        let good = "kind: Pod\nmetadata: {name: a}\n---\n";
        for (text, expected) in [
            (
                "kind: Pod\nmetadata: {name: b}\nspec: {hostNetwork: maybe}\n",
                "pods.yaml, document 2 (line 4): spec.hostNetwork: invalid type: string \"maybe\", expected a boolean",
            ),
            (
                "kind: List\nitems:\n- kind: Pod\n  metadata: {name: b}\n- kind: Pod\n  metadata: {name: c, annotations: {k: 1}}\n",
                "pods.yaml, document 2 (line 8): metadata.annotations.k: invalid type: integer `1`, expected a string",
            ),
            (
                "kind: Pod\nmetadata: {name: b}\nstatus: {podIP: 10.0.0.256}\n",
                "pods.yaml, document 2 (line 4): status.podIPs: \"10.0.0.256\" is not an IP address",
            ),
            (
                "kind: Pod\n",
                "pods.yaml, document 2 (line 4): metadata.name is missing",
            ),
            (
                "kind: Pod\nmetadata: {name: \"b\\nc\"}\n",
                "pods.yaml, document 2 (line 4): metadata.name: \"b\\nc\" is not a name that Kubernetes allows",
            ),
            (
                "replicas: 2\n",
                "pods.yaml, document 2 (line 4): kind is missing: this is no Kubernetes manifest",
            ),
            (
                "kind: Pod\nmetadata: {name: [b}\n",
                "pods.yaml, document 2: ",
            ),
            (
                "kind: Pod\nmetadata: {name: a}\n",
                "pods.yaml, document 2 (line 4): the Pod \"default/a\" is in pods.yaml, document 1 (line 1) already",
            ),
        ] {
            let error = read_text(&format!("{good}{text}")).unwrap_err();
            assert!(error.starts_with(expected), "{error:?} is not {expected:?}");
            assert!(!error.contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn a_syntax_error_says_its_line() {
        let error = read_text("kind: Pod\nmetadata: {name: a}\n---\nkind: 'x\n").unwrap_err();
        assert_eq!(
            error,
            "pods.yaml, document 2: unclosed quote at line 4, column 7"
        );
    }

    #[test]
    fn two_pods_cannot_have_one_uid() {
        let files = [
            ("a.yaml", "kind: Pod\nmetadata: {name: a, uid: u}\n"),
            ("b.yaml", "kind: Pod\nmetadata: {name: b, uid: u}\n"),
        ];
        let error = read_files(&files, None).unwrap_err();
        assert_eq!(
            error,
            "b.yaml, document 1 (line 1): the UID \"u\" is in a.yaml, document 1 (line 1) already"
        );
    }

    #[test]
    fn with_a_node_only_its_own_pods_and_those_of_no_node_are_kept() {
        let text = "\
kind: Pod
metadata: {name: here}
spec: {nodeName: node-1}
---
kind: Pod
metadata: {name: there}
spec: {nodeName: node-2}
---
kind: Pod
metadata: {name: anywhere}
";
        let names = |node| {
            let manifests = read_files(&[("pods.yaml", text)], node).unwrap();
            manifests
                .pods
                .iter()
                .map(|pod| pod.name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(Some("node-1")), ["here", "anywhere"]);
        assert_eq!(names(None), ["here", "there", "anywhere"]);
    }

    #[test]
    fn a_dump_of_a_large_cluster_is_read() {
        let item = |n: usize| format!("- {{kind: Pod, metadata: {{name: p{n}}}}}\n");
        let items: String = (0..45_000).map(item).collect();
        let manifests = read_text(&format!("kind: List\nitems:\n{items}")).unwrap();
        assert_eq!(manifests.pods.len(), 45_000);
    }
}
