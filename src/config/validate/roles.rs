//! Judges what decides a pod's role: base ARN, default role, restrictions, and the annotations that are read.

use podiam_iam::{BaseArn, CompleteError, RoleArn};

use super::{given, guards};
use crate::config::check::{self, Check};
use crate::config::flags::{AnnotationFlags, RoleFlags};
use crate::config::{Attribution, Discoverable, RestrictionFormat, Roles, values};
use crate::workload::{
    AnnotationKeys, IMDSV2_ANNOTATION, RoleSource, SESSION_POLICY_ANNOTATION,
    SESSION_POLICY_ARNS_ANNOTATION,
};

impl RoleFlags {
    pub(super) fn judge(self, check: &mut Check) -> Roles {
        let Self {
            base_role_arn,
            auto_discover_base_arn,
            auto_discover_default_role,
            default_role,
            namespace_restrictions,
            namespace_restriction_format,
            role_sources,
            namespace_permitted,
            ceiling,
        } = self;
        let (base_role_arn, default_role) = (given(base_role_arn), given(default_role));
        let discover_base = check.switch("auto-discover-base-arn", &auto_discover_base_arn);
        let discover_default =
            check.switch("auto-discover-default-role", &auto_discover_default_role);
        for (flag, is_on, value, other) in [
            (
                "auto-discover-base-arn",
                discover_base,
                &base_role_arn,
                "base-role-arn",
            ),
            (
                "auto-discover-default-role",
                discover_default,
                &base_role_arn,
                "base-role-arn",
            ),
            (
                "auto-discover-default-role",
                discover_default,
                &default_role,
                "default-role",
            ),
        ] {
            if let (true, Some(value)) = (is_on, value) {
                let right = format!(
                    "conflicts with --{other}={value:?}, which it would discover; keep one of the two"
                );
                check.problem(flag, Some("true"), right);
            }
        }

        let base = match base_role_arn {
            Some(text) => check
                .parse("base-role-arn", &text, base_arn)
                .map_or(Discoverable::Discover, Discoverable::Given),
            None if discover_base || discover_default => Discoverable::Discover,
            None => Discoverable::Absent,
        };
        let default_role = match default_role {
            Some(value) => {
                check.parse("default-role", &value, |value| {
                    default_role_fits(value, &base)
                });
                Discoverable::Given(value)
            }
            None if discover_default => Discoverable::Discover,
            None => Discoverable::Absent,
        };
        let format = restriction_format(check, &namespace_restriction_format);
        let restrictions = guards::restrictions(check, &namespace_restrictions);
        let sources = guards::sources(check, &role_sources, &default_role);
        Roles {
            base,
            default_role,
            sources,
            namespace_restrictions: restrictions.map(|_| format),
            enforcement: restrictions.unwrap_or_default(),
            permitted: guards::permitted(check, &namespace_permitted),
            ceiling: given(ceiling).map(Into::into),
        }
    }
}

fn base_arn(text: &str) -> Result<BaseArn, String> {
    BaseArn::parse(text).map_err(|error| {
        format!(
            "not a base ARN, such as arn:aws:iam::123456789012:role/ or ...:role/path/: {error}"
        )
    })
}

/// Whether a default role is, or can become, the ARN of a role.
fn default_role_fits(value: &str, base: &Discoverable<BaseArn>) -> Result<(), String> {
    let base = match base {
        Discoverable::Given(base) => Some(base.clone()),
        // Any account does: only the name is judged.
        Discoverable::Discover => BaseArn::parse("arn:aws:iam::123456789012:role/").ok(),
        Discoverable::Absent => None,
    };
    RoleArn::complete(value, base.as_ref())
        .map(drop)
        .map_err(|error| match error {
            CompleteError::NoBase => {
                "a name needs --base-role-arn or --auto-discover-base-arn to complete it; else write its ARN".to_owned()
            }
            CompleteError::Arn(error) => format!("not a role's name, path and name, or ARN: {error}"),
        })
}

