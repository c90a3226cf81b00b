//! `rbac`: the agent's service account may do what the agent does, and nothing else.

use serde::Deserialize;

use crate::config::Config;
use crate::doctor::check::Check;
use crate::doctor::finding::{Finding, some_of};

const CHECK: Check = Check::Rbac;
const FIX: &str = "bind the agent's service account to the chart's ClusterRole and to nothing else";

/// A right that the agent needs, in the whole cluster and the core API group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Wanted {
    pub(in crate::doctor) verb: &'static str,
    pub(in crate::doctor) resource: &'static str,
}

/// A rule as `SelfSubjectRulesReview` lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::doctor) struct Rule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// What the account may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Rights {
    /// Of what was wanted.
    pub(in crate::doctor) missing: Vec<Wanted>,
    /// All, in the agents' namespace.
    pub(in crate::doctor) rules: Vec<Rule>,
}

/// What the agent does with this configuration: the chart's rules.
pub(in crate::doctor) fn wanted(config: &Config) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut want = |resource, verbs: &[&'static str]| {
        wanted.extend(verbs.iter().map(|&verb| Wanted { verb, resource }));
    };
    want("pods", &["get", "list", "watch"]);
    want("namespaces", &["list", "watch"]);
    if config.annotations.reads_service_accounts() {
        want("serviceaccounts", &["list", "watch"]);
    }
    if config.startup.taint.is_some() {
        want("nodes", &["get", "patch"]);
    }
    wanted
}

pub(in crate::doctor) fn judge(wanted: &[Wanted], rights: Result<Rights, String>) -> Finding {
    let rights = match rights {
        Ok(rights) => rights,
        Err(why) => {
            return Finding::cannot_tell(
                CHECK,
                why,
                "run in an agent's pod, or let yourself impersonate the agent's service account",
            );
        }
    };
    let missing: Vec<String> = rights
        .missing
        .iter()
        .map(|it| format!("{} {}", it.verb, it.resource))
        .collect();
    let surplus = surplus(wanted, &rights.rules);
    let too_much = || format!("more than the agent needs: {}", some_of(&surplus, 20));
    if !missing.is_empty() {
        let told = format!("missing: {}", missing.join(", "));
        let surplus = (!surplus.is_empty()).then(too_much);
        return Finding::wrong(CHECK, told, FIX).and(surplus);
    }
    if !surplus.is_empty() {
        return Finding::warning(CHECK, too_much(), FIX);
    }
    let all: Vec<String> = wanted
        .iter()
        .map(|it| format!("{} {}", it.verb, it.resource))
        .collect();
    Finding::ok(
        CHECK,
        format!("exactly what the agent needs: {}", all.join(", ")),
    )
}

/// What is neither wanted nor everybody's: `system:basic-user` lets every account ask about itself.
fn surplus(wanted: &[Wanted], rules: &[Rule]) -> Vec<String> {
    let everybodys = |group: &str, resource: &str, verb: &str| {
        verb == "create"
            && match group {
                "authorization.k8s.io" => resource.starts_with("selfsubject"),
                "authentication.k8s.io" => resource == "selfsubjectreviews",
                _ => false,
            }
    };
    let is_wanted = |group: &str, resource: &str, verb: &str| {
        group.is_empty()
            && wanted
                .iter()
                .any(|it| it.resource == resource && it.verb == verb)
    };
    let mut found = Vec::new();
    for rule in rules {
        for group in &rule.api_groups {
            for resource in &rule.resources {
                for verb in &rule.verbs {
                    if everybodys(group, resource, verb) || is_wanted(group, resource, verb) {
                        continue;
                    }
                    let dot = if group.is_empty() { "" } else { "." };
                    let names = if rule.resource_names.is_empty() {
                        String::new()
                    } else {
                        format!(" ({})", rule.resource_names.join(", "))
                    };
                    found.push(format!("{verb} {resource}{dot}{group}{names}"));
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::finding::Verdict;

    fn rules(rules: serde_json::Value) -> Vec<Rule> {
        serde_json::from_value(rules).unwrap()
    }

    fn pods() -> Vec<Wanted> {
        ["get", "list"]
            .map(|verb| Wanted {
                verb,
                resource: "pods",
            })
            .to_vec()
    }

    #[test]
    fn exactly_the_wanted_rights_are_right_beside_everybodys() {
        let exact = rules(json!([
            {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
             "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
            {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
        ]));
        let rights = |missing, rules| Ok(Rights { missing, rules });
        let finding = judge(&pods(), rights(vec![], exact.clone()));
        assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");

        let finding = judge(&pods(), rights(pods()[1..].to_vec(), exact.clone()));
        assert_eq!(finding.verdict, Verdict::Wrong);
        assert!(
            finding.evidence[0].contains("missing: list pods"),
            "{finding:?}"
        );

        for (more, told) in [
            (
                json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
                "* *.*",
            ),
            (
                json!({"verbs": ["delete"], "apiGroups": [""], "resources": ["pods"]}),
                "delete pods",
            ),
            (
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]}),
                "get pods/log",
            ),
            (
                json!({"verbs": ["get"], "apiGroups": ["x.io"], "resources": ["pods"]}),
                "get pods.x.io",
            ),
            (
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["s"]}),
                "get secrets (s)",
            ),
        ] {
            let mut all = exact.clone();
            all.extend(rules(json!([more])));
            let finding = judge(&pods(), rights(vec![], all));
            assert_eq!(finding.verdict, Verdict::Warning, "{told}");
            assert!(finding.evidence[0].contains(told), "{finding:?}");
        }
        assert_eq!(
            judge(&pods(), Err("403".into())).verdict,
            Verdict::CannotTell
        );
    }
}
