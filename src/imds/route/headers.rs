//! The headers that go with a request line: who is meant by Host, and that nothing has a body.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::http::uri::Authority;
use hyper::{HeaderMap, Version, header};

use super::Rejection;

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

const IPV4_IMDS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
const IPV6_IMDS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254));

#[cfg(test)]
mod tests {
    use super::*;

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
}
