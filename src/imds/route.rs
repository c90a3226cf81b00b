//! The request line, read strictly: it becomes a [`Route`] or it is refused. Nothing a client can write leads anywhere
//! else, and no byte of it goes upstream: a route holds either our own words or a role's name to be compared.

mod headers;
mod rejection;

use hyper::{Method, Uri};

use super::allow::{AllowList, MetadataPath};
use crate::selftest::Nonce;

pub use headers::check_headers;
pub use rejection::Rejection;

/// Longest request target that can name something of ours: the longest ARN is 2,048 characters.
const MAX_TARGET: usize = 2300;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `PUT /latest/api/token`: an IMDSv2 token.
    Token,
    /// `GET …/iam/security-credentials/`: the name of the pod's role.
    RoleList,
    /// `GET …/iam/security-credentials/<role>`: credentials.
    Role(&'a str),
    /// `GET …/iam/info`.
    IamInfo,
    /// `GET …/iam/`: what is below it.
    IamListing,
    /// `GET …/meta-data/`: what is below it.
    MetadataListing,
    /// Something that the real metadata service is asked.
    Metadata(MetadataPath),
    /// `GET /healthz`: only for the node itself.
    Health,
    /// `GET /podiam/self-test/<nonce>`: the agent's question to itself, by way of the kernel.
    SelfTest(Nonce),
}

/// Reads a request line.
pub fn parse<'a>(
    method: &Method,
    target: &'a Uri,
    allow: &AllowList,
) -> Result<Route<'a>, Rejection> {
    let path = canonical_path(target)?;
    let route = find(path, allow).ok_or(Rejection::NotFound)?;
    let allowed = if route == Route::Token {
        "PUT"
    } else {
        "GET, HEAD"
    };
    if allowed.split(", ").any(|name| name == method.as_str()) {
        Ok(route)
    } else {
        Err(Rejection::MethodNotAllowed(allowed))
    }
}

/// The path, if there is exactly one way to read it. Other forms are refused rather than cleaned up: what two parsers
/// may read differently is how metadata proxies were bypassed.
fn canonical_path(target: &Uri) -> Result<&str, Rejection> {
    if target.scheme().is_some() || target.authority().is_some() {
        return Err(Rejection::Malformed("only a path can be asked for"));
    }
    if target.query().is_some() {
        return Err(Rejection::Malformed("no query is known here"));
    }
    let path = target.path();
    if path.len() > MAX_TARGET {
        return Err(Rejection::Malformed("the path is too long"));
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Rejection::Malformed("only a path can be asked for"));
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:+=,@/".contains(&byte);
    if !path.bytes().all(legal) {
        return Err(Rejection::Malformed(
            "the path has a character that no path here has",
        ));
    }
    let segments = rest.strip_suffix('/').unwrap_or(rest).split('/');
    if path.contains("//")
        || segments
            .clone()
            .any(|segment| matches!(segment, "." | ".."))
    {
        return Err(Rejection::Malformed(
            "the path is not in its canonical form",
        ));
    }
    Ok(rest)
}

fn find<'a>(path: &'a str, allow: &AllowList) -> Option<Route<'a>> {
    if path == "healthz" {
        return Some(Route::Health);
    }
    if let Some(nonce) = path.strip_prefix("podiam/self-test/") {
        return Nonce::parse(nonce).map(Route::SelfTest);
    }
    let (version, path) = path.split_once('/')?;
    if path == "api/token" {
        return (version == "latest").then_some(Route::Token);
    }
    if !is_version(version) {
        return None;
    }
    if let Some(iam) = path.strip_prefix("meta-data/iam/security-credentials") {
        return match iam.strip_prefix('/') {
            None if iam.is_empty() => Some(Route::RoleList),
            Some("") => Some(Route::RoleList),
            Some(role) => Some(Route::Role(role)),
            // security-credentials-extended and whatever else begins like it: newer SDKs fall back on 404.
            None => None,
        };
    }
    let without_slash = path.strip_suffix('/').unwrap_or(path);
    match without_slash {
        "meta-data" => Some(Route::MetadataListing),
        "meta-data/iam" => Some(Route::IamListing),
        "meta-data/iam/info" => Some(Route::IamInfo),
        _ => allow.find(without_slash).map(Route::Metadata),
    }
}

