//! Values of podiam's chart in the making, and what is told about them: what `kube2iam` and `kiam` have in common.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::inventory::{Running, What};
use super::report::Change;

/// The pods' port of the old agent where nothing else is said, and podiam's.
pub(super) const PORT: u16 = 8181;
/// podiam's port of metrics.
const METRICS_PORT: u16 = 9181;

/// Interfaces that pods share: Docker's, kubenet's, the CNI plugin bridge's and flannel's, kube-router's, Weave's.
const BRIDGES: [&str; 5] = ["docker0", "cbr0", "cni0", "kube-bridge", "weave"];

/// What was read of the old installation, as far as the plan needs it.
#[derive(Clone, Debug)]
pub(super) struct Old {
    /// The pods' port.
    pub(super) port: u16,
    /// `-i` of its iptables rule.
    pub(super) interface: String,
    /// Whether it adds that rule itself.
    pub(super) iptables: bool,
    /// What has to be taken away at the end.
    pub(super) remove: Vec<String>,
    /// What brings it back.
    pub(super) restore: Vec<String>,
}

/// The values, and what is to be said of them.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// `extraArgs`.
    pub(super) flags: BTreeMap<String, Value>,
    /// The rest.
    pub(super) values: Map<String, Value>,
    pub(super) unchanged: Vec<String>,
    pub(super) changes: Vec<Change>,
    pub(super) old: Old,
}

impl Draft {
    pub(super) fn new(interface: &str) -> Self {
        Self {
            flags: BTreeMap::new(),
            values: Map::new(),
            unchanged: Vec::new(),
            changes: Vec::new(),
            old: Old {
                port: PORT,
                interface: interface.to_owned(),
                iptables: false,
                remove: Vec::new(),
                restore: Vec::new(),
            },
        }
    }

    pub(super) fn flag(&mut self, name: &str, value: impl Into<Value>) {
        self.flags.insert(name.to_owned(), value.into());
    }

    pub(super) fn change(&mut self, change: Change) {
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }

    pub(super) fn same(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.unchanged.contains(&what) {
            self.unchanged.push(what);
        }
    }

    /// Takes what both charts call alike and what a pod's spec calls so too, where it says something. Empty lists and
    /// objects are those of charts that mean "nothing": podiam's defaults are better (every taint, a priority).
    pub(super) fn take_pod(&mut self, of: &Value) {
        for key in [
            "nodeSelector",
            "affinity",
            "tolerations",
            "priorityClassName",
            "podAnnotations",
            "podLabels",
        ] {
            if says_something(&of[key]) {
                self.values.insert(key.to_owned(), of[key].clone());
            }
        }
        if says_something(&of["tolerations"]) {
            self.change(
                Change::note("tolerations", "kept as they are; podiam's own default tolerates every taint")
                    .unless("leave them out, unless nodes are meant to be without: their pods get no credentials"),
            );
        }
        let mut resources = Map::new();
        for key in ["limits", "requests"] {
            if says_something(&of["resources"][key]) {
                resources.insert(key.to_owned(), of["resources"][key].clone());
            }
        }
        if !resources.is_empty() {
            self.values.insert("resources".to_owned(), resources.into());
        }
    }

    /// Takes names of Secrets for pulling images.
    pub(super) fn take_pull_secrets(&mut self, secrets: &Value) {
        if says_something(secrets) && secrets.is_array() {
            self.values
                .insert("image".to_owned(), json!({ "pullSecrets": secrets }));
        }
    }

    /// Takes environment variables with plain values; secrets are referred to, never shown.
    pub(super) fn take_env(&mut self, env: &Value, own: &[&str]) {
        let mut plain = Map::new();
        for variable in env.as_array().into_iter().flatten() {
            let Some(name) = variable["name"].as_str().filter(|name| !own.contains(name)) else {
                continue;
            };
            match &variable["value"] {
                Value::String(value) if !is_secret(name) => {
                    plain.insert(name.to_owned(), value.clone().into());
                }
                _ => self.change(Change::first(
                    format!("environment variable {name}"),
                    "is not carried over: its value is a secret or comes from somewhere else",
                    "AWS keys: existingSecret names a Secret with aws_access_key_id and aws_secret_access_key; \
                     anything else: extraEnv",
                )),
            }
        }
        if !plain.is_empty() {
            self.values.insert("extraEnv".to_owned(), plain.into());
        }
    }

