//! A node's agent is replaced, ended and killed while its pods ask a thousand times a second. What they get is an answer
//! or, where nobody is there to answer, a refused connection; never the real metadata service.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot have what it needs fails right there; the figures are for people"
)]

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use podiam_lab::aws::{self, Aws};
use podiam_lab::netns::{self, Pod, Vpc};
use podiam_lab::wire::{self, Answer};
use support::agent::{Agent, Host};
use support::http::ROLES;
use support::manifest;
use support::node::Node;
use support::steady::{RATE, Steady, Tally};
use support::{PATIENCE, eventually};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

/// What the lab's node credentials and user data contain, and nothing else.
const CANARY: &str = "LABCANARY";
/// The longest drain, and what this machine may add.
const DRAIN: Duration = Duration::from_secs(10);

/// One at a time: each keeps the machine busy.
static MACHINE: Mutex<()> = Mutex::const_new(());

/// The longest that a process may take from its start until it has taken over, on a machine that does other work too.
const WARM: Duration = Duration::from_secs(5);

struct Scene {
    vpc: Arc<Vpc>,
    pod: Arc<Pod>,
    _aws: Aws,
    manifests: TempDir,
    _machine: MutexGuard<'static, ()>,
}

impl Scene {
    async fn new() -> Self {
        let machine = MACHINE.lock().await;
        let vpc = Arc::new(Vpc::new().unwrap());
        let aws = vpc.start_aws(aws::Config::default()).unwrap();
        let ip = Ipv4Addr::new(10, 0, 100, 31);
        let manifests = tempfile::tempdir().unwrap();
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: app, namespace: t, annotations: \
             {{iam.amazonaws.com/role: app}}}}, status: {{podIP: {ip}}}}}"
        );
        std::fs::write(manifests.path().join("pod.yaml"), pod).unwrap();
        Self {
            pod: Arc::new(vpc.add_pod(ip).unwrap()),
            vpc,
            _aws: aws,
            manifests,
            _machine: machine,
        }
    }

    fn start(&self, flags: &[&str]) -> Agent {
        let workloads = format!("--workloads={}", self.manifests.path().display());
        let mut all = vec![workloads.as_str(), "--access-log=none", "--log-level=info"];
        all.extend(flags);
        let sts = format!("http://{}", netns::STS);
        Agent::start_at(Host::Node(Arc::clone(&self.vpc)), &sts, &all)
    }

    /// A thousand requests a second for the pod's credentials.
    fn load(&self) -> Steady {
        let is_right = |answer: &Answer| {
            let body = answer.text();
            body.contains("SecretAccessKey") && !body.contains(CANARY)
        };
        let imds = (netns::IMDS, 80).into();
        Steady::start(
            Arc::clone(&self.pod),
            imds,
            &format!("{ROLES}app"),
            is_right,
        )
    }
}

