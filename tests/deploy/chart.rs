//! The chart as Helm renders it, and where in its objects the tests look.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::apiserver::Cluster;
use crate::support::parts::{Part, program};

/// The namespace that it is rendered for.
pub(crate) const NAMESPACE: &str = "kube-system";
/// The name of the release, and so of every object.
pub(crate) const RELEASE: &str = "podiam";

/// The chart's folder.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/helm/podiam")
}

/// The objects of a release.
pub(crate) struct Rendered(pub(crate) Vec<Value>);

/// The chart with these values, which it must take.
pub(crate) fn render(values: &Value) -> Rendered {
    render_as(RELEASE, NAMESPACE, values)
}

/// The same under another name and in another namespace.
pub(crate) fn render_as(release: &str, namespace: &str, values: &Value) -> Rendered {
    let output = helm_in(namespace, &["template", release], values);
    assert!(
        output.status.success(),
        "{values}: {}",
        text(&output.stderr)
    );
    Rendered(serde_saphyr::from_multiple(&text(&output.stdout)).unwrap())
}

/// Why the chart refuses these values.
pub(crate) fn refuse(values: &Value) -> String {
    let output = helm(&["template", RELEASE], values);
    assert!(!output.status.success(), "{values} is taken");
    text(&output.stderr)
}

/// What a person reads after the installation. Helm asks the cluster for its version only.
pub(crate) fn notes(cluster: &Cluster, values: &Value) -> String {
    let printed = helm_at(cluster, &["install", RELEASE, "--dry-run=client"], values);
    let (_, notes) = printed.split_once("NOTES:\n").expect("notes");
    notes.to_owned()
}

/// Runs Helm with a cluster, which must go well, and returns what it prints.
pub(crate) fn helm_at(cluster: &Cluster, words: &[&str], values: &Value) -> String {
    let kubeconfig = cluster.admin_kubeconfig();
    let mut words = words.to_vec();
    words.extend(["--kubeconfig", kubeconfig.to_str().unwrap()]);
    let output = helm(&words, values);
    assert!(
        output.status.success(),
        "{words:?} {values}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// `helm uninstall`, which knows neither chart nor values.
pub(crate) fn uninstall(release: &str, kubeconfig: &Path) {
    let output = Command::new(program(Part::Helm))
        .args([
            "uninstall",
            release,
            "--namespace",
            NAMESPACE,
            "--kubeconfig",
        ])
        .arg(kubeconfig)
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// `helm lint`, which must find nothing.
pub(crate) fn lint(values: &Value) {
    let output = helm(&["lint", "--strict"], values);
    assert!(
        output.status.success(),
        "{values}: {}",
        text(&output.stdout)
    );
}

/// Runs Helm with nothing of the developer's own.
fn helm(words: &[&str], values: &Value) -> Output {
    helm_in(NAMESPACE, words, values)
}

fn helm_in(namespace: &str, words: &[&str], values: &Value) -> Output {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("values.json");
    std::fs::write(&file, values.to_string()).unwrap();
    Command::new(program(Part::Helm))
        .args(words)
        .arg(folder())
        .args(["--namespace", namespace, "--values"])
        .arg(file)
        .env_clear()
        .env("HOME", home.path())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

impl Rendered {
    /// The kinds of its objects, in their order.
    pub(crate) fn kinds(&self) -> Vec<&str> {
        self.0
            .iter()
            .filter_map(|object| object["kind"].as_str())
            .collect()
    }

    /// The only object of a kind.
    pub(crate) fn only(&self, kind: &str) -> &Value {
        let mut all = self.0.iter().filter(|object| object["kind"] == kind);
        let first = all
            .next()
            .unwrap_or_else(|| panic!("no {kind} in {:?}", self.kinds()));
        assert!(all.next().is_none(), "more than one {kind}");
        first
    }

    /// The pod's spec.
    pub(crate) fn pod(&self) -> &Value {
        &self.only("DaemonSet")["spec"]["template"]["spec"]
    }

    /// The agent's container.
    pub(crate) fn agent(&self) -> &Value {
        &self.pod()["containers"][0]
    }

    /// The arguments of the agent.
    pub(crate) fn args(&self) -> Vec<&str> {
        let args = self.agent()["args"].as_array().unwrap();
        args.iter().map(|arg| arg.as_str().unwrap()).collect()
    }

    /// The value of an environment variable as it is written there.
    pub(crate) fn env(&self, name: &str) -> &Value {
        let env = self.agent()["env"].as_array().unwrap();
        let variable = env.iter().find(|variable| variable["name"] == name);
        variable.unwrap_or(&Value::Null)
    }
}
