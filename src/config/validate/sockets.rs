//! Judges the agent's sockets, and how pods' requests get to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use podiam_intercept::{Interfaces, Mode};

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
            debug_store: check.switch("debug", &debug),
            data_workers: check
                .parse("data-workers", &data_workers, values::workers)
                .unwrap_or(1),
        }
    }
}

impl InterceptionFlags {
    pub(super) fn judge(self, check: &mut Check, node: &Node, listen: &Listen) -> Interception {
        let Self {
            iptables,
            host_interface,
            intercept,
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
                target(check, node.host_ip, listen.pods.port());
                if let Some(ip) = node.host_ip6.filter(Ipv6Addr::is_loopback) {
                    check.problem(
                        "host-ip6",
                        Some(&ip.to_string()),
                        "pods' requests cannot be sent to a loopback address",
                    );
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
        }
    }
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

/// Where pods' requests are sent to: `--host-ip` and `--app-port`, if both will do.
pub(in crate::config) fn target(
    check: &mut Check,
    host_ip: Option<IpAddr>,
    port: u16,
) -> Option<SocketAddrV4> {
    let ip = match host_ip {
        Some(IpAddr::V4(ip)) if ip.is_loopback() => {
            check.problem(
                "host-ip",
                Some(&ip.to_string()),
                "pods' requests cannot be sent to a loopback address",
            );
            None
        }
        Some(IpAddr::V4(ip)) => Some(ip),
        Some(IpAddr::V6(ip)) => {
            check.problem(
                "host-ip",
                Some(&ip.to_string()),
                "pods' requests are sent to an IPv4 address of the node; its IPv6 address belongs to --host-ip6",
            );
            None
        }
        None => {
            if !check.has_problem("host-ip") {
                check.problem(
                    "host-ip",
                    None,
                    "needed to intercept: the IPv4 address of this node, as status.hostIP",
                );
            }
            None
        }
    };
    let port = fixed(check, port);
    Some(SocketAddrV4::new(ip?, port?))
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
    fn interception_needs_an_ipv4_address_of_the_node_and_a_port() {
        assert_one_problem(
            &["--intercept=cilium", "--app-port=0"],
            "--app-port=\"0\": ",
            "fixed port",
        );
        for asked in ["--iptables", "--intercept=nftables", "--intercept=iptables"] {
            assert_one_problem(&[asked], "--host-ip: ", "needed to intercept");
            assert_one_problem(&[asked, "--host-ip="], "--host-ip: ", "needed to intercept");
            assert_one_problem(
                &[asked, "--host-ip=fd00::7"],
                "--host-ip=\"fd00::7\": ",
                "IPv4",
            );
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
