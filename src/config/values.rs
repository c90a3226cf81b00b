//! Readers of single values, for [`super::validate`]. Each takes what was written and returns the value, or one line
//! that says what would be right; none looks at another flag.

use std::net::IpAddr;

use hyper::Uri;
use hyper::http::uri::Authority;

/// A TCP port; 0 lets the kernel choose.
pub(super) fn port(text: &str) -> Result<u16, &'static str> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = is_number.then(|| text.parse().ok()).flatten();
    port.ok_or("not a port; write a number from 0 to 65535")
}

/// A number of threads that serve pods.
pub(super) fn workers(text: &str) -> Result<usize, &'static str> {
    let workers = text
        .parse()
        .ok()
        .filter(|workers| (1..=64).contains(workers));
    workers.ok_or("write a number from 1 to 64")
}

/// Calls per second; 0 for no limit.
pub(super) fn rate(text: &str) -> Result<f64, &'static str> {
    let rate = text
        .parse()
        .ok()
        .filter(|rate| *rate == 0.0 || (0.01..=1000.0).contains(rate));
    rate.ok_or("write a number from 0.01 to 1000, or 0 for no limit")
}

/// Calls under way at once; 0 for no limit.
pub(super) fn calls(text: &str) -> Result<usize, &'static str> {
    let calls = text.parse().ok().filter(|calls| *calls <= 1000);
    calls.ok_or("write a number from 1 to 1000, or 0 for no limit")
}

/// An address that a packet can be sent to.
pub(super) fn host_ip(text: &str) -> Result<IpAddr, &'static str> {
    let ip: IpAddr = text
        .parse()
        .map_err(|_| "not an IP address, such as 10.0.0.7")?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err("not the address of a node");
    }
    Ok(ip)
}

/// The name of a node: a DNS subdomain in the sense of RFC 1123, as Kubernetes requires it of every object's name.
pub(super) fn node_name(text: &str) -> Result<String, &'static str> {
    if is_dns_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err(
            "not the name of a node: at most 253 lower-case letters, digits, - and ., as `kubectl get nodes` shows it",
        )
    }
}

fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            let legal =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !label.is_empty()
                && label.bytes().all(legal)
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// The key of an annotation: a name of at most 63 characters, after a DNS subdomain and `/` if it has one.
pub(super) fn annotation_key(text: &str) -> Result<String, &'static str> {
    let (prefix, name) = text
        .split_once('/')
        .map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let is_name = name.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    if is_name && prefix.is_none_or(is_dns_subdomain) {
        Ok(text.to_owned())
    } else {
        Err("not the key of an annotation, such as iam.amazonaws.com/role")
    }
}

/// The name of a cluster, as the value of a session tag.
pub(super) fn cluster_name(text: &str) -> Result<String, &'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b" _.:/=+-@".contains(&byte);
    if (1..=256).contains(&text.len()) && text.bytes().all(legal) {
        Ok(text.to_owned())
    } else {
        Err("not the name of a cluster: at most 256 letters, digits, spaces and _.:/=+-@")
    }
}

/// A region. AWS lists them nowhere in a form that would be right tomorrow, so only the shape is checked.
pub(super) fn region(text: &str) -> Result<String, &'static str> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let starts_with_letter = text.starts_with(|c: char| c.is_ascii_lowercase());
    if starts_with_letter && text.len() <= 63 && text.bytes().all(legal) && !text.ends_with('-') {
        Ok(text.to_owned())
    } else {
        Err("not a region, such as eu-central-1")
    }
}

/// The API server's URL.
pub(super) fn server_url(text: &str) -> Result<String, &'static str> {
    const RIGHT: &str = "not the URL of an API server, such as https://10.96.0.1:443";
    let url: Uri = text.parse().map_err(|_| RIGHT)?;
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let authority = url
        .authority()
        .filter(|authority| is_host_and_port(authority));
    if is_http && authority.is_some() && url.query().is_none() {
        Ok(text.to_owned())
    } else {
        Err(RIGHT)
    }
}

/// What an `Authorization` header can hold: RFC 6750's token characters, checked as "visible ASCII".
pub(super) fn bearer_token(text: &str) -> Result<(), &'static str> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(
            "not a bearer token: it is empty, or holds a space, a line end or another invisible character",
        )
    }
}

/// Host, or host and port, of the real metadata service.
pub(super) fn metadata_address(text: &str) -> Result<String, &'static str> {
    let authority = text.parse::<Authority>().ok().filter(is_host_and_port);
    let authority =
        authority.ok_or("not a host or host:port, such as 169.254.169.254 (without http://)")?;
    Ok(authority.as_str().to_owned())
}

