//! Addresses and ports: where the agent listens, and whom it asks.

use std::net::{IpAddr, Ipv6Addr};

use hyper::Uri;
use hyper::http::uri::Authority;

use super::names::is_dns_subdomain;

/// A TCP port; 0 lets the kernel choose.
pub(in crate::config) fn port(text: &str) -> Result<u16, &'static str> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = is_number.then(|| text.parse().ok()).flatten();
    port.ok_or("not a port; write a number from 0 to 65535")
}

/// An address that a packet can be sent to.
pub(in crate::config) fn host_ip(text: &str) -> Result<IpAddr, &'static str> {
    let ip: IpAddr = text
        .parse()
        .map_err(|_| "not an IP address, such as 10.0.0.7")?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err("not the address of a node");
    }
    Ok(ip)
}

/// An IPv6 address that pods' packets can be sent to. One of a single link would need an interface with it, and one
/// that is mapped is IPv4 on the wire.
pub(in crate::config) fn host_ip6(text: &str) -> Result<Ipv6Addr, &'static str> {
    let ip: Ipv6Addr = text
        .parse()
        .map_err(|_| "not an IPv6 address, such as fd00::7")?;
    if ip.is_unspecified() || ip.is_multicast() || ip.to_ipv4_mapped().is_some() {
        return Err("not the IPv6 address of a node");
    }
    if ip.is_unicast_link_local() {
        return Err(
            "a link-local address is good on one link only; give a global or unique local one",
        );
    }
    Ok(ip)
}

/// The API server's URL.
pub(in crate::config) fn server_url(text: &str) -> Result<String, &'static str> {
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

/// Host, or host and port, of the real metadata service.
pub(in crate::config) fn metadata_address(text: &str) -> Result<String, &'static str> {
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

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn a_port_is_a_plain_number_below_65536() {
        table(
            port,
            &["0", "1", "8181", "65535", "080"],
            &["", "65536", "-1", "+80", "80 ", "http", "$(PORT)", "8,181"],
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
    fn a_host_ip6_is_an_address_that_packets_of_every_link_can_go_to() {
        table(
            host_ip6,
            &["fd00::7", "2001:db8::1", "::1"],
            &[
                "",
                "::",
                "10.0.0.7",
                "ff02::1",
                "fe80::1",
                "fe80::1%eth0",
                "::ffff:10.0.0.7",
                "[fd00::7]",
                "fd00::7/64",
                "$(HOST_IP6)",
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
}
