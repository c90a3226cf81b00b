//! Judges the agent's sockets, and how pods' requests get to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use podiam_intercept::{Interfaces, Mode, ReversePath};

use super::given;
use crate::config::check::Check;
use crate::config::flags::{InterceptionFlags, ListenFlags};
use crate::config::{Interception, Listen, Node, values};

/// kube2iam's port, which stands in for one that cannot be read.
pub(in crate::config) const APP_PORT: u16 = 8181;
/// The admin socket's port where `--metrics-port` is absent.
const ADMIN_PORT: u16 = 9181;

impl ListenFlags {
    pub(super) fn judge(self, check: &mut Check, node: &Node) -> Listen {
        let Self {
            app_port,
            metrics_port,
            debug,
            data_workers,
        } = self;
        let every_address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let port = check.parse("app-port", &app_port, values::port);
        let pods = SocketAddr::new(
            node.host_ip.unwrap_or(every_address),
            port.unwrap_or(APP_PORT),
        );

        let default_admin = SocketAddr::new(
            node.host_ip.unwrap_or(Ipv4Addr::LOCALHOST.into()),
            ADMIN_PORT,
        );
        let admin_port =
            given(metrics_port).and_then(|text| check.parse("metrics-port", &text, values::port));
        let admin = match admin_port {
            // Nothing but metadata is served to pods, so kube2iam's habit of one port for both cannot be kept.
            Some(shared) if shared == pods.port() && shared != 0 => {
                check.notice(format!(
                    "--metrics-port={shared} is the pods' port, where podiam serves no metrics: they are at {default_admin}"
                ));
                default_admin
            }
            Some(own) => SocketAddr::new(node.host_ip.unwrap_or(every_address), own),
            None => default_admin,
        };
        if admin.port() == pods.port() && admin.port() != 0 {
            check.problem(
                "app-port",
                Some(&app_port),
                format!("{ADMIN_PORT} is the port of /metrics and /healthz; choose another, or another --metrics-port"),
            );
        }
        Listen {
            pods,
            pods_v6: node
                .host_ip6
                .map(|ip| SocketAddrV6::new(ip, pods.port(), 0, 0)),
            admin,
            admin_loopback: loopback_of(admin),
            debug_store: check.switch("debug", &debug),
            data_workers: check
                .parse("data-workers", &data_workers, values::workers)
                .unwrap_or(1),
        }
    }
}

/// The same port of 127.0.0.1, unless `admin` is reached there already. Where the port is left to the system, that of the
/// other address would be another one.
fn loopback_of(admin: SocketAddr) -> Option<SocketAddr> {
    let is_there = admin.ip().is_loopback() || admin.ip().is_unspecified();
    let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), admin.port());
    (!is_there && admin.port() != 0).then_some(local)
}

impl InterceptionFlags {
    pub(super) fn judge(self, check: &mut Check, node: &Node, listen: &Listen) -> Interception {
        let Self {
            iptables,
            host_interface,
            intercept,
            reverse_path: path,
        } = self;
        let by_iptables = check.switch("iptables", &iptables);
        let interfaces = host_interface.and_then(|text| interfaces(check, &text));
        let asked = given(intercept);
        let chosen = asked.as_deref().and_then(|text| mode(check, text));
        if by_iptables && chosen.is_some_and(|chosen| !chosen.writes_rules()) {
            check.problem(
                "intercept",
                asked.as_deref(),
                "conflicts with --iptables, which asks for rules; keep one",
            );
        }
        let mode = match chosen {
            Some(chosen) => chosen,
            None if by_iptables && asked.is_none() => Mode::Nftables,
            None => Mode::None,
        };
        if by_iptables && mode == Mode::Nftables {
            check.notice("--iptables means --intercept=nftables: podiam writes a table of its own and no iptables rule");
        }
        match mode {
            Mode::Nftables | Mode::Iptables => {
                targets(check, (node.host_ip, node.host_ip6), listen.pods.port());
                if listen.pods.is_ipv6() {
                    check.notice("--host-ip is an IPv6 address: pods are answered at fd00:ec2::254 and refused at 169.254.169.254");
                }
            }
            Mode::Cilium => {
                fixed(check, listen.pods.port());
                check.notice("--intercept=cilium writes no rules: apply the policy of `podiam intercept print --intercept=cilium`, or pods reach the node's own credentials");
            }
            Mode::None => check.notice("without --intercept podiam writes no rules: unless others do, pods reach the node's own credentials"),
        }
        Interception {
            mode,
            interfaces: interfaces.unwrap_or_default(),
            reverse_path: reverse_path(check, &path),
        }
    }
}

