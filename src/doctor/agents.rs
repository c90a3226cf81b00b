//! The agents as they run: their pods, and the flags that they were started with, read as the agent reads them. What the
//! doctor checks are the values of these flags, not those that somebody believes to have set. Pure.

use std::collections::BTreeMap;

use crate::config::{AgentArgs, Config, Container, Program, one_line};

/// An agent's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AgentPod {
    pub(super) name: String,
    /// The node's name; empty while it is not scheduled.
    pub(super) node: String,
    pub(super) service_account: String,
    pub(super) host_ip: Option<String>,
    /// The condition `Ready`, which is the agent's /readyz.
    pub(super) is_ready: bool,
    pub(super) containers: Vec<Container>,
}

impl AgentPod {
    /// The container of the agent: the only one, or the first that begins as one.
    pub(super) fn agent(&self) -> Option<&Container> {
        let is_agent = |it: &&Container| it.says_agent() || it.image.contains("kube2iam");
        self.containers
            .iter()
            .find(is_agent)
            .or_else(|| self.containers.first())
    }

    /// The configuration that it runs with, or what is wrong with its flags.
    pub(super) fn config(&self) -> Result<Config, String> {
        let container = self.agent().ok_or("the pod has no container")?;
        let environment = self.environment(container);
        let (words, program) = container.words(&environment);
        config(words, &environment, program)
    }

    /// `AWS_REGION` or `AWS_DEFAULT_REGION` of its container.
    pub(super) fn region(&self) -> Option<String> {
        let environment = self.environment(self.agent()?);
        let region = environment.get("AWS_REGION");
        region.or(environment.get("AWS_DEFAULT_REGION")).cloned()
    }

    fn environment(&self, container: &Container) -> BTreeMap<String, String> {
        container.environment(|path| match path {
            "status.hostIP" | "status.podIP" => self.host_ip.clone(),
            "spec.nodeName" => Some(self.node.clone()),
            "metadata.name" => Some(self.name.clone()),
            _ => None,
        })
    }
}

/// The configuration of an agent's words, without `agent` itself.
pub(super) fn config(
    words: Vec<String>,
    environment: &BTreeMap<String, String>,
    program: Program,
) -> Result<Config, String> {
    let args = AgentArgs::read(words, environment).map_err(|error| one_line(&error))?;
    let config = args.validate(program);
    config.map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        problems.join("; ")
    })
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::doctor) fn pod(name: &str, image: &str, args: &[&str]) -> AgentPod {
        let container = json!({
            "image": image,
            "args": args,
            "env": [
                {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
                {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}},
                {"name": "AWS_DEFAULT_REGION", "value": "eu-central-1"},
                {"name": "PODIAM_IAM_SESSION_DURATION", "value": "20m"},
            ],
        });
        AgentPod {
            name: name.to_owned(),
            node: format!("node-of-{name}"),
            service_account: "podiam".to_owned(),
            host_ip: Some("10.0.0.7".to_owned()),
            is_ready: true,
            containers: vec![serde_json::from_value(container).unwrap()],
        }
    }

    #[test]
    fn an_agents_flags_are_read_with_its_own_environment_and_its_pods_fields() {
        let pod = pod(
            "a",
            "podiam:1",
            &["agent", "--host-ip=$(HOST_IP)", "--node=$(NODE_NAME)"],
        );
        let config = pod.config().unwrap();
        assert_eq!(config.node.host_ip, Some("10.0.0.7".parse().unwrap()));
        assert_eq!(config.node.name.as_deref(), Some("node-of-a"));
        assert_eq!(config.sessions.duration.as_secs(), 1200);
        assert_eq!(pod.region().as_deref(), Some("eu-central-1"));
    }

    #[test]
    fn a_flag_on_the_command_line_wins_over_the_containers_environment() {
        let pod = pod("a", "podiam:1", &["agent", "--iam-session-duration=15m"]);
        assert_eq!(pod.config().unwrap().sessions.duration.as_secs(), 900);
    }

    #[test]
    fn what_is_wrong_with_an_agents_flags_is_told() {
        let error = pod("a", "podiam:1", &["agent", "--iam-session-duration=1s"])
            .config()
            .unwrap_err();
        assert!(error.contains("--iam-session-duration"), "{error}");
        let error = pod("a", "podiam:1", &["agent", "--no-such-flag"])
            .config()
            .unwrap_err();
        assert!(error.contains("--no-such-flag"), "{error}");
    }
}