    /// Where pods share a bridge, podiam refuses them unless it may look into their network namespaces.
    pub(super) fn look_into_bridges(&mut self) {
        let interface = self.old.interface.clone();
        let is_bridge = BRIDGES.contains(&interface.as_str());
        if is_bridge && self.old.iptables {
            self.values
                .insert("selfTest".to_owned(), json!({ "enabled": true }));
            self.change(Change::note(
                "selfTest.enabled: true",
                format!(
                    "pods share the bridge {interface}, where an address proves nothing: podiam tells them apart by their \
                     network namespaces, and needs SYS_ADMIN and /run/netns for it (docs/identity.md)"
                ),
            ));
        } else if is_bridge || interface.is_empty() {
            self.change(
                Change::note("the pods' network", "is not known here: no rule that could tell it was found")
                    .unless("where pods share a bridge (flannel, kubenet), set selfTest.enabled: without it podiam refuses them"),
            );
        }
    }

    /// Puts podiam beside the old agent, on ports that nobody has.
    pub(super) fn place_beside(&mut self, old_metrics: Option<u16>) {
        let taken = [Some(self.old.port), old_metrics, Some(METRICS_PORT)];
        let free = |from: u16| (from..=u16::MAX).find(|port| !taken.contains(&Some(*port)));
        let port = free(PORT + 1).unwrap_or(PORT + 1);
        self.values
            .insert("host".to_owned(), json!({ "port": port }));
        self.change(Change::note(
            "the pods' port",
            format!(
                "{port} in place of {}, so that both agents can run on a node for a while. Nobody but the node's own \
                 rules and probes asks at it",
                self.old.port
            ),
        ));
        if old_metrics == Some(METRICS_PORT) {
            let metrics = METRICS_PORT + 1;
            let prometheus = self.values.entry("prometheus").or_insert_with(|| json!({}));
            prometheus["metricsPort"] = metrics.into();
        }
    }

    /// The port that podiam answers pods on.
    pub(super) fn port(&self) -> u64 {
        self.values
            .get("host")
            .and_then(|host| host["port"].as_u64())
            .unwrap_or(PORT.into())
    }

    /// podiam's port of metrics and probes.
    pub(super) fn metrics_port(&self) -> u64 {
        self.values
            .get("prometheus")
            .and_then(|prometheus| prometheus["metricsPort"].as_u64())
            .unwrap_or(METRICS_PORT.into())
    }

    /// The finished values.
    pub(super) fn finish(&self) -> Value {
        let mut values = self.values.clone();
        if !self.flags.is_empty() {
            let flags: Map<String, Value> = self.flags.clone().into_iter().collect();
            values.insert("extraArgs".to_owned(), flags.into());
        }
        values.into()
    }

    /// How the old installation is taken away, and brought back.
    pub(super) fn removal(&mut self, what: &What, release: &str) {
        let (remove, restore) = match what {
            What::Values(_) => (
                format!("helm uninstall {release} --namespace \"$NAMESPACE\""),
                format!(
                    "helm install {release} CHART --namespace \"$NAMESPACE\" --values OLD-VALUES.yaml"
                ),
            ),
            What::Object(running) => removal_of(running),
        };
        if !self.old.remove.contains(&remove) {
            self.old.remove.push(remove);
            self.old.restore.push(restore);
        }
    }
}

fn removal_of(running: &Running) -> (String, String) {
    let Running {
        kind,
        namespace,
        name,
        ..
    } = running;
    let kind = kind.to_ascii_lowercase();
    (
        format!(
            "kubectl get {kind} {name} --namespace {namespace} --output yaml > {name}.yaml\n\
             kubectl delete {kind} {name} --namespace {namespace}"
        ),
        format!("kubectl apply --filename {name}.yaml"),
    )
}

/// Neither absent nor empty.
pub(super) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["SECRET", "TOKEN", "PASSWORD", "ACCESS_KEY"]
        .into_iter()
        .any(|word| name.contains(word))
}

/// A value of a flag as text; numbers and booleans as they are written.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Flags and their values out of a container's words: `--flag=value`, `--flag value`, and switches alone. `None` as a
/// value: a switch without one.
pub(super) fn flags(
    words: &[String],
    is_switch: impl Fn(&str) -> bool,
) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else {
            continue;
        };
        if let Some((name, value)) = flag.split_once('=') {
            found.push((name.to_owned(), Some(value.to_owned())));
        } else if is_switch(flag) {
            found.push((flag.to_owned(), None));
        } else {
            found.push((flag.to_owned(), words.next().cloned()));
        }
    }
    found
}
