//! What of the real metadata service an operator may add to what pods can read, and what no operator can.

/// A path that pods may read beside those of `--metadata`: without its version and without slashes around it, so
/// `meta-data/...` or `dynamic/...`.
pub(in crate::config) fn metadata_path(text: &str) -> Result<String, String> {
    let path = text.strip_prefix('/').unwrap_or(text);
    let path = path.strip_prefix("latest/").unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if let Some(why) = never_allowed(path) {
        return Err(why.to_owned());
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let is_segment = |segment: &str| {
        !segment.is_empty() && !segment.starts_with('.') && segment.bytes().all(legal)
    };
    let below = path
        .strip_prefix("meta-data/")
        .or_else(|| path.strip_prefix("dynamic/"));
    match below {
        Some(below) if below.split('/').all(is_segment) => Ok(path.to_owned()),
        _ => Err("not a path below meta-data/ or dynamic/, such as meta-data/placement/group-name (one document; no \
                  wildcards)"
            .to_owned()),
    }
}

/// Why a path can never be read by a pod, if so. A name is refused wherever it stands and however it is written: a
/// configuration is no place to find out how the real service reads unusual paths.
fn never_allowed(path: &str) -> Option<&'static str> {
    path.split(['/', '%', ';', '\\']).find_map(|segment| match segment.to_ascii_lowercase().as_str() {
        "iam" | "identity-credentials" | "security-credentials" => {
            Some("credentials are never passed on, by no configuration")
        }
        "user-data" => Some("user-data has a flag of its own, --allow-user-data"),
        "public-keys" => Some("public-keys are never passed on, by no configuration"),
        "signature" | "pkcs7" | "rsa2048" => {
            Some("signatures of the identity document prove to others that a pod is the node; they are never passed on")
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::table;
    use super::*;

    #[test]
    fn an_allowed_path_is_kept_without_version_and_slashes_around_it() {
        for text in [
            "meta-data/tags/instance",
            "/meta-data/tags/instance/",
            "/latest/meta-data/tags/instance",
            "latest/meta-data/tags/instance/",
        ] {
            assert_eq!(
                metadata_path(text).as_deref(),
                Ok("meta-data/tags/instance"),
                "{text}"
            );
        }
        assert_eq!(
            metadata_path("dynamic/fws/instance-monitoring").as_deref(),
            Ok("dynamic/fws/instance-monitoring")
        );
        assert_eq!(
            metadata_path("meta-data/network/interfaces/macs/02:00:00:00:00:01/vpc-id").as_deref(),
            Ok("meta-data/network/interfaces/macs/02:00:00:00:00:01/vpc-id")
        );
    }

    #[test]
    fn what_is_no_plain_path_below_the_two_trees_cannot_be_allowed() {
        table(
            metadata_path,
            &[],
            &[
                "",
                "/",
                "meta-data",
                "meta-data/",
                "dynamic",
                "latest",
                "api/token",
                "2021-07-15/meta-data/mac",
                "//meta-data/mac",
                "meta-data//mac",
                "meta-data/./mac",
                "meta-data/../user",
                "meta-data/*",
                "meta-data/%6dac",
                "meta-data/mac?x",
                "meta-data/mac#x",
                "meta-data/mac;x",
                "meta-data\\mac",
                "meta-data/m ac",
                "meta-data/mäc",
                "http://169.254.169.254/latest/meta-data/mac",
                "META-DATA/mac",
            ],
        );
    }

    #[test]
    fn what_holds_credentials_cannot_be_allowed_and_the_reason_is_told() {
        for (path, reason) in [
            ("meta-data/iam", "credentials"),
            ("meta-data/iam/info", "credentials"),
            ("/latest/meta-data/iam/security-credentials/", "credentials"),
            ("meta-data/IAM/info", "credentials"),
            ("meta-data/identity-credentials/ec2/info", "credentials"),
            ("meta-data/x/../iam/info", "credentials"),
            ("user-data", "--allow-user-data"),
            ("/latest/user-data", "--allow-user-data"),
            ("meta-data/public-keys/0/openssh-key", "public-keys"),
            ("dynamic/instance-identity/pkcs7", "signatures"),
            ("dynamic/instance-identity/rsa2048", "signatures"),
            ("dynamic/instance-identity/signature", "signatures"),
        ] {
            let error = metadata_path(path).unwrap_err();
            assert!(error.contains(reason), "{path}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_path_that_is_taken_names_what_must_stay_hidden(
            segments in prop::collection::vec(
                prop_oneof![
                    Just("meta-data".to_owned()), Just("dynamic".to_owned()), Just("latest".to_owned()),
                    Just("iam".to_owned()), Just("IAM".to_owned()), Just("info".to_owned()), Just(String::new()),
                    Just("identity-credentials".to_owned()), Just("user-data".to_owned()), Just("..".to_owned()),
                    Just("public-keys".to_owned()), "[a-z%;.*]{0,4}",
                ],
                0..6,
            ),
        ) {
            if let Ok(path) = metadata_path(&segments.join("/")) {
                prop_assert!(path.starts_with("meta-data/") || path.starts_with("dynamic/"));
                for segment in path.to_ascii_lowercase().split('/') {
                    prop_assert!(!["", ".", "..", "iam", "identity-credentials", "user-data", "public-keys"].contains(&segment));
                }
            }
        }
    }
}
