//! The ceiling as files say it, and the line that an operator reads about a bad one.

use std::path::Path;

use super::*;

fn read(text: &str) -> Result<Ceiling, String> {
    Ceiling::parse(Path::new("ceiling.yaml"), text).map_err(|error| error.to_string())
}

/// What becomes of a role with the external ID that the pod names; the ID that is sent, or the reason's code.
fn admitted(ceiling: &str, role: &str, namespace: &str, own: Option<&str>) -> String {
    let ceiling = read(ceiling).unwrap_or_else(|error| panic!("{error}"));
    let role = RoleArn::parse(&format!("arn:aws:iam::123456789012:role/{role}")).unwrap();
    let own = own.map(|id| ExternalId::parse(id).unwrap());
    match ceiling.admit(&role, namespace, own) {
        Ok(None) => "no ID".to_owned(),
        Ok(Some(id)) => id.to_string(),
        Err(reason) => reason.code().to_owned(),
    }
}

#[test]
fn a_denial_beats_an_allowance_and_what_is_not_allowed_is_forbidden() {
    let both = "allow: [/k8s/]\ndeny: ['arn:*:iam::*:role/*admin*']\n";
    let only_deny = "deny: [/break-glass/]\n";
    let nothing = "allow: []\n";
    for (ceiling, role, expected) in [
        (both, "k8s/app", "no ID"),
        (both, "app", "ceiling-allows-others"),
        (both, "k8s/admin", "ceiling-denies"),
        (both, "k8s/db-administrator", "ceiling-denies"),
        (both, "admin/app", "ceiling-denies"),
        (only_deny, "k8s/app", "no ID"),
        (only_deny, "break-glass/x", "ceiling-denies"),
        (nothing, "k8s/app", "ceiling-allows-others"),
        ("allow: ['123456789012']\n", "app", "no ID"),
        ("allow: ['210987654321']\n", "app", "ceiling-allows-others"),
    ] {
        assert_eq!(
            admitted(ceiling, role, "team", None),
            expected,
            "{ceiling} {role}"
        );
    }
}

#[test]
fn a_namespace_has_the_first_list_that_names_it_within_the_clusters() {
    let ceiling = "
allow: [/k8s/]
namespaces:
- name: team-a
  allow: [/k8s/a/, /elsewhere/]
- name: team-*
  deny: [/k8s/a/]
- name: '*'
  allow: []
";
    for (namespace, role, expected) in [
        ("team-a", "k8s/a/app", "no ID"),
        ("team-a", "k8s/b/app", "ceiling-forbids-in-namespace"),
        ("team-a", "elsewhere/app", "ceiling-allows-others"),
        ("team-b", "k8s/b/app", "no ID"),
        ("team-b", "k8s/a/app", "ceiling-forbids-in-namespace"),
        ("other", "k8s/b/app", "ceiling-forbids-in-namespace"),
    ] {
        assert_eq!(
            admitted(ceiling, role, namespace, None),
            expected,
            "{namespace} {role}"
        );
    }
    let open = "namespaces: [{name: team-a, allow: []}]\n";
    assert_eq!(
        admitted(open, "app", "team-b", None),
        "no ID",
        "no list names it"
    );
}

#[test]
fn the_operators_external_id_replaces_the_pods_or_the_pods_is_forbidden() {
    let ceiling = "
externalIds:
- {roles: [/ours/], use: operators}
- {roles: [/plain/, /ours/], forbid: true}
";
    for (role, own, expected) in [
        ("ours/app", None, "operators"),
        ("ours/app", Some("pods"), "operators"),
        ("plain/app", None, "no ID"),
        ("plain/app", Some("pods"), "external-id-forbidden"),
        ("app", None, "no ID"),
        ("app", Some("pods"), "pods"),
    ] {
        assert_eq!(
            admitted(ceiling, role, "team", own),
            expected,
            "{role} {own:?}"
        );
    }
}

#[test]
fn a_bad_file_is_refused_with_the_field_and_what_would_be_right() {
    for (text, expected) in [
        ("", "says nothing; write at least one of allow, deny"),
        ("{}", "says nothing"),
        ("- a\n", "says nothing"),
        ("allow: [\n", "is not one YAML document"),
        ("allow: ['*']\nallow: ['*']\n", "is not one YAML document"),
        ("allow:\n", "allow: invalid type: null, expected a sequence"),
        ("deny:\n", "deny: invalid type: null, expected a sequence"),
        (
            "allow: '*'\n",
            "allow: invalid type: string \"*\", expected a sequence",
        ),
        (
            "allows: ['*']\n",
            "unknown field `allows`, expected one of `allow`, `deny`",
        ),
        ("allow: [app]\n", "allow[0]: \"app\": write an ARN with *"),
        (
            "allow: ['*', 'arn:aws:iam::1:role/*']\n",
            "allow[1]: \"arn:aws:iam::1:role/*\": an account is 12 digits",
        ),
        (
            "deny: [123456789012]\n",
            "deny[0]: 123456789012: an account is 12 digits, or * for every account; quote it",
        ),
        (
            "namespaces: [{allow: []}]\n",
            "namespaces[0]: missing field `name`",
        ),
        (
            "namespaces: [{name: 'Team A'}]\n",
            "namespaces[0].name: \"Team A\": a namespace's name has",
        ),
        (
            "namespaces: [{name: a, allow: [x]}]\n",
            "namespaces[0].allow[0]: \"x\": write an ARN",
        ),
        (
            "externalIds: [{roles: ['*']}]\n",
            "externalIds[0]: write either use",
        ),
        (
            "externalIds: [{roles: ['*'], use: ab, forbid: true}]\n",
            "externalIds[0]: write either use",
        ),
        (
            "externalIds: [{roles: ['*'], use: a}]\n",
            "externalIds[0].use: not an external ID: its length is 1",
        ),
    ] {
        let error = read(text).expect_err(text);
        assert!(
            error.starts_with("\"ceiling.yaml\" of --ceiling"),
            "{error}"
        );
        assert!(
            error.contains(expected) && !error.contains('\n'),
            "{text}: {error}"
        );
    }
}
