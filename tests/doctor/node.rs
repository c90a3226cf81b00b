//! What a node says: one that is a network namespace, with an agent on it and a metadata service behind it.

use std::process::Command;

use std::net::Ipv4Addr;
use std::sync::Arc;

use podiam_intercept::Nftables;
use podiam_lab::aws::{Aws, Config, TokenPolicy};
use podiam_lab::netns::{self, NODE, Namespace, Vpc};

use crate::support::agent::{Agent, Host, enter};
use crate::support::apiserver::Cluster;
use crate::support::process::Process;
use crate::support::{pods, relay};
use crate::{Run, clean, doctor};

/// A run in a namespace, for a metadata service at an address.
async fn run(namespace: &Namespace, checks: &str, agent: &[&str]) -> Run {
    let only = format!("--only={checks}");
    let mut words = vec!["--from=node", &only, "--"];
    words.extend(agent);
    doctor(
        clean(enter(namespace, env!("CARGO_BIN_EXE_podiam"))),
        &words,
    )
    .await
}

fn podiam(namespace: &Namespace, words: &[&str]) {
    let mut command: Command = enter(namespace, env!("CARGO_BIN_EXE_podiam"));
    let output = command.args(words).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn rules_must_be_there_whole_and_lead_to_the_agent() {
    let node = Namespace::new().unwrap();
    node.ip("link set lo up").unwrap();
    let ip = format!("--host-ip={NODE}");
    let agent = [ip.as_str(), "--intercept=nftables"];
    let seen = run(&node, "interception", &agent).await;
    seen.assert("interception", "wrong", "there are no rules");
    assert_eq!(seen.code, 4);

    podiam(&node, &["intercept", "guard"]);
    run(&node, "interception", &agent)
        .await
        .assert("interception", "wrong", "only the guard");

    podiam(&node, &["intercept", "install", &ip]);
    let seen = run(&node, "interception", &agent).await;
    seen.assert("interception", "ok", "table inet podiam is whole");
    assert_eq!(seen.code, 0, "{}", seen.raw);
    let other = [ip.as_str(), "--intercept=nftables", "--app-port=8282"];
    run(&node, "interception", &other)
        .await
        .assert("interception", "wrong", "listens at");

    let status = enter(&node, "nft")
        .args(["flush", "chain", "inet", "podiam", "forward"])
        .status()
        .unwrap();
    assert!(status.success());
    run(&node, "interception", &agent).await.assert(
        "interception",
        "wrong",
        "is not as podiam writes it",
    );
}

/// The pod's address: of no other node of this machine, whose processes the doctor sees too.
const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 100, 77);

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_question_must_get_to_an_agent() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    pods::namespace(&client, "asked", &[]).await;
    let ip = POD.to_string();
    let spec = pods::Spec {
        namespace: "asked",
        name: "app",
        node: "asked",
        ip: &ip,
        annotations: &[],
    };
    pods::run(&client, spec).await;

    let vpc = Arc::new(Vpc::new().unwrap());
    let _aws = vpc.start_aws(Config::default()).unwrap();
    let node = vpc.node().namespace();
    relay::relay(node.listen(cluster.address()).unwrap(), cluster.address());
    let pod = vpc.add_pod(POD).unwrap();
    // What runs in it makes its namespace visible.
    let mut program = enter(pod.namespace(), "sleep");
    program.arg("infinity");
    let _program = Process::spawn("the pod's program", &program);
    let manifests = tempfile::tempdir().unwrap();
    let manifest = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: app, namespace: t}}, status: {{podIP: {POD}}}}}"
    );
    std::fs::write(manifests.path().join("pod.yaml"), manifest).unwrap();
    let workloads = format!("--workloads={}", manifests.path().display());
    let sts = format!("http://{}", netns::STS);
    let agent = Agent::start_at(Host::Node(Arc::clone(&vpc)), &sts, &[&workloads]);
    agent.ready().await;

    let kubeconfig = format!("--kubeconfig={}", cluster.admin_kubeconfig().display());
    let host_ip = format!("--host-ip={NODE}");
    let look = async |mode: &str| {
        let words = [
            "--from=node",
            "--only=interception",
            kubeconfig.as_str(),
            "--",
            &host_ip,
            mode,
        ];
        doctor(clean(enter(node, env!("CARGO_BIN_EXE_podiam"))), &words).await
    };
    let seen = look("--intercept=nftables").await;
    seen.assert(
        "interception",
        "ok",
        "asked as a pod: the pod at 10.0.100.77",
    );
    look("--intercept=none")
        .await
        .assert("interception", "ok", "is answered here");

    agent.process().end(nix::sys::signal::Signal::SIGKILL);
    look("--intercept=none")
        .await
        .assert("interception", "wrong", "is not answered");
    node.enter(|| Nftables::default().remove())
        .unwrap()
        .unwrap();
    look("--intercept=none")
        .await
        .assert("interception", "wrong", "is answered by somebody else");
}