/// `--reverse-path`.
pub(in crate::config) fn reverse_path(check: &mut Check, text: &str) -> ReversePath {
    let choices = [("on", ReversePath::On), ("off", ReversePath::Off)];
    let chosen = check.choice("reverse-path", text, &choices);
    chosen.unwrap_or_default()
}

/// `--host-ip` and `--host-ip6`.
pub(in crate::config) fn node_addresses(
    check: &mut Check,
    host_ip: Option<String>,
    host_ip6: Option<String>,
) -> (Option<IpAddr>, Option<Ipv6Addr>) {
    let host_ip = given(host_ip).and_then(|ip| check.parse("host-ip", &ip, values::host_ip));
    let host_ip6 = given(host_ip6).and_then(|ip| check.parse("host-ip6", &ip, values::host_ip6));
    if let (Some(IpAddr::V6(_)), Some(ip)) = (host_ip, host_ip6) {
        check.problem(
            "host-ip6",
            Some(&ip.to_string()),
            "--host-ip is an IPv6 address too; give the node's IPv4 address there, or leave this out",
        );
    }
    (host_ip, host_ip6)
}

/// `--intercept`.
pub(in crate::config) fn mode(check: &mut Check, text: &str) -> Option<Mode> {
    let choices = Mode::ALL.map(|mode| (mode.name(), mode));
    check.choice("intercept", text, &choices)
}

/// `--host-interface`.
pub(in crate::config) fn interfaces(check: &mut Check, text: &str) -> Option<Interfaces> {
    let right = |error| format!("not a list of interfaces, such as eni+ or cali+,!eth0: {error}");
    check.parse("host-interface", text, |text| {
        text.parse::<Interfaces>().map_err(right)
    })
}

/// Where pods' requests are sent to: `--host-ip` and `--app-port`, and the same port of `--host-ip6`, if all will do.
pub(in crate::config) fn targets(
    check: &mut Check,
    (host_ip, host_ip6): (Option<IpAddr>, Option<Ipv6Addr>),
    port: u16,
) -> Option<(SocketAddr, Option<SocketAddrV6>)> {
    let mut usable = |flag, ip: IpAddr| {
        if ip.is_loopback() {
            check.problem(
                flag,
                Some(&ip.to_string()),
                "pods' requests cannot be sent to a loopback address",
            );
        }
        !ip.is_loopback()
    };
    let ip = host_ip.filter(|ip| usable("host-ip", *ip));
    let ip6 = host_ip6.filter(|ip| usable("host-ip6", (*ip).into()));
    if host_ip.is_none() && !check.has_problem("host-ip") {
        check.problem(
            "host-ip",
            None,
            "needed to intercept: the address of this node, as status.hostIP",
        );
    }
    let port = fixed(check, port)?;
    let v6 = ip6.map(|ip| SocketAddrV6::new(ip, port, 0, 0));
    Some((SocketAddr::new(ip?, port), v6))
}

