//! The self-test of the real agent, in network namespaces: it says "intercepted" only where a pod's question gets to the
//! agent, and whoever else answers is a bypass that is never ready.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use nix::sys::signal::Signal;
use podiam_intercept::{Interfaces, METADATA_V4, Nftables, Rules};
use podiam_lab::aws::{self, Aws};
use podiam_lab::netns::{self, Pod, Vpc, Wiring};
use support::agent::{Agent, Host, enter};
use support::eventually;
use support::process::Process;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

/// A node with one pod in its manifests and the real metadata service behind it.
struct Scene {
    /// Its own in each test: all of them are nodes of one machine, whose processes every agent sees.
    ip: Ipv4Addr,
    vpc: Arc<Vpc>,
    aws: Aws,
    manifests: TempDir,
}

/// A pod in which a program runs, so that its namespace can be seen in /proc.
struct Running {
    _program: Process,
    _pod: Pod,
}

impl Scene {
    fn new(host: u8) -> Self {
        Self::on(host, Vpc::new().unwrap())
    }

    fn on(host: u8, vpc: Vpc) -> Self {
        let ip = Ipv4Addr::new(10, 0, 100, host);
        let vpc = Arc::new(vpc);
        let aws = vpc.start_aws(aws::Config::default()).unwrap();
        let manifests = tempfile::tempdir().unwrap();
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: app, namespace: t}}, status: {{podIP: {ip}}}}}"
        );
        std::fs::write(manifests.path().join("pod.yaml"), pod).unwrap();
        Self {
            ip,
            vpc,
            aws,
            manifests,
        }
    }

    fn pod(&self) -> Running {
        let pod = self.vpc.add_pod(self.ip).unwrap();
        let mut command = enter(pod.namespace(), "sleep");
        command.arg("infinity");
        Running {
            _program: Process::spawn("the pod's program", &command),
            _pod: pod,
        }
    }

    fn flags(&self) -> Vec<String> {
        vec![
            format!("--workloads={}", self.manifests.path().display()),
            "--self-test-interval=1s".into(),
        ]
    }

    fn start(&self, flags: &[&str]) -> Agent {
        let own = self.flags();
        let all: Vec<&str> = own
            .iter()
            .map(String::as_str)
            .chain(flags.iter().copied())
            .collect();
        let sts = format!("http://{}", netns::STS);
        Agent::start_at(Host::Node(Arc::clone(&self.vpc)), &sts, &all)
    }

    /// An administrator's own rules, as `--intercept=none` expects them.
    fn write_rules(&self) {
        let rules = Rules::new(METADATA_V4, (netns::NODE, 8181).into(), Interfaces::all());
        let node = self.vpc.node().namespace();
        node.enter(|| Nftables::default().install(&rules))
            .unwrap()
            .unwrap();
    }

    fn remove_rules(&self) {
        let removed = self
            .vpc
            .node()
            .namespace()
            .enter(|| Nftables::default().remove());
        assert!(removed.unwrap().unwrap(), "there was nothing to remove");
    }

    /// The node's links that podiam made.
    fn own_links(&self) -> String {
        self.run_on_node("ip", &["-o", "link", "show", "type", "veth"])
            .lines()
            .filter(|line| line.contains(podiam_intercept::probe::OWN_INTERFACE))
            .collect()
    }

    fn run_on_node(&self, program: &str, words: &[&str]) -> String {
        let output = enter(self.vpc.node().namespace(), program)
            .args(words)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {words:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Waits until the metric says that this and no other state holds.
async fn measured(agent: &Agent, state: &str) {
    eventually(&format!("the state {state} in the metrics"), || async {
        let metrics = agent.metrics().await;
        let lines: Vec<&str> = metrics
            .lines()
            .filter(|line| line.starts_with("podiam_interception{"))
            .collect();
        let right = lines.len() == 4
            && lines.iter().all(|line| {
                let holds = line.contains(&format!("state=\"{state}\""));
                line.ends_with(if holds { " 1" } else { " 0" })
            });
        if right { Ok(()) } else { Err(lines.join("\n")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_question_that_gets_here_is_intercepted() {
    let scene = Scene::new(11);
    let _pod = scene.pod();
    let agent = scene.start(&[]);
    agent.ready().await;
    measured(&agent, "intercepted").await;
    agent
        .process()
        .logs(&format!(
            "the pod at {} asks 169.254.169.254 and is answered here",
            scene.ip
        ))
        .await;
    assert!(
        scene
            .aws
            .imds_requests()
            .iter()
            .all(|request| !format!("{request:?}").contains("self-test"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_pod_it_asks_from_a_namespace_of_its_own_and_leaves_nothing_behind() {
    let scene = Scene::new(12);
    let agent = scene.start(&[]);
    agent.ready().await;
    measured(&agent, "intercepted").await;
    agent
        .process()
        .logs("a namespace of podiam's own at 198.1")
        .await;
    eventually("a node without podiam's links", || async {
        let links = scene.own_links();
        if links.is_empty() { Ok(()) } else { Err(links) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_are_gone_are_a_bypass_and_never_ready_until_they_are_back() {
    let scene = Scene::new(13);
    let _pod = scene.pod();
    scene.write_rules();
    let agent = scene.start(&["--intercept=none"]);
    agent.ready().await;
    measured(&agent, "intercepted").await;

    scene.remove_rules();
    let said = agent
        .not_ready(&[
            "self-test: bypassed",
            &scene.ip.to_string(),
            "the node's credentials may be open",
        ])
        .await;
    let missing = said
        .body
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("finding "));
    assert_eq!(missing.count(), 1, "{}", said.body);
    measured(&agent, "bypassed").await;
    let errors = agent.process().logs("state=\"bypassed\"").await;
    assert!(errors.contains("ERROR"), "{errors}");

    scene.write_rules();
    agent.ready().await;
    measured(&agent, "intercepted").await;
}

/// What Cilium's eBPF or another program's NAT does: our rules are as they should be, and never see the packet.
#[tokio::test(flavor = "multi_thread")]
async fn another_nat_ahead_of_intact_rules_is_a_bypass() {
    let scene = Scene::new(14);
    let _pod = scene.pod();
    let agent = scene.start(&[]);
    agent.ready().await;
    let elsewhere = format!(
        "table ip elsewhere {{ chain nat {{ type nat hook prerouting priority -150; \
         ip daddr 169.254.169.254 tcp dport 80 dnat to {}:80; }}; }}",
        netns::STS
    );
    let file = scene.manifests.path().join("elsewhere.nft");
    std::fs::write(&file, elsewhere).unwrap();
    scene.run_on_node("nft", &["-f", file.to_str().unwrap()]);
    agent.not_ready(&["self-test: bypassed"]).await;
    let status = scene.run_on_node(env!("CARGO_BIN_EXE_podiam"), &["intercept", "status"]);
    assert!(status.contains("intact"), "{status}");

    scene.run_on_node("nft", &["delete", "table", "ip", "elsewhere"]);
    agent.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bypass_over_ipv6_alone_is_a_bypass() {
    let scene = Scene::on(17, Vpc::dual_stack(Wiring::Routed).unwrap());
    let _pod = scene.pod();
    let other = SocketAddr::from((netns::NODE6, 8282));
    let listener = scene.vpc.node().namespace().listen(other).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await;
        }
    });
    let agent = scene.start(&[&format!("--host-ip6={}", netns::NODE6)]);
    agent.ready().await;
    // The pod has no IPv6 address: of that it was asked from elsewhere.
    let proven = agent
        .process()
        .logs("asks fd00:ec2::254 and is answered here")
        .await;
    assert!(proven.contains("podiam's own at 2001:2::"), "{proven}");
    assert!(
        proven.contains("asks 169.254.169.254 and is answered here"),
        "{proven}"
    );

    let elsewhere = format!(
        "table ip6 elsewhere {{ chain nat {{ type nat hook prerouting priority -150; \
         ip6 daddr fd00:ec2::254 tcp dport 80 dnat to [{}]:8282; }}; }}",
        netns::NODE6
    );
    let file = scene.manifests.path().join("elsewhere.nft");
    std::fs::write(&file, elsewhere).unwrap();
    scene.run_on_node("nft", &["-f", file.to_str().unwrap()]);
    agent
        .not_ready(&["self-test: bypassed", "asks fd00:ec2::254", "404 Not Found"])
        .await;
    scene.run_on_node("nft", &["delete", "table", "ip6", "elsewhere"]);
    agent.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_answers_it_is_closed_and_not_ready() {
    let scene = Scene::new(15);
    let _pod = scene.pod();
    let agent = scene.start(&[]);
    agent.ready().await;
    let file = scene.manifests.path().join("closed.nft");
    let closed =
        "table ip closed { chain c { type filter hook input priority 10; tcp dport 8181 drop; }; }";
    std::fs::write(&file, closed).unwrap();
    scene.run_on_node("nft", &["-f", file.to_str().unwrap()]);
    agent.not_ready(&["self-test: closed"]).await;
    measured(&agent, "closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_privileges_it_is_unknown_and_ready_and_says_once_what_is_needed() {
    let scene = Scene::new(16);
    // In a namespace of its own: should it have the privileges after all, it still reaches nobody.
    let nowhere = Arc::new(netns::Namespace::new().unwrap());
    let mut command = enter(&nowhere, "setpriv");
    command
        .arg("--bounding-set=-sys_admin")
        .arg("--")
        .arg(env!("CARGO_BIN_EXE_podiam"));
    let mut flags = scene.flags();
    flags.push("--intercept=none".into());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let agent = Agent::start_in(&nowhere, command, "http://127.0.0.1:9", &flags);
    agent.ready().await;
    measured(&agent, "unknown").await;
    agent.process().logs("self-test, as before").await;
    let log = agent.process().log();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("CAP_SYS_ADMIN") && !line.contains("DEBUG"))
        .collect();
    assert!(told.len() == 1 && told[0].contains("WARN"), "{log}");
}

/// A killed agent tidies nothing up: its namespace, link and route must go by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_leaves_no_link_behind() {
    let scene = Scene::new(17);
    // Nobody answers a namespace of podiam's own here, so that the link is there for as long as the test is patient.
    let agent = scene.start(&["--intercept=none"]);
    eventually("a link of podiam's own", || async {
        let links = scene.own_links();
        if links.is_empty() {
            Err(agent.process().log())
        } else {
            Ok(())
        }
    })
    .await;
    agent.process().end(Signal::SIGKILL);
    eventually("a node without podiam's links", || async {
        let links = scene.own_links();
        let routes = scene.run_on_node("ip", &["route"]);
        if links.is_empty() && !routes.contains("198.1") {
            Ok(())
        } else {
            Err(links)
        }
    })
    .await;
}
