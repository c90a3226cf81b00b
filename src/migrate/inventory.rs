//! What is in the objects that were read: the installation that is to be replaced, the workloads that want roles, and
//! their namespaces. Called by the module's root; judges nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::read::Input;

/// What is migrated from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// jtblin/kube2iam.
    Kube2iam,
    /// uswitch/kiam.
    Kiam,
}

impl Origin {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kube2iam => "kube2iam",
            Self::Kiam => "kiam",
        }
    }
}

/// An installation: chart values, or a container that runs.
#[derive(Clone, Debug)]
pub(super) struct Installation {
    pub(super) from: Origin,
    /// The file or request.
    pub(super) place: String,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// Values of its Helm chart.
    Values(Value),
    /// A controller (or a pod), with the container's command and arguments.
    Object(Box<Running>),
}

/// A container of an installation, and the pod around it.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// The controller's spec; for its update strategy.
    pub(super) spec: Value,
    /// The pod's spec.
    pub(super) pod: Value,
    pub(super) container: Value,
    /// Command and arguments, the program first.
    pub(super) words: Vec<String>,
}

/// A pod, or the template of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) account: String,
    pub(super) host_network: bool,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Workload {
    pub(super) fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Inventory {
    pub(super) installations: Vec<Installation>,
    pub(super) workloads: Vec<Workload>,
    /// Annotations by the namespace's name.
    pub(super) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Documents that are neither.
    pub(super) other_values: Vec<String>,
    pub(super) templates: Vec<String>,
}

/// Kinds that make pods of a template.
const CONTROLLERS: [&str; 6] = [
    "Deployment",
    "DaemonSet",
    "StatefulSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
];

impl Inventory {
    pub(super) fn of(input: &Input) -> Self {
        let mut found = Self {
            templates: input.templates.clone(),
            ..Self::default()
        };
        for (place, values) in &input.values {
            found.values(place, values);
        }
        for (place, object) in &input.objects {
            found.object(place, object);
        }
        found.drop_pods_of_controllers(input);
        found.workloads.sort_by_key(Workload::title);
        found.workloads.dedup();
        found
    }

    fn values(&mut self, place: &str, values: &Value) {
        // A chart that has the other as its dependency has the values below its name.
        let below = |name: &str| values.get(name).filter(|values| values.is_object());
        let (from, values) = if let Some(values) = below("kube2iam") {
            (Origin::Kube2iam, values)
        } else if let Some(values) = below("kiam") {
            (Origin::Kiam, values)
        } else if below("agent").is_some() || below("server").is_some() {
            (Origin::Kiam, values)
        } else if below("host").is_some() || below("extraArgs").is_some() {
            (Origin::Kube2iam, values)
        } else {
            self.other_values.push(place.to_owned());
            return;
        };
        self.installations.push(Installation {
            from,
            place: place.to_owned(),
            what: What::Values(values.clone()),
        });
    }

    fn object(&mut self, place: &str, object: &Value) {
        let kind = object["kind"].as_str().unwrap_or_default();
        let metadata = &object["metadata"];
        let name = text(&metadata["name"]);
        if kind == "Namespace" {
            self.namespaces.insert(name, annotations(metadata));
            return;
        }
        let template = match kind {
            "Pod" => object,
            "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
            kind if CONTROLLERS.contains(&kind) => &object["spec"]["template"],
            _ => return,
        };
        let phase = object["status"]["phase"].as_str();
        if kind == "Pod" && matches!(phase, Some("Succeeded" | "Failed")) {
            return;
        }
        let namespace = namespace(metadata);
        let pod = &template["spec"];
        if let Some(running) = running(kind, &namespace, &name, object, pod) {
            self.installations.push(Installation {
                from: running.0,
                place: place.to_owned(),
                what: What::Object(Box::new(running.1)),
            });
            return;
        }
        self.workloads.push(Workload {
            kind: kind.to_owned(),
            namespace,
            name,
            account: pod["serviceAccountName"]
                .as_str()
                .or_else(|| pod["serviceAccount"].as_str())
                .unwrap_or("default")
                .to_owned(),
            host_network: pod["hostNetwork"] == true,
            annotations: annotations(&template["metadata"]),
        });
    }

    /// A pod, a `ReplicaSet` or a `Job` says nothing more than its controller, where that was read too; and pods that run an
    /// installation less than its controller.
    fn drop_pods_of_controllers(&mut self, input: &Input) {
        let controllers: BTreeSet<(String, String, String)> = input
            .objects
            .iter()
            .map(|(_, object)| {
                key(
                    object["kind"].as_str().unwrap_or_default(),
                    &object["metadata"],
                    None,
                )
            })
            .collect();
        let owned: BTreeSet<(String, String, String)> = input
            .objects
            .iter()
            .filter(|(_, object)| {
                let metadata = &object["metadata"];
                let owners = metadata["ownerReferences"].as_array();
                owners.into_iter().flatten().any(|owner| {
                    let kind = owner["kind"].as_str().unwrap_or_default();
                    controllers.contains(&key(kind, metadata, owner["name"].as_str()))
                })
            })
            .map(|(_, object)| {
                key(
                    object["kind"].as_str().unwrap_or_default(),
                    &object["metadata"],
                    None,
                )
            })
            .collect();
        let is_owned = |kind: &str, namespace: &str, name: &str| {
            owned.contains(&(kind.to_owned(), namespace.to_owned(), name.to_owned()))
        };
        self.workloads
            .retain(|one| !is_owned(&one.kind, &one.namespace, &one.name));
        self.installations.retain(|one| match &one.what {
            What::Object(one) => !is_owned(&one.kind, &one.namespace, &one.name),
            What::Values(_) => true,
        });
    }
}

fn key(kind: &str, metadata: &Value, name: Option<&str>) -> (String, String, String) {
    let name = name.map_or_else(|| text(&metadata["name"]), str::to_owned);
    (kind.to_owned(), namespace(metadata), name)
}

fn namespace(metadata: &Value) -> String {
    metadata["namespace"]
        .as_str()
        .unwrap_or("default")
        .to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn annotations(metadata: &Value) -> BTreeMap<String, String> {
    let annotations = metadata["annotations"].as_object();
    annotations
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The container of kube2iam or kiam in a pod, if it is there.
fn running(
    kind: &str,
    namespace: &str,
    name: &str,
    object: &Value,
    pod: &Value,
) -> Option<(Origin, Running)> {
    let containers = pod["containers"].as_array()?;
    containers.iter().find_map(|container| {
        let words: Vec<String> = ["command", "args"]
            .into_iter()
            .flat_map(|part| container[part].as_array().into_iter().flatten())
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect();
        let from = program(container["image"].as_str().unwrap_or_default(), &words)?;
        let running = Running {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            spec: object["spec"].clone(),
            pod: pod.clone(),
            container: container.clone(),
            words,
        };
        Some((from, running))
    })
}

/// By the image's name or the program's.
fn program(image: &str, words: &[String]) -> Option<Origin> {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let image = last(image);
    let image = image.split([':', '@']).next().unwrap_or_default();
    let first = last(words.first().map_or("", String::as_str));
    [Origin::Kube2iam, Origin::Kiam]
        .into_iter()
        .find(|from| image == from.name() || first == from.name())
}
