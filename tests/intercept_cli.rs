//! `podiam intercept` as an administrator runs it: the real binary in a node's network namespace, a pod beside it, and a
//! metadata service behind it that gives whoever reaches it the node's role.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what cannot be had fails the test there"
)]

mod support;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use podiam_lab::aws::{self, Aws};
use podiam_lab::netns::{self, Pod, Vpc};
use serde_json::{Value, json};
use support::agent::{Agent, Host, enter};
use support::http::ROLES;

/// The back ends that write rules, by the name that `--intercept` takes.
const MODES: [&str; 2] = ["nftables", "iptables"];
/// How long a connection that should be dropped gets.
const DROPPED: Duration = Duration::from_millis(400);

/// A node with a pod, and the real metadata service.
struct Scene {
    vpc: Arc<Vpc>,
    pod: Pod,
    _aws: Aws,
}

impl Scene {
    fn new() -> Self {
        let vpc = Arc::new(Vpc::new().unwrap());
        let aws = vpc.start_aws(aws::Config::default()).unwrap();
        let pod = vpc.add_pod(Ipv4Addr::new(10, 0, 100, 2)).unwrap();
        Self {
            vpc,
            pod,
            _aws: aws,
        }
    }

    /// Runs `podiam intercept` on the node.
    fn intercept(&self, words: &[&str]) -> Output {
        let mut command = enter(self.vpc.node().namespace(), env!("CARGO_BIN_EXE_podiam"));
        command.arg("intercept").args(words).env_clear();
        command.env("PATH", "/usr/bin:/bin").output().unwrap()
    }

