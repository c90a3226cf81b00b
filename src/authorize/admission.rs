//! The same guards at admission: a `ValidatingAdmissionPolicy` (CEL, no webhook) that refuses a pod whose annotation names
//! a role that the agent would refuse, in the agent's words. It is made of the agent's own rules and ceiling.
//!
//! It judges what a pod itself says, when that is written. What the agent refuses later (a namespace that changes, a
//! role that a service account names, STS) is the agent's; where the two cannot agree, the policy lets the pod pass.

mod cel;
mod namespace;

use podiam_iam::Partition;
use serde_json::{Value, json};

use super::Rules;
use super::ceiling::{Ceiling, ExternalIdRule, Lists, PodsExternalId};
use crate::config::Enforcement;
use crate::workload::RoleSource;
use cel::{annotation, choose, matches_any, quoted, text};

/// The policies and their bindings, as Kubernetes objects in the order in which they are to be applied: one that denies,
/// and where a guard is in audit mode one that warns and writes to the API server's audit log. Empty where pods name no
/// roles at all.
pub fn admission_policies(rules: &Rules, ceiling: Option<&Ceiling>) -> Vec<Value> {
    if !rules.sources.contains(&RoleSource::Pod) {
        return Vec::new();
    }
    let enforced = namespace::guards(rules, Enforcement::Enforce);
    let mut variables = common(rules);
    variables.push(variable("refusal", &own_refusal(rules, ceiling)));
    let mut objects = objects("podiam", rules, variables, enforced, &["Deny"]);
    let audited = namespace::guards(rules, Enforcement::Audit);
    if !audited.is_empty() {
        let mut variables = common(rules);
        variables.push(variable("refusal", "''"));
        objects.extend(self::objects(
            "podiam-audit",
            rules,
            variables,
            audited,
            &["Warn", "Audit"],
        ));
    }
    objects
}

/// A named part of the policy; later ones may use it as `variables.NAME`.
fn variable(name: &str, expression: &str) -> Value {
    json!({"name": name, "expression": expression})
}

/// What the pod says, and the role that this stands for.
fn common(rules: &Rules) -> Vec<Value> {
    let keys = &rules.keys;
    let base = rules.base.as_ref().map_or("", |base| base.as_str());
    let arn = choose(
        "variables.value.lowerAscii().startsWith('arn:')",
        "variables.value",
        &format!("{} + variables.value", text(base)),
    );
    vec![
        variable("value", &annotation("object", &keys.role)),
        variable("externalId", &annotation("object", &keys.external_id)),
        variable("arn", &arn),
        variable("isRole", &is_role()),
    ]
}

/// Whether the ARN is one that IAM could have, as `RoleArn::parse` reads it.
fn is_role() -> String {
    let partitions = Partition::ALL.map(Partition::as_str).join("|");
    let shape =
        format!(r"arn:({partitions}):iam::[0-9]{{12}}:role/([\w+=,.@-]+/)*[\w+=,.@-]{{1,64}}");
    let shape = matches_any("variables.arn", &[shape]);
    let dots = text(r"/[.]{1,2}(/|$)");
    // The path has at most 512 characters with its outer slashes.
    format!(
        "{shape} && !variables.arn.matches({dots}) && \
         variables.arn.substring(variables.arn.indexOf(':role/') + 6).lastIndexOf('/') <= 510"
    )
}

/// Why the pod is refused for what it says alone, in the agent's order; empty where it is not.
fn own_refusal(rules: &Rules, ceiling: Option<&Ceiling>) -> String {
    let value = quoted("variables.value");
    let no_base = format!(
        "'the role ' + {value} + ' is a name, and no base ARN is configured to complete it (no-base-arn)'"
    );
    let malformed = format!(
        "'the role ' + {value} + ' is malformed: write a name, a path and a name, or an ARN of the form \
         arn:PARTITION:iam::ACCOUNT:role/NAME (malformed-role)'"
    );
    let external_id = "'the external ID is malformed: 2 to 1224 letters, digits and characters of _+=,.@:/- \
                       (malformed-external-id)'";
    let mut refusals = vec![("variables.value.trim() == ''".to_owned(), "''".to_owned())];
    if rules.base.is_none() {
        let is_name = "!variables.value.lowerAscii().startsWith('arn:')";
        refusals.push((is_name.to_owned(), no_base));
    }
    refusals.push(("!variables.isRole".to_owned(), malformed));
    let legal = text(r"^[\w+=,.@:/-]*$");
    refusals.push((
        format!(
            "variables.externalId != '' && !(variables.externalId.matches({legal}) && \
             variables.externalId.size() >= 2 && variables.externalId.size() <= 1224)"
        ),
        external_id.to_owned(),
    ));
    if let Some(key) = &rules.keys.session_name {
        let named = annotation("object", key);
        let legal = text(r"^[\w+=,.@-]{2,64}$");
        refusals.push((
            format!("{named} != '' && !{named}.matches({legal})"),
            "'the session name is malformed: 2 to 64 letters, digits and characters of _+=,.@- (malformed-session-name)'"
                .to_owned(),
        ));
    }
    if let Some(ceiling) = ceiling {
        refusals.extend(ceilings(ceiling));
    }
    first(refusals)
}

