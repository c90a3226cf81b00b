//! What the scenes play on: the running cluster, its AWS, and the pods of the scene.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use podiam_lab::aws::Aws;
use podiam_lab::netns::Namespace;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::control_plane::ControlPlane;
use super::daemon::Daemon;
use super::kubectl::Kubectl;
use super::node::{self, Boot, Node};
use super::pods::{self, Pod};
use super::wait;
use crate::report::Report;

/// Longer than anything takes on a slow machine.
pub(super) const PATIENCE: u32 = 60;

/// The running cluster.
pub(super) struct Stage {
    pub(super) kubectl: Kubectl,
    pub(super) control: ControlPlane,
    pub(super) aws: Aws,
    pub(super) _moto: Daemon,
    pub(super) node: Node,
    /// The site's network.
    pub(super) network: Namespace,
    /// The one that AWS answers on.
    pub(super) _answering: Runtime,
    /// target/e2e.
    pub(super) folder: PathBuf,
    /// The file system in memory.
    pub(super) memory: PathBuf,
    /// The scene's pods that ask all the time.
    pub(super) pods: Vec<Pod>,
    /// What was asked and what leaked in pods that are no more.
    pub(super) past: (u64, u64),
    /// How much of IMDS's log earlier scenes have judged.
    pub(super) seen: usize,
}

impl Stage {
    /// Waits until the node says that it is ready.
    pub(super) fn node_is_ready(&mut self) -> Result<()> {
        wait::until("the node", Duration::from_secs(PATIENCE.into()), || {
            self.control.check()?;
            self.node.check()?;
            self.kubectl.wait(
                "default",
                &format!("node/{}", node::NAME),
                "condition=Ready",
                2,
            )
        })
    }

    /// Takes the node's power away and gives it back; waits until its kubelet reports. The scene's pods begin a new life.
    pub(super) fn power_cycle(&mut self, how: Boot<'_>) -> Result<()> {
        let before = self.heartbeat()?;
        self.pods.clear();
        self.node.cut_power(&self.network)?;
        self.node.boot(&self.network, how)?;
        wait::until("the node", Duration::from_secs(PATIENCE.into()), || {
            self.node.check()?;
            ensure!(self.heartbeat()? != before, "it has not reported");
            Ok(())
        })?;
        self.node_is_ready()
    }

    /// When its kubelet last said how it is.
    fn heartbeat(&self) -> Result<Value> {
        let node = self.kubectl.json(&["get", "node", node::NAME])?;
        let conditions = node["status"]["conditions"].as_array().cloned();
        let ready = conditions
            .unwrap_or_default()
            .into_iter()
            .find(|condition| condition["type"] == "Ready");
        let ready = ready.context("the node has no condition Ready")?;
        Ok(ready["lastHeartbeatTime"].clone())
    }

    /// Makes a namespace whose pods may have the roles `allowed`.
    pub(super) fn namespace(&self, name: &str, allowed: &[&str]) -> Result<()> {
        let allowed = serde_json::to_string(allowed)?;
        self.kubectl.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "annotations": {"iam.amazonaws.com/allowed-roles": allowed}},
        }))?;
        // Its service account is made by a controller, a moment later.
        self.kubectl
            .wait(name, "serviceaccount/default", "create", 30)
    }

    /// What the agents are told, of which there is one.
    pub(super) fn agent_arguments(&self) -> Result<String> {
        wait::until("one agent", Duration::from_mins(1), || {
            Ok(self.agent()?["spec"]["containers"][0]["args"].to_string())
        })
    }

    /// Makes a pod that asks all the time, and waits until it runs.
    pub(super) fn pod(&mut self, namespace: &str, name: &str, role: Option<&str>) -> Result<Pod> {
        self.kubectl.apply(&pods::pod(namespace, name, role))?;
        self.running(namespace, name)
    }

    /// Waits until a pod runs; from then on its leaks are the scene's.
    pub(super) fn running(&mut self, namespace: &str, name: &str) -> Result<Pod> {
        self.kubectl.wait(
            namespace,
            &format!("pod/{name}"),
            "condition=Ready",
            PATIENCE,
        )?;
        let pod = self.kubectl.json(&["get", "pod", "-n", namespace, name])?;
        let pod = Pod::of(&pod)?;
        self.pods.retain(|other| other.name != pod.name);
        self.pods.push(pod.clone());
        Ok(pod)
    }

    /// podiam's pods.
    pub(super) fn agents(&self) -> Result<Vec<Value>> {
        let found = self.kubectl.json(&[
            "get",
            "pods",
            "-n",
            "kube-system",
            "-l",
            "app.kubernetes.io/name=podiam",
        ])?;
        Ok(found["items"].as_array().cloned().unwrap_or_default())
    }

    /// The only one.
    pub(super) fn agent(&self) -> Result<Value> {
        let agents = self.agents()?;
        ensure!(agents.len() == 1, "{} agents", agents.len());
        agents.into_iter().next().context("no agent")
    }

    /// The two counts of leaks: what pods were answered, and who got to the real metadata service.
    pub(super) fn leaks(&self, report: &mut Report) -> Result<()> {
        let ((mut asked, mut leaks), mut first) = (self.past, None);
        for pod in &self.pods {
            let counts = pod.counts()?;
            asked += counts.asked;
            leaks += counts.leaks;
            first = first.or(counts.first_leak);
        }
        let first = first
            .map(|leak| format!(", the first: {leak}"))
            .unwrap_or_default();
        report.expect(
            leaks == 0,
            "leaks",
            &format!("{leaks} of {asked} answers held something of the node's{first}"),
        );
        let strangers = self.strangers();
        report.expect(
            strangers == 0,
            "bypasses",
            &format!("{strangers} requests of pods reached the real metadata service"),
        );
        Ok(())
    }

    /// How many requests of this scene came to the real metadata service from pods.
    pub(super) fn strangers(&self) -> usize {
        let asked = self.aws.imds_requests();
        let from_pods = |ip: std::net::IpAddr| ip.to_string().starts_with("10.244.");
        asked[self.seen.min(asked.len())..]
            .iter()
            .filter(|request| from_pods(request.peer.ip()))
            .count()
    }

    /// Brings node and release back to what the next scene expects.
    pub(super) fn mend(&mut self) -> Result<()> {
        self.pods.clear();
        if self.node.is_on() {
            self.node.cut_power(&self.network)?;
        }
        self.node.boot(&self.network, Boot::default())?;
        self.node_is_ready()?;
        self.helm(&json!({}))
    }

    /// Ends a scene: its pods go, and what IMDS was asked is judged.
    pub(super) fn clear(&mut self, namespaces: &[&str]) -> Result<()> {
        self.pods.clear();
        self.past = (0, 0);
        for namespace in namespaces {
            self.kubectl.run(&[
                "delete",
                "namespace",
                namespace,
                "--ignore-not-found",
                "--wait=false",
            ])?;
        }
        self.seen = self.aws.imds_requests().len();
        Ok(())
    }

    /// Leaves everything as it is until somebody interrupts.
    pub(super) fn keep(&self, report: &Report) {
        report.line("\nThe cluster runs until Ctrl-C. From another terminal:");
        let enter = format!(
            "nsenter --target $(pgrep -f 'e2e --within {}/site.json' | tail -1) --net --mount --pid",
            self.folder.display()
        );
        report.line(&format!(
            "  {enter} -- env KUBECONFIG={} {} get pods -A",
            self.kubectl.kubeconfig().display(),
            self.kubectl.program().display(),
        ));
        loop {
            std::thread::park();
        }
    }
}
