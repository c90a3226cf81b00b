//! `namespace-guards`: who may annotate a pod cannot thereby have any role.

use serde_json::Value;

use crate::config::{Enforcement, RestrictionFormat, Roles};
use crate::doctor::check::Check;
use crate::doctor::finding::{Finding, some_of};
use crate::workload::Namespace;

const CHECK: Check = Check::NamespaceGuards;

/// The agent's guards, and the namespaces' annotations; or why one of them is not known.
pub(in crate::doctor) fn judge(
    roles: Result<&Roles, String>,
    namespaces: Result<&[Namespace], String>,
) -> Finding {
    let roles = match roles {
        Ok(roles) => roles,
        Err(why) => return Finding::cannot_tell(CHECK, why, "see agents"),
    };
    let guards: Vec<(&str, Enforcement)> = [
        roles
            .namespace_restrictions
            .map(|_| ("--namespace-restrictions", roles.enforcement)),
        roles
            .permitted
            .map(|enforcement| ("--namespace-permitted", enforcement)),
        roles
            .ceiling
            .as_ref()
            .map(|_| ("--ceiling", Enforcement::Enforce)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if guards.is_empty() {
        return Finding::warning(
            CHECK,
            "no guard is on: whoever may create a pod in any namespace may have every role that the nodes can assume",
            "start the agents with --namespace-restrictions, --namespace-permitted or --ceiling (docs/guards.md)",
        );
    }
    let names: Vec<&str> = guards.iter().map(|(flag, _)| *flag).collect();
    if guards.iter().all(|(_, it)| *it == Enforcement::Audit) {
        return Finding::warning(
            CHECK,
            format!("{} only audits: it refuses nobody", names.join(" and ")),
            "look at what would have been refused, then let it refuse: =true in place of =audit",
        );
    }
    let format = roles.namespace_restrictions;
    let (Some(format), None) = (format, &roles.ceiling) else {
        return Finding::ok(CHECK, format!("{} is in force", names.join(" and ")));
    };
    match namespaces {
        Err(why) => Finding::cannot_tell(CHECK, why, "allow namespaces to be listed"),
        Ok(namespaces) => {
            let open: Vec<&str> = namespaces
                .iter()
                .filter(|it| {
                    it.allowed_roles
                        .as_deref()
                        .is_some_and(|text| is_open(text, format))
                })
                .map(|it| &*it.name)
                .collect();
            if open.is_empty() {
                return Finding::ok(
                    CHECK,
                    format!(
                        "{} is in force, and none of {} namespaces may have every role",
                        names.join(" and "),
                        namespaces.len()
                    ),
                );
            }
            Finding::warning(
                CHECK,
                format!(
                    "these namespaces may have every role: {}",
                    some_of(&open, 10)
                ),
                "name the roles of each in its annotation",
            )
        }
    }
}

/// Whether a list has a pattern that matches every role.
fn is_open(list: &str, format: RestrictionFormat) -> bool {
    let patterns: Vec<Value> = serde_json::from_str(list).unwrap_or_default();
    patterns.iter().filter_map(Value::as_str).any(|pattern| {
        let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
        match format {
            RestrictionFormat::Glob => !pattern.is_empty() && pattern.bytes().all(|b| b == b'*'),
            RestrictionFormat::Regexp => matches!(pattern, ".*" | ".+" | "(.*)" | "(.+)"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::agents;
    use crate::doctor::finding::Verdict;

    fn roles(flags: &[&str]) -> Roles {
        let words = flags.iter().map(|&flag| flag.to_owned()).collect();
        let config = agents::config(
            words,
            &std::collections::BTreeMap::new(),
            crate::config::Program::Podiam,
        );
        config.unwrap().roles
    }

    fn namespace(allowed: &str) -> Namespace {
        Namespace {
            name: "dev".into(),
            allowed_roles: Some(allowed.into()),
            ..Namespace::default()
        }
    }

    #[test]
    fn a_guard_must_be_on_in_force_and_not_opened_by_a_namespace() {
        use Verdict::{Ok as Right, Warning};
        for (flags, allowed, verdict, words) in [
            (&[][..], "[]", Warning, "no guard"),
            (
                &["--namespace-restrictions=audit"],
                "[]",
                Warning,
                "only audits",
            ),
            (
                &["--namespace-restrictions"],
                r#"["dev-*"]"#,
                Right,
                "in force",
            ),
            (
                &["--namespace-restrictions"],
                r#"["dev-*", "*"]"#,
                Warning,
                "every role: dev",
            ),
            (
                &[
                    "--namespace-restrictions",
                    "--namespace-restriction-format=regexp",
                ],
                r#"["^.*$"]"#,
                Warning,
                "every role: dev",
            ),
            (
                &["--namespace-permitted=enforce"],
                r#"["*"]"#,
                Right,
                "in force",
            ),
        ] {
            let finding = judge(Ok(&roles(flags)), Ok(&[namespace(allowed)]));
            assert_eq!(finding.verdict, verdict, "{flags:?}: {finding:?}");
            assert!(finding.evidence[0].contains(words), "{finding:?}");
        }
    }
}