/// Only connections that nobody took: never an answer that is wrong, and never one of the real metadata service.
fn assert_only_refused(tally: &Tally) {
    for problem in tally.problems.keys() {
        let nobody = ["refused", "reset", "closed"]
            .iter()
            .any(|word| problem.to_lowercase().contains(word));
        assert!(nobody && !problem.contains(CANARY), "{tally:?}");
    }
    assert!(!tally.problems.is_empty(), "nobody noticed: {tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_agent_takes_over_and_no_request_is_lost() {
    let scene = Scene::new().await;
    let old = scene.start(&[]);
    old.ready().await;
    let load = scene.load();
    load.more(RATE).await;

    let started = Instant::now();
    let new = scene.start(&[]);
    new.process().logs("the pods' socket listens").await;
    let listens = started.elapsed();
    new.ready().await;
    let ready = started.elapsed();
    assert!(ready < WARM, "{}", new.process().log());
    load.more(RATE).await;

    // Halted, so that whatever the kernel gives it waits there when it is told to leave.
    old.process().signal(Signal::SIGSTOP);
    load.more_questions(RATE / 4).await;
    let leaving = Instant::now();
    old.process().signal(Signal::SIGTERM);
    old.process().signal(Signal::SIGCONT);
    let ended = old
        .process()
        .wait(DRAIN)
        .expect("the old agent does not end");
    let left = leaving.elapsed();
    load.more(RATE).await;
    let tally = load.stop().await;
    println!(
        "hand-over: {} requests in {:?}, {} right, problems {:?}, slowest {:?}; new process listens after {listens:?}, \
         ready after {ready:?}; the old one is gone {left:?} after SIGTERM",
        tally.asked, tally.elapsed, tally.right, tally.problems, tally.slowest
    );
    assert!(ended.success(), "{ended}");
    assert!(tally.problems.is_empty(), "{tally:?}");
    assert_eq!(tally.right, tally.asked);
    // A machine that is far too slow for the rate would prove little.
    let due = tally.elapsed.as_millis() * u128::from(RATE) / 1000;
    assert!(u128::from(tally.asked) >= due / 2, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_new_connection_is_the_newer_agents_even_while_the_older_one_is_halted() {
    let scene = Scene::new().await;
    let old = scene.start(&[]);
    old.ready().await;
    let new = scene.start(&[]);
    // /readyz would be the old one's until the new one has taken the admin port.
    new.process().logs("the pods' socket listens").await;
    old.process().signal(Signal::SIGSTOP);
    for _ in 0..64 {
        let path = format!("{ROLES}app");
        let request = wire::request("GET", &path, "169.254.169.254", &[]);
        let ask = async {
            let stream = scene.pod.namespace().connect((netns::IMDS, 80).into());
            wire::once(stream.await.unwrap(), &request).await.unwrap()
        };
        let answer = tokio::time::timeout(PATIENCE, ask).await;
        assert_eq!(
            answer.expect("a connection went to the older one").status,
            200
        );
    }
    old.process().signal(Signal::SIGCONT);
}

#[tokio::test]
async fn a_kept_connection_is_answered_once_more_when_the_agent_leaves_and_an_idle_one_is_closed() {
    let _machine = MACHINE.lock().await;
    let pod = manifest::pod("app", "127.0.3.1").role("app");
    let node = Node::start(&[pod], &[]).await;
    let mut kept = node.connect("127.0.3.1").await;
    let mut idle = node.connect("127.0.3.1").await;
    for client in [&mut kept, &mut idle] {
        let answer = client.get(ROLES).await;
        assert_eq!((answer.status, answer.header("connection")), (200, None));
    }
    node.agent.process().signal(Signal::SIGTERM);
    eventually("a closed port", || async {
        match tokio::net::TcpStream::connect(node.agent.pods).await {
            Ok(_) => Err("it is open".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
    let last = kept.get(ROLES).await;
    assert_eq!(
        (last.status, last.header("connection")),
        (200, Some("close"))
    );
    assert!(kept.rest().await.is_empty());
    assert!(idle.rest().await.is_empty());
    let ended = node.agent.process().wait(DRAIN);
    assert!(ended.expect("the agent does not end").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_knows_no_pods_leaves_them_to_the_one_that_does_until_it_is_gone() {
    let scene = Scene::new().await;
    let old = scene.start(&[]);
    old.ready().await;
    let load = scene.load();
    load.more(100).await;
    let nowhere = scene.manifests.path().join("nowhere");
    let new = scene.start(&[&format!("--workloads={}", nowhere.display())]);
    new.not_ready(&["pods-port: another process answers pods"])
        .await;
    load.more(RATE).await;
    let tally = load.stop().await;
    assert!(tally.problems.is_empty(), "{tally:?}");

    old.process().end(Signal::SIGKILL);
    new.process().logs("the pods' socket listens").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_told_to_leave_answers_what_it_has_accepted_and_then_pods_are_refused() {
    let scene = Scene::new().await;
    let agent = scene.start(&[]);
    agent.ready().await;
    let load = scene.load();
    load.more(RATE).await;
    // Halted, so that connections wait there when it is told to leave.
    agent.process().signal(Signal::SIGSTOP);
    load.more_questions(RATE / 4).await;
    agent.process().signal(Signal::SIGTERM);
    agent.process().signal(Signal::SIGCONT);
    let ended = agent.process().wait(DRAIN).expect("the agent does not end");
    assert!(ended.success(), "{ended}");
    let tally = load.stop().await;
    println!(
        "SIGTERM: {} requests, {} right, problems {:?}",
        tally.asked, tally.right, tally.problems
    );
    assert_only_refused(&tally);
    // More than a hundred waited, and none of them was reset when the listeners closed.
    assert!(
        tally
            .problems
            .keys()
            .all(|problem| problem.contains("refused")),
        "{tally:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_leaves_refused_connections_and_its_successor_finds_the_rules() {
    let scene = Scene::new().await;
    let agent = scene.start(&[]);
    agent.ready().await;
    let load = scene.load();
    load.more(RATE).await;
    agent.process().end(Signal::SIGKILL);
    let started = Instant::now();
    let next = scene.start(&[]);
    load.more(1).await;
    let answered = started.elapsed();
    next.ready().await;
    let ready = started.elapsed();
    load.more(RATE).await;
    let tally = load.stop().await;
    println!(
        "kill -9: {} requests, {} right, problems {:?}; first answer {answered:?} and intercepted, as /readyz says, \
         {ready:?} after the start",
        tally.asked, tally.right, tally.problems
    );
    assert_only_refused(&tally);
    assert!(
        next.process().log().contains("outcome=Adopted"),
        "{}",
        next.process().log()
    );
}