#[tokio::test]
async fn the_kernel_and_the_dataplane_are_looked_at() {
    let node = Namespace::new().unwrap();
    node.ip("link set lo up").unwrap();
    node.ip("link add eni1 type veth peer name eni2").unwrap();
    let ip = format!("--host-ip={NODE}");
    let agent = [ip.as_str(), "--intercept=nftables"];
    let seen = run(&node, "kernel,dataplane", &agent).await;
    let (verdict, said) = seen.of("kernel");
    // What the machine of the test has decides between the two.
    assert!(
        ["ok", "warning"].contains(&&*verdict) && said.contains("Linux "),
        "{said}"
    );
    seen.assert("dataplane", "ok", "Amazon VPC CNI");

    let wrong = [
        ip.as_str(),
        "--intercept=nftables",
        "--host-interface=cali+",
    ];
    run(&node, "dataplane", &wrong)
        .await
        .assert("dataplane", "wrong", "cover nobody");
    let cilium = [ip.as_str(), "--intercept=cilium"];
    run(&node, "dataplane", &cilium)
        .await
        .assert("dataplane", "wrong", "no sign of Cilium");

    // Without CAP_NET_ADMIN nftables says nothing.
    let mut command = clean(enter(&node, "setpriv"));
    command.args([
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
        env!("CARGO_BIN_EXE_podiam"),
    ]);
    let seen = doctor(
        command,
        &[
            "--from=node",
            "--only=kernel",
            "--",
            &ip,
            "--intercept=nftables",
        ],
    )
    .await;
    seen.assert("kernel", "wrong", "nftables cannot be used");
}

#[tokio::test]
async fn a_metadata_service_that_answers_without_a_token_is_told() {
    for (tokens, verdict) in [
        (TokenPolicy::Required, "ok"),
        (TokenPolicy::Optional, "warning"),
    ] {
        let config = Config {
            tokens,
            ..Config::default()
        };
        let aws = Aws::start(config).await.unwrap();
        let address = format!("--metadata-addr={}", aws.imds_addr);
        let words = ["--from=node", "--only=imds-tokens", "--", &address];
        doctor(crate::podiam(), &words)
            .await
            .assert("imds-tokens", verdict, "without a token");
    }
    let words = [
        "--from=node",
        "--only=imds-tokens",
        "--",
        "--metadata-addr=127.0.0.1:9",
    ];
    doctor(crate::podiam(), &words)
        .await
        .assert("imds-tokens", "cannot tell", "cannot be asked");
}

#[tokio::test]
async fn elsewhere_than_on_a_node_its_checks_cannot_tell() {
    let seen = doctor(crate::podiam(), &["--only=node"]).await;
    for check in ["imds-tokens", "kernel", "dataplane", "interception"] {
        seen.assert(check, "cannot tell", "this is not a node");
    }
    assert_eq!(seen.code, 5);
}