fn restriction_format(check: &mut Check, value: &str) -> RestrictionFormat {
    let formats = [
        ("glob", RestrictionFormat::Glob),
        ("regexp", RestrictionFormat::Regexp),
    ];
    check::choice(value, &formats).unwrap_or_else(|| {
        check.tolerate(
            "namespace-restriction-format",
            value,
            &check::one_of(&formats),
            "is read as glob, as kube2iam does",
        );
        RestrictionFormat::Glob
    })
}

impl AnnotationFlags {
    pub(super) fn judge(
        self,
        check: &mut Check,
        roles: &Roles,
        attribution: &Attribution,
    ) -> AnnotationKeys {
        let Self {
            iam_role_key,
            iam_external_id,
            namespace_key,
            service_account_role_key,
            namespace_role_key,
            namespace_permitted_key,
            session_name_key,
        } = self;
        let session_name_key = given(session_name_key);
        for (flag, key) in [
            ("iam-role-key", &iam_role_key),
            ("iam-external-id", &iam_external_id),
            ("namespace-key", &namespace_key),
            ("service-account-role-key", &service_account_role_key),
            ("namespace-role-key", &namespace_role_key),
            ("namespace-permitted-key", &namespace_permitted_key),
        ] {
            check.parse(flag, key, values::annotation_key);
        }
        let session_name_key = session_name_key
            .and_then(|key| check.parse("session-name-key", &key, values::annotation_key));
        let of_pods = [
            ("iam-role-key", Some(&iam_role_key)),
            ("iam-external-id", Some(&iam_external_id)),
            ("session-name-key", session_name_key.as_ref()),
        ];
        let of_pods = of_pods.map(|(flag, key)| Some((flag, key?)));
        let of_namespaces = [
            ("namespace-key", &namespace_key),
            ("namespace-role-key", &namespace_role_key),
            ("namespace-permitted-key", &namespace_permitted_key),
        ];
        guards::distinct(check, of_pods.into_iter().flatten());
        guards::distinct(check, of_namespaces);
        for (flag, key) in of_pods.into_iter().flatten() {
            let ours = [
                (IMDSV2_ANNOTATION, "asks for IMDSv2 only"),
                (SESSION_POLICY_ANNOTATION, "narrows its session"),
                (SESSION_POLICY_ARNS_ANNOTATION, "narrows its session"),
            ];
            if let Some((_, what)) = ours.iter().find(|(ours, _)| ours == key) {
                let right = format!("is the annotation by which a pod {what}; choose another key");
                check.problem(flag, Some(key), right);
            }
        }
        let on = |source| roles.sources.contains(&source);
        AnnotationKeys {
            role: iam_role_key,
            external_id: iam_external_id,
            allowed_roles: namespace_key,
            labels: attribution.labels.clone(),
            session_name: session_name_key,
            service_account_role: on(RoleSource::ServiceAccount)
                .then_some(service_account_role_key),
            eks_role: on(RoleSource::Eks),
            namespace_role: on(RoleSource::Namespace).then_some(namespace_role_key),
            permitted: roles.permitted.map(|_| namespace_permitted_key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[test]
    fn a_role_base_is_given_discovered_or_absent() {
        assert_eq!(config(&[]).roles.base, Discoverable::Absent);
        let Discoverable::Given(base) =
            config(&["--base-role-arn=arn:aws-cn:iam::123456789012:role/p"])
                .roles
                .base
        else {
            panic!()
        };
        assert_eq!(base.as_str(), "arn:aws-cn:iam::123456789012:role/p/");
        let discover = config(&["--auto-discover-base-arn"]).roles;
        assert_eq!(
            (discover.base, discover.default_role),
            (Discoverable::Discover, Discoverable::Absent)
        );
        let discover = config(&["--auto-discover-default-role"]).roles;
        assert_eq!(
            (discover.base, discover.default_role),
            (Discoverable::Discover, Discoverable::Discover)
        );
    }

    #[test]
    fn discovery_conflicts_with_what_it_would_discover() {
        const BASE: &str = "--base-role-arn=arn:aws:iam::123456789012:role/";
        assert_one_problem(
            &["--auto-discover-base-arn", BASE],
            "--auto-discover-base-arn=\"true\": ",
            "--base-role-arn",
        );
        assert_one_problem(
            &["--auto-discover-default-role", BASE],
            "--auto-discover-default-role=\"true\": ",
            "--base-role-arn",
        );
        assert_one_problem(
            &["--auto-discover-default-role", "--default-role=r"],
            "--auto-discover-default-role=\"true\": ",
            "--default-role",
        );
        assert!(problems(&["--auto-discover-base-arn=false", BASE]).is_empty());
        assert!(problems(&["--auto-discover-base-arn", "--default-role=r"]).is_empty());
        assert!(problems(&["--auto-discover-base-arn", "--auto-discover-default-role"]).is_empty());
    }

    #[test]
    fn a_default_role_must_be_one_that_iam_could_have() {
        const BASE: &str = "--base-role-arn=arn:aws:iam::123456789012:role/";
        for role in [
            "reader",
            "pa/th/reader",
            "a+=,.@_-b",
            "arn:aws-us-gov:iam::123456789012:role/reader",
        ] {
            let words = ["--default-role", role, BASE];
            assert_eq!(
                config(&words).roles.default_role,
                Discoverable::Given(role.to_owned()),
                "{role}"
            );
        }
        let too_long = "r".repeat(65);
        for role in [
            "re ader",
            "a//b",
            "reader/",
            &too_long,
            "arn:aws:iam::1:role/reader",
            "arn:aws:s3:::bucket",
            "rôle",
        ] {
            for more in [BASE, "--auto-discover-base-arn"] {
                assert_one_problem(
                    &["--default-role", role, more],
                    &format!("--default-role={role:?}: "),
                    "ARN",
                );
            }
        }
        assert_one_problem(
            &["--default-role=reader"],
            "--default-role=\"reader\": ",
            "--base-role-arn",
        );
        // A base ARN that cannot be read is one problem, not two.
        assert_one_problem(
            &["--default-role=reader", "--base-role-arn=x"],
            "--base-role-arn",
            "not a base ARN",
        );
    }

    #[test]
    fn restrictions_are_off_glob_or_regexp_in_any_case() {
        for (words, expected) in [
            (&[][..], None),
            (&["--namespace-restriction-format=regexp"], None),
            (&["--namespace-restrictions"], Some(RestrictionFormat::Glob)),
            (
                &[
                    "--namespace-restrictions",
                    "--namespace-restriction-format=RegExp",
                ],
                Some(RestrictionFormat::Regexp),
            ),
            (
                &[
                    "--namespace-restrictions=false",
                    "--namespace-restriction-format=glob",
                ],
                None,
            ),
        ] {
            assert_eq!(
                config(words).roles.namespace_restrictions,
                expected,
                "{words:?}"
            );
        }
    }

    #[test]
    fn annotation_keys_are_kube2iams_unless_others_are_given() {
        let keys = config(&["--iam-external-id=x.example/id"]).annotations;
        let expected = [
            "iam.amazonaws.com/role",
            "x.example/id",
            "iam.amazonaws.com/allowed-roles",
        ];
        assert_eq!([keys.role, keys.external_id, keys.allowed_roles], expected);
        assert_one_problem(
            &["--iam-external-id=iam.amazonaws.com/role"],
            "--iam-external-id",
            "key of its own",
        );
        assert_one_problem(
            &["--iam-role-key=podiam.io/imdsv2"],
            "--iam-role-key",
            "IMDSv2",
        );
        assert_one_problem(
            &["--namespace-key=a b"],
            "--namespace-key=\"a b\"",
            "annotation",
        );
    }
}