    /// The same, which must succeed.
    fn done(&self, words: &[&str]) -> String {
        let output = self.intercept(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code and JSON of `status`.
    fn status(&self, words: &[&str]) -> (Option<i32>, Value) {
        let output = self.intercept(&[&["status", "--json"], words].concat());
        let json = serde_json::from_slice(&output.stdout);
        (output.status.code(), json.unwrap())
    }

    /// What the pod is told its role is.
    fn role(&self) -> io::Result<String> {
        self.ask(Duration::from_secs(10))
    }

    fn assert_dropped(&self) {
        let error = self.ask(DROPPED).expect_err("the pod reached something");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    }

    fn ask(&self, limit: Duration) -> io::Result<String> {
        let imds = SocketAddr::from((netns::IMDS, 80));
        let ask = || {
            let mut stream = TcpStream::connect_timeout(&imds, limit)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let request =
                format!("GET {ROLES} HTTP/1.1\r\nHost: {imds}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes())?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply)?;
            let (_, body) = reply.split_once("\r\n\r\n").unwrap_or_default();
            Ok(body.trim().to_owned())
        };
        self.pod.namespace().enter(ask).unwrap()
    }
}

fn node_role() -> String {
    aws::Config::default().node_role
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_node_refuses_until_an_agent_answers_and_opens_by_remove_alone() {
    for mode in MODES {
        let flag = format!("--intercept={mode}");
        let scene = Scene::new();
        assert_eq!(scene.role().unwrap(), node_role(), "without rules, {mode}");

        let told = scene.done(&["guard", &flag]);
        assert!(
            told.starts_with(&format!("{mode}: created: pods are refused ")),
            "{told}"
        );
        assert!(
            told.contains("only `podiam intercept remove` opens"),
            "{told}"
        );
        scene.assert_dropped();

        let folder = tempfile::tempdir().unwrap();
        let manifest = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "app", "namespace": "default", "uid": "9b2ff3a4-0a4f-4b6c-8d0c-000000000001",
                "annotations": {"iam.amazonaws.com/role": "app-role"},
            },
            "spec": {"nodeName": "node", "containers": [{"name": "main", "image": "app"}]},
            "status": {"phase": "Running", "podIP": "10.0.100.2", "podIPs": [{"ip": "10.0.100.2"}]},
        });
        fs::write(folder.path().join("pod.yaml"), manifest.to_string()).unwrap();
        let workloads = format!("--workloads={}", folder.path().display());
        let agent = Agent::start_at(
            Host::Node(Arc::clone(&scene.vpc)),
            "http://127.0.0.1:9",
            &[&flag, &workloads],
        );
        agent.ready().await;
        assert_eq!(scene.role().unwrap(), "app-role", "{mode}");
        let (code, status) = scene.status(&[]);
        assert_eq!(code, Some(0), "{status:#}");
        assert_eq!(
            (&status["installed"], &status["intact"]),
            (&json!(true), &json!(true))
        );
        let seen = status["back_ends"].as_array().unwrap();
        let installed = seen.iter().filter(|seen| seen["installed"] == true);
        let names: Vec<&Value> = installed.map(|seen| &seen["back_end"]).collect();
        assert_eq!(names, [mode]);
        let told = scene.done(&["guard", &flag]);
        assert!(told.starts_with(&format!("{mode}: unchanged: ")), "{told}");
        assert_eq!(scene.role().unwrap(), "app-role", "{mode}");
        if mode == "nftables" {
            let output = scene.intercept(&["remove"]);
            assert_eq!(output.status.code(), Some(1));
            let refused = String::from_utf8(output.stderr).unwrap();
            let pid = agent.process().pid();
            let owner = format!("is owned by podiam (process {pid}), which is still running");
            assert!(refused.contains(&owner), "{refused}");
            assert_eq!(scene.role().unwrap(), "app-role");
        }

        agent.process().end(nix::sys::signal::Signal::SIGKILL);
        let refused = scene.role().expect_err("the agent is gone");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{mode}");

        let told = scene.done(&["remove"]);
        assert_eq!(
            told,
            format!(
                "removed podiam's rules ({mode}): pods now reach the node's metadata service and its role\n"
            )
        );
        assert_eq!(scene.role().unwrap(), node_role(), "{mode}");
        let told = scene.done(&["remove"]);
        assert_eq!(told, "nothing to remove: there are no rules of podiam's\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn install_writes_all_rules_without_an_agent_and_says_what_it_did() {
    for mode in MODES {
        let flags = [
            &format!("--intercept={mode}"),
            "--host-ip=10.0.0.10",
            "--host-interface=!eth0",
        ];
        let install = |more: &[&'static str]| [&["install"], &flags[..], more].concat();
        let scene = Scene::new();
        assert_eq!(
            scene.done(&install(&[])),
            format!(
                "{mode}: created: pods' requests to the metadata service on interfaces !eth0 go to 10.0.0.10:8181, \
                 everything else that pods send there is refused; only `podiam intercept remove` opens the node again\n"
            )
        );
        let refused = scene.role().expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{mode}");
        let report: Value = serde_json::from_str(&scene.done(&install(&["--json"]))).unwrap();
        // Where the kernel can, each who installs nftables' rules becomes their owner.
        let same = ["unchanged", "adopted"];
        let same = same.map(|outcome| json!([{"back_end": mode, "outcome": outcome}]));
        assert!(same.contains(&report), "{report}");

        let table = scene.done(&["status", flags[0]]);
        for part in [": intact", "10.0.0.10:8181", "interfaces  !eth0", "PACKETS"] {
            assert!(table.contains(part), "{part}: {table}");
        }
        let report: Value = serde_json::from_str(&scene.done(&["remove", "--json"])).unwrap();
        let outcome = |each: &str| if each == mode { "removed" } else { "absent" };
        let expected = MODES.map(|each| json!({"back_end": each, "outcome": outcome(each)}));
        assert_eq!(report, json!(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn install_takes_the_agents_flags_for_ipv6_and_the_reverse_path() {
    let v4 = "--host-ip=10.0.0.10";
    for mode in MODES {
        let flag = format!("--intercept={mode}");
        for (flags, target, target_v6, reverse_path) in [
            (&[v4][..], json!("10.0.0.10:8181"), Value::Null, "on"),
            (
                &[v4, "--host-ip6=fd00:10::10", "--reverse-path=off"],
                json!("10.0.0.10:8181"),
                json!("[fd00:10::10]:8181"),
                "off",
            ),
            (
                &["--host-ip=fd00:10::10"],
                Value::Null,
                json!("[fd00:10::10]:8181"),
                "on",
            ),
        ] {
            let scene = Scene::new();
            scene.done(&[&["install", &flag], flags].concat());
            let (code, status) = scene.status(&[&flag]);
            assert_eq!(code, Some(0), "{mode} {flags:?}: {status}");
            let status = status.to_string();
            for (field, expected) in [
                ("target", target),
                ("target_v6", target_v6),
                ("reverse_path", json!(reverse_path)),
            ] {
                let line = format!("\"{field}\":{expected}");
                assert!(status.contains(&line), "{mode} {flags:?} {line}: {status}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_without_rules_exits_1_and_says_what_that_means() {
    let scene = Scene::new();
    let output = scene.intercept(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.starts_with("no rules of podiam's: unless others intercept, pods reach"),
        "{told}"
    );
    let (code, status) = scene.status(&["--intercept=iptables"]);
    assert_eq!(code, Some(1));
    assert_eq!(
        status,
        json!({
            "installed": false,
            "intact": false,
            "back_ends": [{"back_end": "iptables", "installed": false, "intact": false}],
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_that_write_no_rules_say_so_and_guard_nothing() {
    let scene = Scene::new();
    for mode in ["cilium", "none"] {
        let flag = format!("--intercept={mode}");
        let told = scene.done(&["install", &flag]);
        assert!(
            told.starts_with(&format!("{mode}: unwritten: podiam writes no rules: ")),
            "{told}"
        );
        let guarded = scene.intercept(&["guard", &flag]);
        assert_eq!(guarded.status.code(), Some(1));
        let error = String::from_utf8(guarded.stderr).unwrap();
        assert!(
            error.contains(&format!("{flag} writes no rules")),
            "{error}"
        );
        let (code, status) = scene.status(&[&flag]);
        assert_eq!(code, Some(1));
        assert!(status["back_ends"][0]["note"].is_string(), "{status:#}");
    }
    assert_eq!(scene.role().unwrap(), node_role());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flags_are_judged_together_and_each_problem_names_flag_value_and_what_is_right() {
    let scene = Scene::new();
    for (words, problems) in [
        (&["install"][..], &["--host-ip: needed to intercept"][..]),
        (
            &[
                "install",
                "--host-ip=127.0.0.1",
                "--app-port=0",
                "--host-interface=a,,b",
                "--intercept=ebpf",
            ],
            &[
                "--intercept=\"ebpf\": write nftables, iptables, cilium or none",
                "--host-interface=\"a,,b\": not a list of interfaces",
                "--host-ip=\"127.0.0.1\": pods' requests cannot be sent to a loopback address",
                "--app-port=\"0\": pods' requests are sent to a fixed port",
            ],
        ),
        (
            &["guard", "--intercept=x"],
            &["--intercept=\"x\": write nftables"],
        ),
        (
            &["print"],
            &["--intercept: only cilium has something to apply; write cilium"],
        ),
        (
            &["print", "--intercept=iptables"],
            &["--intercept=\"iptables\": only cilium"],
        ),
        (
            &["print", "--intercept=cilium", "--label=a b"],
            &["--label=\"a b\": "],
        ),
        (
            &["print", "--intercept=cilium", "--namespace=A"],
            &["--namespace=\"A\": "],
        ),
    ] {
        let output = scene.intercept(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        for problem in problems {
            assert!(error.contains(problem), "{words:?}: {problem}\n{error}");
        }
        assert_eq!(
            error.lines().count(),
            problems.len() + 1,
            "{words:?}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_the_agent_are_also_read_from_its_environment() {
    let scene = Scene::new();
    let mut command = enter(scene.vpc.node().namespace(), env!("CARGO_BIN_EXE_podiam"));
    let output = command
        .args(["intercept", "install"])
        .env("PODIAM_HOST_IP", "10.0.0.10")
        .env("PODIAM_APP_PORT", "8282")
        .env("PODIAM_INTERCEPT", "iptables")
        .env("PODIAM_HOST_INTERFACE", "")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.starts_with("iptables: created: ") && told.contains("10.0.0.10:8282"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn print_writes_ciliums_policy_with_the_facts_of_the_flags() {
    let scene = Scene::new();
    let flags = [
        "print",
        "--intercept=cilium",
        "--namespace=iam",
        "--label=app=podiam",
        "--label=tier=node",
        "--app-port=8282",
    ];
    let manifest = scene.done(&flags);
    for line in [
        "apiVersion: cilium.io/v2",
        "kind: CiliumLocalRedirectPolicy",
        "  namespace: \"iam\"",
        "      ip: \"169.254.169.254\"",
        "        \"app\": \"podiam\"",
        "        \"tier\": \"node\"",
        "      - port: \"8282\"",
        "  skipRedirectFromBackend: true",
    ] {
        assert!(
            manifest.lines().any(|found| found == line),
            "{line}\n{manifest}"
        );
    }
    assert!(!manifest.contains("app.kubernetes.io/name"), "{manifest}");
}

#[test]
fn the_systemd_unit_guards_before_kubelet_and_opens_nothing_when_it_stops() {
    let unit = include_str!("../deploy/systemd/podiam-guard.service");
    for line in [
        "Type=oneshot",
        "RemainAfterExit=yes",
        "Before=kubelet.service",
        "RequiredBy=kubelet.service",
        "ExecStart=/usr/local/bin/podiam intercept guard",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}\n{unit}");
    }
    let stops = |line: &&str| line.starts_with("ExecStop") || line.starts_with("ExecReload");
    assert_eq!(unit.lines().find(stops), None);
}