/// The refusal of the first condition that holds; empty where none does.
fn first(refusals: Vec<(String, String)>) -> String {
    let none = "''".to_owned();
    refusals
        .into_iter()
        .rev()
        .fold(none, |rest, (condition, refusal)| {
            choose(&condition, &refusal, &rest)
        })
}

/// The ceiling's refusals, in the order of [`Ceiling::admit`].
fn ceilings(ceiling: &Ceiling) -> Vec<(String, String)> {
    let about_role =
        |before: &str, after: &str| format!("{} + variables.arn + {}", text(before), text(after));
    let Lists { allow, deny } = &ceiling.cluster;
    let mut refusals = vec![(
        is_among(deny),
        about_role("the role ", " is denied in this cluster (ceiling-denies)"),
    )];
    if let Some(allow) = allow {
        refusals.push((
            format!("!({})", is_among(allow)),
            about_role(
                "the role ",
                " is not among those that are allowed in this cluster (ceiling-allows-others)",
            ),
        ));
    }
    if !ceiling.namespaces.is_empty() {
        let forbidden = ceiling.namespaces.iter().rev();
        let forbidden = forbidden.fold("false".to_owned(), |rest, rule| {
            let here = matches_any("request.namespace", &[rule.name.to_regexp()]);
            let outside = rule.lists.allow.as_ref();
            let outside = outside.map(|allow| format!(" || !({})", is_among(allow)));
            let forbids = format!(
                "{}{}",
                is_among(&rule.lists.deny),
                outside.unwrap_or_default()
            );
            format!("({here} ? ({forbids}) : {rest})")
        });
        let refusal = format!(
            "{} + strings.quote(request.namespace) + ' (ceiling-forbids-in-namespace)'",
            about_role(
                "the cluster's operator does not allow the role ",
                " in the namespace "
            )
        );
        refusals.push((forbidden, refusal));
    }
    let forbidden = ceiling.external_ids.iter().rev();
    let forbidden = forbidden.fold(
        "false".to_owned(),
        |rest, ExternalIdRule { roles, rule }| {
            let forbids = *rule == PodsExternalId::Forbidden;
            format!("({} ? {forbids} : {rest})", is_among(roles))
        },
    );
    refusals.push((
        format!("variables.externalId != '' && {forbidden}"),
        about_role(
            "pods may not name an external ID for the role ",
            " in this cluster (external-id-forbidden)",
        ),
    ));
    refusals
}

fn is_among(scopes: &[podiam_iam::RoleScope]) -> String {
    let regexps: Vec<String> = scopes
        .iter()
        .map(podiam_iam::RoleScope::to_regexp)
        .collect();
    matches_any("variables.arn", &regexps)
}

/// A policy and its binding. `guards` are asked where the variable `refusal` is empty, and only about a role.
fn objects(
    name: &str,
    rules: &Rules,
    mut variables: Vec<Value>,
    guards: Vec<namespace::Guard>,
    actions: &[&str],
) -> Vec<Value> {
    let mut reason = "variables.refusal".to_owned();
    let mut names = Vec::new();
    for guard in guards {
        names.push(format!("variables.{}", guard.name));
        variables.extend(guard.variables);
    }
    if !names.is_empty() {
        let asked = names
            .into_iter()
            .rev()
            .reduce(|rest, name| choose(&format!("{name} != ''"), &name, &rest))
            .unwrap_or_default();
        // The default role is everybody's.
        let is_default = rules
            .default_role
            .as_ref()
            .map(|role| format!(" || variables.arn == {}", text(role.as_str())));
        let unasked = format!(
            "variables.value.trim() == '' || !variables.isRole{}",
            is_default.unwrap_or_default()
        );
        let guards = choose(&unasked, "''", &asked);
        reason = choose(&format!("{reason} != ''"), &reason, &guards);
    }
    variables.push(variable("reason", &reason));
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"],
            }]},
            "matchConditions": [{"name": "roles-are-written", "expression": is_written(rules)}],
            "variables": variables,
            "validations": [{
                "expression": "variables.reason == ''",
                "messageExpression": "variables.reason",
                "reason": "Forbidden",
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": actions},
    });
    vec![policy, binding]
}

/// Whether the request makes the pod or changes what it says: one that runs already must stay deletable and updatable,
/// whatever it says.
fn is_written(rules: &Rules) -> String {
    let keys = &rules.keys;
    let keys = [
        Some(&keys.role),
        Some(&keys.external_id),
        keys.session_name.as_ref(),
    ];
    let changed = keys.into_iter().flatten().map(|key| {
        let (new, old) = (annotation("object", key), annotation("oldObject", key));
        format!(" || {new} != {old}")
    });
    format!(
        "request.operation == 'CREATE'{}",
        changed.collect::<String>()
    )
}