/// IMDS has a tree for each version: `latest`, `1.0`, and dates.
fn is_version(version: &str) -> bool {
    version == "latest"
        || version == "1.0"
        || (version.len() == "2007-01-19".len()
            && version.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Imdsv2, Metadata, MetadataProfile};

    fn allow() -> AllowList {
        AllowList::new(&Metadata {
            address: String::new(),
            intercepted: [169, 254, 169, 254].into(),
            profile: MetadataProfile::Safe,
            allow: vec![],
            allow_user_data: false,
            imdsv2: Imdsv2::Optional,
        })
    }

    fn get(target: &str) -> Result<String, Rejection> {
        let uri: Uri = target
            .parse()
            .map_err(|_| Rejection::Malformed("not a URI"))?;
        parse(&Method::GET, &uri, &allow()).map(|route| format!("{route:?}"))
    }

    #[test]
    fn every_route_is_found_under_every_version() {
        for version in ["latest", "1.0", "2007-01-19", "2021-07-15", "2099-12-31"] {
            for (path, route) in [
                ("meta-data/iam/security-credentials", "RoleList"),
                ("meta-data/iam/security-credentials/", "RoleList"),
                (
                    "meta-data/iam/security-credentials/reader",
                    r#"Role("reader")"#,
                ),
                (
                    "meta-data/iam/security-credentials/reader/",
                    r#"Role("reader/")"#,
                ),
                (
                    "meta-data/iam/security-credentials/a/b/reader",
                    r#"Role("a/b/reader")"#,
                ),
                (
                    "meta-data/iam/security-credentials/arn:aws:iam::123456789012:role/a+=,@.-_/r",
                    r#"Role("arn:aws:iam::123456789012:role/a+=,@.-_/r")"#,
                ),
                ("meta-data/iam/info", "IamInfo"),
                ("meta-data/iam/", "IamListing"),
                ("meta-data", "MetadataListing"),
                ("meta-data/", "MetadataListing"),
                (
                    "meta-data/instance-id",
                    r#"Metadata(MetadataPath("/latest/meta-data/instance-id"))"#,
                ),
                (
                    "dynamic/instance-identity/document",
                    r#"Metadata(MetadataPath("/latest/dynamic/instance-identity/document"))"#,
                ),
                (
                    "meta-data/network/interfaces/macs",
                    r#"Metadata(MetadataPath("/latest/meta-data/network/interfaces/macs/"))"#,
                ),
            ] {
                assert_eq!(
                    get(&format!("/{version}/{path}")).as_deref(),
                    Ok(route),
                    "{version} {path}"
                );
            }
        }
        assert_eq!(get("/healthz").as_deref(), Ok("Health"));
        let nonce = "00112233445566778899aabbccddeeff";
        assert_eq!(
            get(&format!("/podiam/self-test/{nonce}")),
            Ok(format!("SelfTest(Nonce({nonce}))"))
        );
    }

    #[test]
    fn what_is_not_ours_is_not_found() {
        for target in [
            "/",
            "/latest",
            "/latest/",
            "/latest/user-data",
            "/latest/meta-data/iam/security-credentials-extended/",
            "/latest/meta-data/iam/security-credentials-extended/node",
            "/latest/meta-data/iam/x",
            "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
            "/latest/meta-data/identity-credentials/ec2/info",
            "/latest/meta-data/public-keys/0/openssh-key",
            "/latest/dynamic/instance-identity/pkcs7",
            "/LATEST/meta-data/instance-id",
            "/latest/META-DATA/instance-id",
            "/latest/meta-data/Instance-Id",
            "/2007-1-19/meta-data/instance-id",
            "/debug/store",
            "/metrics",
            "/healthz/",
            "/latest/healthz",
            "/2021-07-15/api/token",
            "/podiam/self-test",
            "/podiam/self-test/",
            "/podiam/self-test/00112233445566778899aabbccddeef",
            "/podiam/self-test/00112233445566778899aabbccddeefff",
            "/podiam/self-test/00112233445566778899AABBCCDDEEFF",
            "/podiam/self-test/00112233445566778899aabbccddeeff/",
        ] {
            assert_eq!(get(target), Err(Rejection::NotFound), "{target}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_malformed() {
        for target in [
            "//latest/meta-data/instance-id",
            "/latest//meta-data/instance-id",
            "/latest/./meta-data/instance-id",
            "/latest/../latest/meta-data/instance-id",
            "/latest/meta-data/instance-id/..",
            "/latest/meta-data/%69am/info",
            "/latest/meta-data%2fiam%2finfo",
            "/latest/user%252ddata",
            "/latest/meta-data;a=b/instance-id",
            "/latest/meta-data/instance-id%00",
            "/latest/meta-data/instance-id?x=y",
            "/latest/meta-data/instance-id?",
            "/latest\\meta-data",
            "http://169.254.169.254/latest/meta-data/instance-id",
            "http://x@y/latest/meta-data",
            "169.254.169.254:80",
            "*",
            "/latest/meta-data/iam/security-credentials//reader",
            "/latest/meta-data/iam/security-credentials/é",
        ] {
            assert!(
                matches!(get(target), Err(Rejection::Malformed(_))),
                "{target}: {:?}",
                get(target)
            );
        }
    }

    #[test]
    fn only_reading_is_allowed_but_for_the_token() {
        let route = |method: &str, target: &str| {
            parse(
                &Method::from_bytes(method.as_bytes()).unwrap(),
                &target.parse().unwrap(),
                &allow(),
            )
            .err()
        };
        for method in ["GET", "HEAD"] {
            assert_eq!(route(method, "/latest/meta-data/instance-id"), None);
            assert_eq!(
                route(method, "/latest/api/token"),
                Some(Rejection::MethodNotAllowed("PUT"))
            );
        }
        assert_eq!(route("PUT", "/latest/api/token"), None);
        for method in [
            "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "X",
        ] {
            let refused = route(method, "/latest/meta-data/iam/security-credentials/");
            assert_eq!(
                refused,
                Some(Rejection::MethodNotAllowed("GET, HEAD")),
                "{method}"
            );
        }
    }

    proptest! {
        /// threats.md row 5, as an invariant: whatever the client writes, what goes upstream is a string of ours.
        #[test]
        fn only_listed_strings_can_ever_go_upstream(target in "(/|latest|meta-data|iam|info|instance-id|\\.|%2e|;|user-data|network/interfaces/macs|0a:00:00:00:00:01|tags/instance|[ -~]){0,12}") {
            let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
            if let Ok(Route::Metadata(path)) = parse(&Method::GET, &uri, &allow()) {
                let path = path.as_str();
                prop_assert!(path.starts_with("/latest/meta-data/") || path == "/latest/dynamic/instance-identity/document");
                // A tag's name may be any word; what is directly below meta-data may not.
                let below = path.split('/').nth(3).unwrap_or_default();
                prop_assert!(!["iam", "identity-credentials", "public-keys", ""].contains(&below), "{path}");
                prop_assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")), "{path}");
                for odd in ["//", "%", ";", "?", "\\"] {
                    prop_assert!(!path.contains(odd), "{path}");
                }
            }
        }
    }
}
