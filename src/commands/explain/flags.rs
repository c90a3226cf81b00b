//! The flags that an agent runs with: as given, or read off the agent's own pod, with its environment and its ceiling.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use clap::builder::Resettable;
use clap::{Args, Command, FromArgMatches};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod};
use kube::api::ListParams;
use kube::{Api, Client};

use crate::authorize::Ceiling;
use crate::config::AgentArgs;

/// How an agent's pod is known: the chart's label.
const LABEL: &str = "app.kubernetes.io/name=podiam";

/// What an agent was started with.
pub(super) struct Running {
    pub(super) args: AgentArgs,
    /// Its ceiling, where that is in a `ConfigMap`.
    pub(super) ceiling: Option<Ceiling>,
    /// Where all that is from, in a sentence.
    pub(super) note: String,
}

/// The flags of the command line.
pub(super) fn given(words: &[String]) -> anyhow::Result<Running> {
    Ok(Running {
        args: parse(words)?,
        ceiling: None,
        note: "The agent's flags are those of this command line.".to_owned(),
    })
}

/// The flags of the agent on a node; of any agent where the pod has no node yet.
pub(super) async fn of_the_agent(client: Client, node: Option<&str>) -> anyhow::Result<Running> {
    let mut wanted = ListParams::default().labels(LABEL);
    if let Some(node) = node {
        wanted = wanted.fields(&format!("spec.nodeName={node}"));
    }
    let agents = Api::<Pod>::all(client.clone()).list(&wanted).await;
    let agents = agents
        .context("the agent's own pod cannot be looked for; give the agent's flags after --")?;
    let place = node.map_or_else(String::new, |node| format!(" on the node {node}"));
    let found = agents
        .items
        .iter()
        .find_map(|pod| Some((pod, agent_of(pod)?)));
    let Some((pod, container)) = found else {
        bail!(
            "no agent's pod (label {LABEL}) is found{place}, so nobody answers this pod there; or give the agent's flags \
             after --"
        );
    };
    let name = format!(
        "{}/{}",
        pod.metadata.namespace.as_deref().unwrap_or_default(),
        pod.metadata.name.as_deref().unwrap_or_default()
    );
    let environment = environment(pod, container);
    let words = words(container, &environment);
    let ceiling = match ceiling_flag(&words) {
        Some(path) => Some(ceiling(client, pod, container, path).await?),
        None => None,
    };
    Ok(Running {
        args: parse(&words).with_context(|| format!("the flags of the agent's pod {name}"))?,
        ceiling,
        note: format!("The agent's flags are those of its pod {name}."),
    })
}

/// Reads flags as the agent does, but for this process's own environment, which is not the agent's.
fn parse(words: &[String]) -> anyhow::Result<AgentArgs> {
    let mut command = AgentArgs::augment_args(Command::new("podiam agent"))
        .mut_args(|arg| arg.env(Resettable::Reset));
    let words = std::iter::once("podiam agent").chain(words.iter().map(String::as_str));
    let matches = command.try_get_matches_from_mut(words)?;
    Ok(AgentArgs::from_arg_matches(&matches)?)
}

/// The container that runs `podiam agent`.
fn agent_of(pod: &Pod) -> Option<&Container> {
    let containers = &pod.spec.as_ref()?.containers;
    containers.iter().find(|container| {
        let mut words = container.command.iter().chain(&container.args).flatten();
        words.any(|word| word == "agent")
    })
}

/// The container's environment, as far as it is no secret's.
fn environment(pod: &Pod, container: &Container) -> BTreeMap<String, String> {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let field = |path: &str| match path {
        "status.hostIP" => status.and_then(|status| status.host_ip.clone()),
        "status.podIP" => status.and_then(|status| status.pod_ip.clone()),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        _ => None,
    };
    let variables = container.env.iter().flatten();
    variables
        .filter_map(|variable| {
            let from = variable.value_from.as_ref();
            let path = from
                .and_then(|from| from.field_ref.as_ref())
                .map(|it| it.field_path.as_str());
            let value = path.map_or_else(|| variable.value.clone(), field)?;
            Some((variable.name.clone(), value))
        })
        .collect()
}

/// The agent's flags: those of its environment, then its arguments, which win; with `$(NAME)` filled in as the kubelet does.
fn words(container: &Container, environment: &BTreeMap<String, String>) -> Vec<String> {
    let from_environment = environment.iter().filter_map(|(name, value)| {
        let flag = name
            .strip_prefix("PODIAM_")?
            .to_lowercase()
            .replace('_', "-");
        // A token is nobody's business, and decides nothing.
        let decides = !value.is_empty()
            && !matches!(flag.as_str(), "api-token" | "api-server" | "kubeconfig");
        decides.then(|| format!("--{flag}={value}"))
    });
    let arguments = container.command.iter().chain(&container.args).flatten();
    let arguments = arguments
        .skip_while(|word| *word != "agent")
        .skip(1)
        .map(|word| {
            environment
                .iter()
                .fold(word.clone(), |word, (name, value)| {
                    word.replace(&format!("$({name})"), value)
                })
        });
    from_environment.chain(arguments).collect()
}

fn ceiling_flag(words: &[String]) -> Option<&str> {
    let mut found = None;
    for (place, word) in words.iter().enumerate() {
        if let Some(path) = word.strip_prefix("--ceiling=") {
            found = Some(path);
        } else if word == "--ceiling" {
            found = words.get(place + 1).map(String::as_str);
        }
    }
    found.filter(|path| !path.is_empty())
}

/// The ceiling at `path` in the agent's container, which has to be of a `ConfigMap`.
async fn ceiling(
    client: Client,
    pod: &Pod,
    container: &Container,
    path: &str,
) -> anyhow::Result<Ceiling> {
    let unknown = || {
        format!(
            "the agent's ceiling {path:?} is in no ConfigMap, and so not known here: give the agent's flags after --, \
             with --ceiling naming a copy of it"
        )
    };
    let mounts = container.volume_mounts.iter().flatten();
    let mount = mounts
        .filter(|mount| Path::new(path).starts_with(&mount.mount_path))
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
    let inside = Path::new(path)
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
    Ok(Ceiling::parse(Path::new(path), &text)?)
}