/// `--app-port`, for somebody else to send requests to.
pub(in crate::config) fn fixed(check: &mut Check, port: u16) -> Option<u16> {
    if port == 0 {
        check.problem(
            "app-port",
            Some("0"),
            "pods' requests are sent to a fixed port; write a number from 1 to 65535",
        );
    }
    (port != 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    #[test]
    fn sockets_are_at_the_host_ip_or_where_kube2iam_has_them() {
        for (words, pods, admin) in [
            (&[][..], "0.0.0.0:8181", "127.0.0.1:9181"),
            (&["--host-ip=10.0.0.7"], "10.0.0.7:8181", "10.0.0.7:9181"),
            (&["--host-ip=fd00::7"], "[fd00::7]:8181", "[fd00::7]:9181"),
            (&["--app-port=18181"], "0.0.0.0:18181", "127.0.0.1:9181"),
            (&["--metrics-port=9543"], "0.0.0.0:8181", "0.0.0.0:9543"),
            (
                &["--metrics-port=9543", "--host-ip=10.0.0.7"],
                "10.0.0.7:8181",
                "10.0.0.7:9543",
            ),
            (&["--metrics-port=9181"], "0.0.0.0:8181", "0.0.0.0:9181"),
            (
                &["--app-port=9181", "--metrics-port=9182"],
                "0.0.0.0:9181",
                "0.0.0.0:9182",
            ),
            (
                &["--app-port=0", "--metrics-port=0"],
                "0.0.0.0:0",
                "0.0.0.0:0",
            ),
        ] {
            let listen = config(words).listen;
            assert_eq!(
                (
                    listen.pods.to_string().as_str(),
                    listen.admin.to_string().as_str()
                ),
                (pods, admin),
                "{words:?}"
            );
        }
    }

    #[test]
    fn the_admin_socket_is_on_loopback_too_wherever_else_it_is() {
        for (words, loopback) in [
            (&[][..], None),
            (&["--host-ip=10.0.0.7"], Some("127.0.0.1:9181")),
            (&["--host-ip=fd00::7"], Some("127.0.0.1:9181")),
            (
                &["--host-ip=10.0.0.7", "--metrics-port=9543"],
                Some("127.0.0.1:9543"),
            ),
            (&["--host-ip=127.0.3.1"], None),
            (&["--metrics-port=9543"], None),
            (&["--host-ip=10.0.0.7", "--metrics-port=0"], None),
        ] {
            let told = config(words).listen.admin_loopback;
            let expected = loopback.map(|address| address.parse().unwrap());
            assert_eq!(told, expected, "{words:?}");
        }
    }

    #[test]
    fn pods_are_answered_over_ipv6_where_the_node_has_such_an_address() {
        let listen = |words: &[&str]| config(words).listen.pods_v6;
        assert_eq!(listen(&["--host-ip=10.0.0.7"]), None);
        assert_eq!(
            listen(&["--host-ip=10.0.0.7", "--host-ip6="]),
            None,
            "as a chart leaves it"
        );
        assert_eq!(
            listen(&["--host-ip=10.0.0.7", "--host-ip6=fd00::7", "--app-port=81"]),
            Some("[fd00::7]:81".parse().unwrap())
        );
        assert_one_problem(
            &["--host-ip=fd00::7", "--host-ip6=fd00::8"],
            "--host-ip6=\"fd00::8\": ",
            "IPv4",
        );
        assert_one_problem(
            &["--iptables", "--host-ip=10.0.0.7", "--host-ip6=::1"],
            "--host-ip6=\"::1\": ",
            "loopback",
        );
    }

    #[test]
    fn one_port_for_pods_and_metrics_leaves_the_metrics_at_their_default_with_a_notice() {
        let shared = config(&["--host-ip=10.0.0.7", "--metrics-port=8181"]);
        assert_eq!(shared.listen.pods, "10.0.0.7:8181".parse().unwrap());
        assert_eq!(shared.listen.admin, "10.0.0.7:9181".parse().unwrap());
        assert!(has_notice(&shared, "--metrics-port=8181"));
        assert!(!has_notice(
            &config(&["--metrics-port=9000"]),
            "--metrics-port"
        ));
        assert_one_problem(
            &["--app-port=9181"],
            "--app-port=\"9181\": ",
            "--metrics-port",
        );
        assert_one_problem(
            &["--app-port=9181", "--metrics-port=9181"],
            "--app-port=\"9181\": ",
            "--metrics-port",
        );
    }

    #[test]
    fn interception_is_asked_for_by_either_flag_and_covers_every_interface() {
        for words in [
            &["--iptables", "--host-ip=10.0.0.7"][..],
            &["--intercept=nftables", "--host-ip=10.0.0.7"],
            &[
                "--iptables",
                "--intercept=nftables",
                "--host-ip=10.0.0.7",
                "--host-interface=",
            ],
        ] {
            assert_eq!(
                config(words).interception,
                Interception {
                    mode: Mode::Nftables,
                    interfaces: Interfaces::all(),
                    reverse_path: ReversePath::On,
                },
                "{words:?}"
            );
        }
        for (words, mode) in [
            (&["--host-ip=10.0.0.7"][..], Mode::None),
            (&["--intercept=none"], Mode::None),
            (&["--intercept=cilium"], Mode::Cilium),
            (
                &["--intercept=iptables", "--host-ip=10.0.0.7"],
                Mode::Iptables,
            ),
            (
                &["--iptables", "--intercept=iptables", "--host-ip=10.0.0.7"],
                Mode::Iptables,
            ),
        ] {
            assert_eq!(config(words).interception.mode, mode, "{words:?}");
        }
        assert!(has_notice(
            &config(&["--intercept=cilium"]),
            "podiam intercept print"
        ));
        assert!(has_notice(&config(&[]), "without --intercept"));
        assert!(has_notice(
            &config(&["--iptables", "--host-ip=10.0.0.7"]),
            "--iptables means"
        ));

        let some = config(&[
            "--iptables",
            "--host-ip=10.0.0.7",
            "--host-interface=eni+,!eth0",
        ])
        .interception;
        assert_eq!(some.interfaces, "eni+,!eth0".parse().unwrap());
    }

    #[test]
    fn interception_needs_an_address_of_the_node_and_a_port() {
        assert_one_problem(
            &["--intercept=cilium", "--app-port=0"],
            "--app-port=\"0\": ",
            "fixed port",
        );
        for asked in ["--iptables", "--intercept=nftables", "--intercept=iptables"] {
            assert_one_problem(&[asked], "--host-ip: ", "needed to intercept");
            assert_one_problem(&[asked, "--host-ip="], "--host-ip: ", "needed to intercept");
            assert_one_problem(&[asked, "--host-ip=::1"], "--host-ip=\"::1\": ", "loopback");
            assert_one_problem(
                &[asked, "--host-ip=127.0.0.1"],
                "--host-ip=\"127.0.0.1\": ",
                "loopback",
            );
            assert_one_problem(
                &[asked, "--host-ip=nowhere"],
                "--host-ip=\"nowhere\": ",
                "not an IP address",
            );
            assert_one_problem(
                &[asked, "--host-ip=10.0.0.7", "--app-port=0"],
                "--app-port=\"0\": ",
                "fixed port",
            );
            assert_one_problem(
                &[asked, "--host-ip=10.0.0.7", "--app-port=x"],
                "--app-port=\"x\": ",
                "not a port",
            );
        }
    }

    #[test]
    fn a_node_with_an_ipv6_address_alone_intercepts_over_ipv6_and_says_so() {
        let v6 = config(&["--intercept=nftables", "--host-ip=fd00::7"]);
        assert_eq!(v6.listen.pods, "[fd00::7]:8181".parse().unwrap());
        assert_eq!(v6.listen.pods_v6, None);
        let told = "refused at 169.254.169.254";
        assert!(has_notice(&v6, told));
        let v4 = config(&["--intercept=nftables", "--host-ip=10.0.0.7"]);
        assert!(!has_notice(&v4, told));
    }

    #[test]
    fn the_reverse_path_is_checked_unless_that_is_turned_off() {
        let of = |words: &[&str]| config(words).interception.reverse_path;
        assert_eq!(of(&[]), ReversePath::On);
        assert_eq!(of(&["--reverse-path=on"]), ReversePath::On);
        assert_eq!(of(&["--reverse-path=off"]), ReversePath::Off);
        assert_one_problem(
            &["--reverse-path=loose"],
            "--reverse-path=\"loose\": ",
            "write on or off",
        );
    }

    #[test]
    fn interception_that_contradicts_itself_or_is_unknown_is_a_problem() {
        for mode in ["none", "cilium"] {
            assert_one_problem(
                &["--iptables", &format!("--intercept={mode}")],
                &format!("--intercept={mode:?}: "),
                "--iptables",
            );
        }
        assert_one_problem(
            &["--intercept=ebpf"],
            "--intercept=\"ebpf\": ",
            "write nftables, iptables, cilium or none",
        );
        assert_one_problem(
            &["--host-interface=a,,b"],
            "--host-interface=\"a,,b\": ",
            "eni+",
        );
    }

    proptest! {
        #[test]
        fn the_admin_socket_never_shares_the_pods_port(app in 1..=u16::MAX, metrics in proptest::option::of(1..=u16::MAX), same: bool) {
            let app_port = format!("--app-port={app}");
            let metrics_port = metrics.map(|port| format!("--metrics-port={}", if same { app } else { port }));
            let words: Vec<_> = std::iter::once(app_port.as_str()).chain(metrics_port.as_deref()).collect();
            if let Ok(config) = judge(&words) {
                prop_assert_ne!(config.listen.pods.port(), config.listen.admin.port());
            } else {
                prop_assert!(app == 9181);
            }
        }
    }
}
