//! The flags that an agent runs with: as given, or read off the agent's own pod, with its environment and its ceiling.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use k8s_openapi::api::core::v1::{ConfigMap, Container as ApiContainer, Pod};
use kube::api::ListParams;
use kube::{Api, Client};

use crate::authorize::Ceiling;
use crate::commands::{Failure, agent};
use crate::config::{AgentArgs, Config, Container, Program};

/// How an agent's pod is known: the chart's label.
const LABEL: &str = "app.kubernetes.io/name=podiam";

/// Where an agent's API server is, and its token, are nobody's business and decide nothing.
const ACCESS: [&str; 3] = ["PODIAM_API_SERVER", "PODIAM_API_TOKEN", "PODIAM_KUBECONFIG"];

/// What an agent was started with.
pub(super) struct Running {
    pub(super) config: Config,
    pub(super) ceiling: Option<Ceiling>,
    /// Where all that is from, in a sentence.
    pub(super) note: String,
}

/// The flags of the command line.
pub(super) fn given(words: &[String]) -> Result<Running, Failure> {
    let args = AgentArgs::read(words.to_vec(), &BTreeMap::new());
    let args = args.map_err(|error| Failure::Usage(error.into()))?;
    let config = args
        .validate(Program::Podiam)
        .map_err(Failure::Configuration)?;
    Ok(Running {
        ceiling: agent::ceiling(&config)?,
        config,
        note: "The agent's flags are those of this command line.".to_owned(),
    })
}

/// The flags of the agent on a node; of any agent where the pod has no node yet.
pub(super) async fn of_the_agent(client: Client, node: Option<&str>) -> Result<Running, Failure> {
    let mut wanted = ListParams::default().labels(LABEL);
    if let Some(node) = node {
        wanted = wanted.fields(&format!("spec.nodeName={node}"));
    }
    let agents = Api::<Pod>::all(client.clone()).list(&wanted).await;
    let agents = agents
        .context("the agent's own pod cannot be looked for; give the agent's flags after --")?;
    let place = node.map_or_else(String::new, |node| format!(" on the node {node}"));
    let found = agents.items.iter().find_map(|pod| {
        let (container, started) = agent_of(pod)?;
        Some((pod, container, started))
    });
    let (pod, container, started) = found.with_context(|| {
        format!(
            "no agent's pod (label {LABEL}) is found{place}, so nobody answers this pod there; or give the agent's flags \
             after --"
        )
    })?;
    let name = format!(
        "{}/{}",
        pod.metadata.namespace.as_deref().unwrap_or_default(),
        pod.metadata.name.as_deref().unwrap_or_default()
    );
    let mut environment = started.environment(|path| field(pod, path));
    environment.retain(|name, _| !ACCESS.contains(&name.as_str()));
    let (words, program) = started.words(&environment);
    let args = AgentArgs::read(words, &environment);
    let args = args.with_context(|| format!("the flags of the agent's pod {name}"))?;
    let config = args.validate(program).map_err(Failure::Configuration)?;
    let ceiling = match &config.roles.ceiling {
        Some(path) => Some(ceiling(client, pod, container, path).await?),
        None => None,
    };
    Ok(Running {
        config,
        ceiling,
        note: format!("The agent's flags are those of its pod {name}."),
    })
}

/// The container that runs `podiam agent`, and what that is started with.
fn agent_of(pod: &Pod) -> Option<(&ApiContainer, Container)> {
    let containers = pod.spec.as_ref()?.containers.iter();
    let started = |it: &ApiContainer| serde_json::from_value(serde_json::to_value(it).ok()?).ok();
    containers
        .filter_map(|it| Some((it, started(it)?)))
        .find(|(_, started): &(_, Container)| started.says_agent())
}

/// A field of the pod that a variable may refer to.
fn field(pod: &Pod, path: &str) -> Option<String> {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    match path {
        "status.hostIP" => status?.host_ip.clone(),
        "status.podIP" => status?.pod_ip.clone(),
        "spec.nodeName" => spec?.node_name.clone(),
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        _ => None,
    }
}

/// The ceiling at `path` in the agent's container, which has to be of a `ConfigMap`.
async fn ceiling(
    client: Client,
    pod: &Pod,
    container: &ApiContainer,
    path: &Path,
) -> anyhow::Result<Ceiling> {
    let unknown = || {
        format!(
            "the agent's ceiling \"{}\" is in no ConfigMap, and so not known here: give the agent's flags after --, \
             with --ceiling naming a copy of it",
            path.display()
        )
    };
    let mounts = container.volume_mounts.iter().flatten();
    let mount = mounts
        .filter(|mount| path.starts_with(&mount.mount_path))
        .max_by_key(|mount| mount.mount_path.len());
    let mount = mount.with_context(unknown)?;
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let source = volumes
        .filter(|volume| volume.name == mount.name)
        .find_map(|volume| volume.config_map.as_ref())
        .with_context(unknown)?;
    let inside = path
        .strip_prefix(&mount.mount_path)
        .unwrap_or(Path::new(""));
    let inside = match (&mount.sub_path, inside.to_str()) {
        (Some(sub), Some("")) => sub.clone(),
        (_, inside) => inside.with_context(unknown)?.to_owned(),
    };
    let items = source.items.iter().flatten();
    let key = items
        .filter(|item| item.path == inside)
        .map(|item| item.key.clone())
        .next()
        .unwrap_or(inside);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let maps = Api::<ConfigMap>::namespaced(client, namespace);
    let map = maps.get(&source.name).await.with_context(|| {
        format!(
            "the agent's ceiling, the ConfigMap {namespace}/{}",
            source.name
        )
    })?;
    let text = map
        .data
        .and_then(|mut data| data.remove(&key))
        .with_context(unknown)?;
    Ok(Ceiling::parse(path, &text)?)
}
