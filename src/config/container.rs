//! What a container of Kubernetes starts an agent with: its words and its environment, as the kubelet fills them in. For
//! those who judge an agent elsewhere by the flags it runs with, `doctor` and `explain`. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Program;

/// A container as the pod's spec has it, as far as it says what an agent is started with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Container {
    /// The image.
    #[serde(default)]
    pub image: String,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
}

/// One of its environment variables. Values that come from secrets are not in the pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variable {
    name: String,
    value: Option<String>,
    value_from: Option<ValueFrom>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueFrom {
    field_ref: Option<FieldRef>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldRef {
    field_path: String,
}

/// The word that makes podiam an agent.
const AGENT: &str = "agent";

impl Container {
    /// Whether its command line says `agent`.
    pub fn says_agent(&self) -> bool {
        self.behind_the_program().any(|word| word == AGENT)
    }

    /// Its environment; `field` gives the pod's fields by their paths, such as `status.hostIP`.
    pub fn environment(&self, field: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
        let of_the_pod = |variable: &Variable| {
            let field_ref = variable.value_from.as_ref()?.field_ref.as_ref()?;
            field(&field_ref.field_path)
        };
        let mut environment = BTreeMap::new();
        for variable in &self.env {
            let literal = variable.value.as_ref();
            let literal = literal.map(|text| expand(text, &environment));
            if let Some(value) = literal.or_else(|| of_the_pod(variable)) {
                environment.insert(variable.name.clone(), value);
            }
        }
        environment
    }

    /// The agent's words, without `agent` itself, and as what it is started.
    pub fn words(&self, environment: &BTreeMap<String, String>) -> (Vec<String>, Program) {
        let mut words: Vec<String> = self
            .behind_the_program()
            .map(|word| expand(word, environment))
            .collect();
        match words.iter().position(|word| word == AGENT) {
            Some(at) => (words.split_off(at + 1), Program::Podiam),
            None => (words, Program::Kube2iam),
        }
    }

    fn behind_the_program(&self) -> impl Iterator<Item = &str> {
        let words = self.command.iter().skip(1).chain(&self.args);
        words.map(String::as_str)
    }
}

/// `$(NAME)` as Kubernetes expands it: `$$` is `$`, and what is not known stays.
/// <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#entrypoint>
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'))
        {
            if let Some(value) = environment.get(name) {
                out.push_str(value);
            } else {
                out.push_str("$(");
                out.push_str(name);
                out.push(')');
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_expanded_as_kubernetes_does() {
        let environment = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, expanded) in [
            ("$(A)-$(A)", "1-1"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("$A$(A", "$A$(A"),
        ] {
            assert_eq!(expand(text, &environment), expanded, "{text}");
        }
    }
}