/// Whether an authority is a host that a person would write: an address or a DNS name, with a port or without.
fn is_host_and_port(authority: &Authority) -> bool {
    let (text, host) = (authority.as_str(), authority.host());
    let port = text.strip_prefix(host);
    let is_port = match port.and_then(|port| port.strip_prefix(':')) {
        Some(port) => self::port(port).is_ok_and(|port| port != 0),
        None => port == Some(""),
    };
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = match address {
        Some(address) => matches!(address.parse(), Ok(IpAddr::V6(_))),
        None => is_dns_subdomain(&host.to_ascii_lowercase()),
    };
    is_port && is_host
}

/// A path that pods may read beside those of `--metadata`: without its version and without slashes around it, so
/// `meta-data/...` or `dynamic/...`.
pub(super) fn metadata_path(text: &str) -> Result<String, String> {
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

    use super::*;

    /// Asserts what a reader takes and what it refuses.
    fn table<T, E>(reader: impl Fn(&str) -> Result<T, E>, taken: &[&str], refused: &[&str]) {
        for text in taken {
            assert!(reader(text).is_ok(), "{text:?} should be taken");
        }
        for text in refused {
            assert!(reader(text).is_err(), "{text:?} should be refused");
        }
    }

    #[test]
    fn a_port_is_a_plain_number_below_65536() {
        table(
            port,
            &["0", "1", "8181", "65535", "080"],
            &["", "65536", "-1", "+80", "80 ", "http", "$(PORT)", "8,181"],
        );
    }

    #[test]
    fn workers_are_1_to_64() {
        table(
            workers,
            &["1", "2", "64"],
            &["", "0", "65", "-1", "two", "1.5"],
        );
    }

    #[test]
    fn a_host_ip_is_one_address_that_packets_can_go_to() {
        table(
            host_ip,
            &["10.0.0.7", "127.0.0.1", "fd00::7"],
            &[
                "",
                "0.0.0.0",
                "::",
                "224.0.0.1",
                "10.0.0.7/24",
                "10.0.0",
                "node-1",
                "$(HOST_IP)",
                " 10.0.0.7",
            ],
        );
    }

    #[test]
    fn a_node_name_is_a_dns_subdomain() {
        let longest = ["a"; 127].join(".");
        assert_eq!(longest.len(), 253);
        table(
            node_name,
            &[
                "n",
                "ip-10-0-0-7.eu-central-1.compute.internal",
                "1",
                &longest,
            ],
            &[
                "",
                "Node",
                "-a",
                "a-",
                "a..b",
                "a_b",
                "a b",
                "--debug",
                "$(NODE_NAME)",
                &format!("{longest}.a"),
            ],
        );
    }

    #[test]
    fn an_annotation_key_is_what_kubernetes_takes_as_one() {
        let name = "n".repeat(63);
        table(
            annotation_key,
            &["iam.amazonaws.com/role", "role", "a/B_c.d-e", &name],
            &[
                "",
                "/role",
                "a/",
                "a/b/c",
                "A.com/role",
                "-role",
                "role-",
                "ro le",
                "a/ro\nle",
                &format!("{name}n"),
            ],
        );
    }

    #[test]
    fn a_region_is_lower_case_with_dashes() {
        table(
            region,
            &[
                "eu-central-1",
                "us-gov-west-1",
                "us-isob-east-1",
                "cn-north-1",
                "eusc-de-east-1",
            ],
            &[
                "",
                "EU-central-1",
                "eu_central_1",
                "eu-central-1.evil.example",
                "-eu",
                "1",
                "eu-",
                "eu central",
                "a/b",
            ],
        );
    }

    #[test]
    fn an_api_server_is_a_url_of_a_host() {
        table(
            server_url,
            &[
                "https://10.96.0.1:443",
                "http://localhost:8080",
                "https://[fd00::1]:6443",
                "https://k.example/base/",
            ],
            &[
                "",
                "10.96.0.1:443",
                "https://",
                "ftp://h",
                "https://user@h",
                "https://h:0",
                "https://h?q",
                "https://h:x",
                "https://$(H)",
            ],
        );
    }

    #[test]
    fn a_token_is_visible_ascii() {
        table(bearer_token, &["abc.DEF-_~+/="], &["", "a b", "a\n", "ä"]);
    }

    #[test]
    fn a_metadata_address_is_a_host_with_or_without_port() {
        table(
            metadata_address,
            &[
                "169.254.169.254",
                "127.0.0.1:1338",
                "[fd00:ec2::254]",
                "[::1]:80",
                "imds.example",
                "Localhost:1338",
            ],
            &[
                "",
                "http://169.254.169.254",
                "a/b",
                "user@host",
                "host:",
                "host:0",
                "host:99999",
                "host:x",
                "[::1",
                "a b",
                "::1",
                "[1.2.3.4]",
                "x;y",
            ],
        );
    }

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
