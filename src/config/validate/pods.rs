//! Judges where pods come from and which node's they are.

use std::path::PathBuf;

use super::given;
use crate::config::check::Check;
use crate::config::flags::{NodeFlags, PodFlags};
use crate::config::{ApiAccess, ApiEndpoint, Node, PodSource, values};

impl PodFlags {
    pub(super) fn judge(self, check: &mut Check) -> (PodSource, Option<PathBuf>) {
        let Self {
            kubeconfig,
            api_server,
            api_token,
            insecure,
            cache_resync_period,
            resolve_duplicate_cache_ips,
            backoff_max_interval,
            backoff_max_elapsed_time,
            workloads,
            cri_socket,
        } = self;
        let (kubeconfig, api_server, workloads) =
            (given(kubeconfig), given(api_server), given(workloads));
        let api_token = api_token.filter(|token| !token.expose().is_empty());

        if check.switch("resolve-duplicate-cache-ips", &resolve_duplicate_cache_ips) {
            check.without_effect(
                "resolve-duplicate-cache-ips",
                "two live pods on one address are both refused until one is left",
            );
        }
        for (flag, value) in [
            ("backoff-max-interval", &backoff_max_interval),
            ("backoff-max-elapsed-time", &backoff_max_elapsed_time),
        ] {
            if check.duration(flag, value).is_some() {
                check.without_effect(
                    flag,
                    "podiam does not poll; an unknown pod waits for the watch event, at most 400ms",
                );
            }
        }
        let resync = check
            .duration("cache-resync-period", &cache_resync_period)
            .unwrap_or_default();
        let insecure = check.switch("insecure", &insecure);
        if insecure {
            check.notice("--insecure: the API server's certificate is not verified, so whoever answers decides pods' roles");
        }
        if let Some(server) = &api_server {
            check.parse("api-server", server, values::server_url);
        }
        if let Some(Err(right)) = api_token
            .as_ref()
            .map(|token| values::bearer_token(token.expose()))
        {
            check.problem("api-token", None, right);
        }
        // crictl's and the kubelet's spelling is known by everybody.
        let cri_socket = given(cri_socket)
            .map(|path| PathBuf::from(path.strip_prefix("unix://").unwrap_or(&path)));
        if let Some(path) = cri_socket.as_ref().filter(|path| !path.is_absolute()) {
            let right =
                "write the whole path of the socket, such as /run/containerd/containerd.sock";
            check.problem("cri-socket", path.to_str(), right);
        }
        match (&api_server, &api_token) {
            (Some(server), None) => {
                check.problem("api-server", Some(server), "needs --api-token beside it");
            }
            (None, Some(_)) => check.problem("api-token", None, "needs --api-server beside it"),
            _ => {}
        }

        if let Some(path) = workloads {
            for (other, is_given) in [
                ("kubeconfig", kubeconfig.is_some()),
                ("api-server", api_server.is_some()),
                ("cri-socket", cri_socket.is_some()),
            ] {
                if is_given {
                    let right = format!(
                        "conflicts with --{other}: pods come from files or from a cluster; keep one"
                    );
                    check.problem("workloads", Some(&path), right);
                }
            }
            return (PodSource::Files(path.into()), None);
        }
        let endpoint = match (kubeconfig, api_server, api_token) {
            (Some(path), server, _) => {
                if server.is_some() {
                    check.notice(
                        "--kubeconfig wins over --api-server and --api-token, as with kube2iam",
                    );
                }
                ApiEndpoint::Kubeconfig(path.into())
            }
            (None, Some(server), Some(token)) => ApiEndpoint::Explicit { server, token },
            _ => ApiEndpoint::InCluster,
        };
        let access = ApiAccess {
            endpoint,
            insecure,
            resync,
        };
        (PodSource::Kubernetes(access), cri_socket)
    }
}

impl NodeFlags {
    pub(super) fn judge(self, check: &mut Check, pods: &PodSource) -> Node {
        let Self {
            node,
            host_ip,
            host_ip6,
        } = self;
        let name = given(node).and_then(|name| check.parse("node", &name, values::node_name));
        let (host_ip, host_ip6) = super::sockets::node_addresses(check, host_ip, host_ip6);
        if name.is_none() && matches!(pods, PodSource::Kubernetes(_)) {
            check.notice("without --node every pod of the cluster is watched; name this node to watch only its own pods");
        }
        Node {
            name,
            host_ip,
            host_ip6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[test]
    fn the_runtimes_socket_is_a_whole_path_and_goes_with_a_cluster() {
        let socket = |words: &[&str]| {
            config(words)
                .cri_socket
                .map(|path| path.display().to_string())
        };
        assert_eq!(socket(&[]), None);
        assert_eq!(socket(&["--cri-socket="]), None);
        for written in ["/run/c.sock", "unix:///run/c.sock"] {
            let flag = format!("--cri-socket={written}");
            assert_eq!(socket(&[&flag]).as_deref(), Some("/run/c.sock"));
        }
        assert_one_problem(
            &["--cri-socket=c.sock"],
            "--cri-socket=\"c.sock\": ",
            "whole path",
        );
        assert_one_problem(
            &["--cri-socket=/c.sock", "--workloads=/w"],
            "--workloads=\"/w\": ",
            "conflicts with --cri-socket",
        );
    }

    #[test]
    fn pods_come_from_the_cluster_a_kubeconfig_an_explicit_server_or_files() {
        let endpoint = |words: &[&str]| match config(words).pods {
            PodSource::Kubernetes(access) => format!("{:?}", access.endpoint),
            PodSource::Files(path) => format!("{path:?}"),
        };
        assert_eq!(endpoint(&[]), "InCluster");
        assert_eq!(endpoint(&["--kubeconfig=/k"]), "Kubeconfig(\"/k\")");
        assert_eq!(endpoint(&["--workloads=/w"]), "\"/w\"");
        let explicit = ["--api-server=https://k:6443", "--api-token=canary"];
        assert!(endpoint(&explicit).contains("https://k:6443"));
        assert!(
            !endpoint(&explicit).contains("canary"),
            "a token can be printed"
        );
        let both = config(&[
            "--api-server=https://k:6443",
            "--api-token=t",
            "--kubeconfig=/k",
        ]);
        assert!(has_notice(&both, "--kubeconfig wins"));
        assert!(matches!(
            both.pods,
            PodSource::Kubernetes(ApiAccess {
                endpoint: ApiEndpoint::Kubeconfig(_),
                ..
            })
        ));
    }

    #[test]
    fn half_of_a_pair_is_a_problem_and_a_token_is_never_shown() {
        assert_one_problem(
            &["--api-server=https://k"],
            "--api-server=\"https://k\": ",
            "--api-token",
        );
        assert_one_problem(&["--api-token=canary"], "--api-token: ", "--api-server");
        assert_one_problem(
            &["--kubeconfig=/k", "--api-token=canary"],
            "--api-token: ",
            "--api-server",
        );
        for words in [
            &["--api-token=canary canary"][..],
            &["--api-token=canary\n", "--api-server=x"],
            &["--api-token=canary"],
        ] {
            assert!(
                !judge(words).unwrap_err().to_string().contains("canary"),
                "{words:?}"
            );
        }
    }

    #[test]
    fn files_and_a_cluster_conflict() {
        assert_one_problem(
            &["--workloads=/w", "--kubeconfig=/k"],
            "--workloads=\"/w\": ",
            "--kubeconfig",
        );
        assert_one_problem(
            &["--workloads=/w", "--api-server=https://k", "--api-token=t"],
            "--workloads=\"/w\": ",
            "--api-server",
        );
    }
}
