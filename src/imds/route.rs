//! The request line, read strictly: it becomes a [`Route`] or it is refused. Nothing a client can write leads anywhere
//! else, and no byte of it goes upstream: a route holds either our own words or a role's name to be compared.

use std::net::IpAddr;

use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method, Uri, Version, header};
use thiserror::Error;

use super::allow::{AllowList, MetadataPath};
use crate::selftest::Nonce;

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

/// Why a request line, or the headers that go with it, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// Characters or forms that no client of IMDS sends.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// Nothing is there, or nothing that a pod may see.
    #[error("not found")]
    NotFound,
    /// The path exists, but not for this method.
    #[error("method not allowed; allowed: {0}")]
    MethodNotAllowed(&'static str),
    /// The Host header names something else than the metadata service.
    #[error("the Host header must be the metadata service's address")]
    ForeignHost,
    /// The TTL asked for a token is missing or out of range.
    #[error("X-aws-ec2-metadata-token-ttl-seconds must be a number from 1 to 21600")]
    BadTokenTtl,
    /// A token was asked for through a proxy.
    #[error("tokens are not given to requests with X-Forwarded-For")]
    ForwardedToken,
}

impl Rejection {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) | Self::BadTokenTtl => 400,
            Self::ForeignHost | Self::ForwardedToken => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed(_) => 405,
        }
    }

    /// A short, stable name: metric label and log field.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed-request",
            Self::ForeignHost => "foreign-host",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed(_) => "method-not-allowed",
            Self::BadTokenTtl => "bad-token-ttl",
            Self::ForwardedToken => "forwarded-token",
        }
    }
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

/// Checks what must hold of the headers of every request: the Host is the metadata service (an address, never a name:
/// a name is how DNS rebinding gets here), and there is no body.
pub fn check_headers(
    headers: &HeaderMap,
    version: Version,
    local: IpAddr,
) -> Result<(), Rejection> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, None) if version == Version::HTTP_10 => {}
        (None, None) => return Err(Rejection::Malformed("the Host header is missing")),
        (Some(host), None) => check_host(host.as_bytes(), local)?,
        _ => return Err(Rejection::Malformed("more than one Host header")),
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Rejection::Malformed("no request here has a body"));
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, None) => Ok(()),
        (Some(length), None) if length.as_bytes() == b"0" => Ok(()),
        _ => Err(Rejection::Malformed("no request here has a body")),
    }
}

fn check_host(host: &[u8], local: IpAddr) -> Result<(), Rejection> {
    // What nearly every request says; the rest is for tests, probes and IPv6.
    if host == b"169.254.169.254" {
        return Ok(());
    }
    let authority = Authority::try_from(host).map_err(|_| Rejection::ForeignHost)?;
    if authority.as_str().contains('@') {
        return Err(Rejection::ForeignHost);
    }
    let address = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    match address {
        Ok(address) if address == IPV4_IMDS || address == IPV6_IMDS || address == local => Ok(()),
        _ => Err(Rejection::ForeignHost),
    }
}

const IPV4_IMDS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254));
const IPV6_IMDS: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254));

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

    #[test]
    fn the_host_must_be_the_service_itself_and_nothing_has_a_body() {
        let local: IpAddr = "10.0.0.1".parse().unwrap();
        let check = |lines: &[(&str, &str)], version| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(
                    header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    value.parse().unwrap(),
                );
            }
            check_headers(&headers, version, local).map_err(Rejection::status)
        };
        for (host, expected) in [
            ("169.254.169.254", Ok(())),
            ("169.254.169.254:80", Ok(())),
            ("[fd00:ec2::254]", Ok(())),
            ("10.0.0.1:8181", Ok(())),
            ("10.0.0.2", Err(403)),
            ("metadata.google.internal", Err(403)),
            ("169.254.169.254.attacker.example", Err(403)),
            ("2852039166", Err(403)),
            ("0xa9fea9fe", Err(403)),
            ("user@169.254.169.254", Err(403)),
            ("localhost", Err(403)),
            ("", Err(403)),
        ] {
            assert_eq!(
                check(&[("host", host)], Version::HTTP_11),
                expected,
                "{host}"
            );
        }
        let host = ("host", "169.254.169.254");
        assert_eq!(check(&[], Version::HTTP_11), Err(400));
        assert_eq!(check(&[], Version::HTTP_10), Ok(()));
        assert_eq!(check(&[host, host], Version::HTTP_11), Err(400));
        assert_eq!(
            check(&[host, ("content-length", "0")], Version::HTTP_11),
            Ok(())
        );
        assert_eq!(
            check(&[host, ("content-length", "5")], Version::HTTP_11),
            Err(400)
        );
        assert_eq!(
            check(
                &[host, ("content-length", "0"), ("content-length", "0")],
                Version::HTTP_11
            ),
            Err(400)
        );
        assert_eq!(
            check(&[host, ("transfer-encoding", "chunked")], Version::HTTP_11),
            Err(400)
        );
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
