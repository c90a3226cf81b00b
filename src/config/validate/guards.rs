//! Judges who may name a role and who may refuse one: `--role-sources`, the modes of the guards, keys that must differ.

use crate::config::check::Check;
use crate::config::{Discoverable, Enforcement, pflag};
use crate::workload::RoleSource;

/// `--namespace-restrictions`: kube2iam's switch, with audit beside it.
pub(super) fn restrictions(check: &mut Check, value: &str) -> Option<Enforcement> {
    const FLAG: &str = "namespace-restrictions";
    match pflag::parse_bool(value) {
        Some(on) => on.then_some(Enforcement::Enforce),
        None => mode(check, FLAG, value, "true, false, off, audit or enforce"),
    }
}

/// `--namespace-permitted`.
pub(super) fn permitted(check: &mut Check, value: &str) -> Option<Enforcement> {
    mode(check, "namespace-permitted", value, "off, audit or enforce")
}

fn mode(check: &mut Check, flag: &'static str, value: &str, right: &str) -> Option<Enforcement> {
    match value.to_ascii_lowercase().as_str() {
        "off" => None,
        "audit" => Some(Enforcement::Audit),
        "enforce" => Some(Enforcement::Enforce),
        _ => {
            check.problem(flag, Some(value), format_args!("write {right}"));
            None
        }
    }
}

/// `--role-sources`. Their order is fixed, so a list in another one would be misread by whoever wrote it.
pub(super) fn sources(
    check: &mut Check,
    list: &str,
    default_role: &Discoverable<String>,
) -> Vec<RoleSource> {
    const FLAG: &str = "role-sources";
    let named = |name: &str| RoleSource::ALL.into_iter().find(|one| one.name() == name);
    let sources: Option<Vec<RoleSource>> = list.split(',').map(|name| named(name.trim())).collect();
    let all = RoleSource::ALL.map(RoleSource::name).join(",");
    let Some(sources) = sources else {
        check.problem(
            FLAG,
            Some(list),
            format_args!("a comma list of some of {all}"),
        );
        return RoleSource::ALL.to_vec();
    };
    if !sources.is_sorted_by(|left, right| left < right) {
        let right = format!("each once, and in the order in which they are asked: {all}");
        check.problem(FLAG, Some(list), right);
    }
    if *default_role != Discoverable::Absent && !sources.contains(&RoleSource::Default) {
        let right = "without \"default\" the default role would never be used; add it or leave --default-role out";
        check.problem(FLAG, Some(list), right);
    }
    sources
}

/// Annotations of one kind of object need a key each.
pub(super) fn distinct<'a>(
    check: &mut Check,
    keys: impl IntoIterator<Item = (&'static str, &'a String)>,
) {
    let mut seen: Vec<(&str, &String)> = Vec::new();
    for (flag, key) in keys {
        if let Some((first, _)) = seen.iter().find(|(_, known)| *known == key) {
            let right = format!("is --{first} too; each needs a key of its own");
            check.problem(flag, Some(key), right);
        }
        seen.push((flag, key));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn restrictions_are_kube2iams_switch_with_audit_beside_it() {
        for (words, expected) in [
            (&[][..], None),
            (&["--namespace-restrictions"], Some(Enforcement::Enforce)),
            (&["--namespace-restrictions=t"], Some(Enforcement::Enforce)),
            (
                &["--namespace-restrictions=enforce"],
                Some(Enforcement::Enforce),
            ),
            (
                &["--namespace-restrictions=Audit"],
                Some(Enforcement::Audit),
            ),
            (&["--namespace-restrictions=off"], None),
            (&["--namespace-restrictions=0"], None),
        ] {
            let roles = config(words).roles;
            let mode = roles.namespace_restrictions.map(|_| roles.enforcement);
            assert_eq!(mode, expected, "{words:?}");
        }
        assert_one_problem(
            &["--namespace-restrictions=yes"],
            "--namespace-restrictions=\"yes\": ",
            "audit",
        );
    }

    #[test]
    fn permitted_is_off_unless_a_mode_is_given() {
        let permitted = |words: &[&str]| {
            let config = config(words);
            (config.roles.permitted, config.annotations.permitted)
        };
        let key = || Some("iam.amazonaws.com/permitted".to_owned());
        assert_eq!(permitted(&[]), (None, None));
        let enforce = permitted(&["--namespace-permitted=enforce"]);
        assert_eq!(enforce, (Some(Enforcement::Enforce), key()));
        let audit = permitted(&["--namespace-permitted=audit"]);
        assert_eq!(audit, (Some(Enforcement::Audit), key()));
        assert_one_problem(
            &["--namespace-permitted=true"],
            "--namespace-permitted",
            "enforce",
        );
    }

    #[test]
    fn the_sources_are_kube2iams_unless_others_are_listed_in_their_order() {
        use RoleSource::{Default, Eks, Namespace, Pod, ServiceAccount};
        assert_eq!(config(&[]).roles.sources, [Pod, Default]);
        let all = config(&["--role-sources=pod,service-account,eks,namespace,default"]);
        assert_eq!(
            all.roles.sources,
            [Pod, ServiceAccount, Eks, Namespace, Default]
        );
        let own = config(&["--role-sources=service-account"]);
        assert_eq!(own.roles.sources, [ServiceAccount]);
        for (list, right) in [
            ("", "comma list"),
            ("pods", "comma list"),
            ("pod,,default", "comma list"),
            ("default,pod", "in the order"),
            ("pod,pod", "each once"),
        ] {
            assert_one_problem(&["--role-sources", list], "--role-sources=", right);
        }
        assert_one_problem(
            &[
                "--role-sources=pod",
                "--default-role=arn:aws:iam::123456789012:role/r",
            ],
            "--role-sources=\"pod\": ",
            "--default-role",
        );
    }

    #[test]
    fn a_key_is_read_only_where_its_source_is_on() {
        let keys = config(&[]).annotations;
        assert!(!keys.reads_service_accounts());
        assert_eq!((keys.namespace_role, keys.session_name), (None, None));
        let keys = config(&["--role-sources=eks"]).annotations;
        assert!(keys.reads_service_accounts() && keys.service_account_role.is_none());
        let keys = config(&[
            "--role-sources=service-account,namespace",
            "--session-name-key=s",
        ])
        .annotations;
        assert_eq!(keys.service_account_role.as_deref(), Some("podiam.io/role"));
        assert_eq!(
            keys.namespace_role.as_deref(),
            Some("podiam.io/default-role")
        );
        assert_eq!(keys.session_name.as_deref(), Some("s"));
    }

    #[test]
    fn annotations_of_one_object_need_a_key_each() {
        assert_one_problem(
            &["--session-name-key=iam.amazonaws.com/role"],
            "--session-name-key=",
            "--iam-role-key",
        );
        assert_one_problem(
            &["--namespace-role-key=iam.amazonaws.com/allowed-roles"],
            "--namespace-role-key=",
            "--namespace-key",
        );
        // They stand on different objects.
        assert!(problems(&["--service-account-role-key=iam.amazonaws.com/role"]).is_empty());
    }
}
