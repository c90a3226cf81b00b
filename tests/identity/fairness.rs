//! One pod does what it can to have the agent for itself; another one asks for its role all the while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use podiam_lab::wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::http::{self, ROLES};
use crate::support::manifest::pod;
use crate::support::node::{IMDS_HOST, Node};
use crate::support::{PATIENCE, eventually};

const HOG: &str = "127.0.1.21";
const OTHER: &str = "127.0.1.22";
/// Requests of the other pod that are measured, half of them on connections of their own.
const MEASURED: usize = 600;
/// What 99 of 100 of them must stay under.
const SOON: Duration = Duration::from_millis(100);
/// What the agent may take of memory whatever the hog does, in KiB. This is a build without optimisations.
const BOUND: u64 = 64 << 10;

async fn node(flags: &[&str]) -> Node {
    let node = Node::start(
        &[
            pod("hog", HOG).role("hog"),
            pod("other", OTHER).role("other"),
        ],
        flags,
    )
    .await;
    node.agent.gives(OTHER, "other").await;
    node
}

/// Threads that do nothing but attack, with a runtime each, until this is dropped.
struct Attack {
    stop: Arc<AtomicBool>,
    /// What it has done so far.
    count: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Attack {
    fn start<F>(attack: impl FnOnce(Arc<AtomicBool>, Arc<AtomicU64>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()>,
    {
        let (stop, count) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&count));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(attack(stopping, counting));
        });
        Self {
            stop,
            count,
            thread: Some(thread),
        }
    }

    async fn reaches(&self, count: u64) {
        eventually(&format!("{count} of the attack"), || async {
            let now = self.count.load(Ordering::Relaxed);
            if now >= count {
                Ok(())
            } else {
                Err(now.to_string())
            }
        })
        .await;
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// A connection of the hog.
async fn connect(target: SocketAddr) -> std::io::Result<TcpStream> {
    http::connect(HOG.parse().unwrap(), target).await
}

/// Opens `wanted` connections at once and keeps them, closed by the agent or not, and goes on while it may.
async fn hold(target: SocketAddr, wanted: usize, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    let mut held = Vec::with_capacity(wanted);
    while held.len() < wanted && !stop.load(Ordering::Relaxed) {
        if let Ok(stream) = connect(target).await {
            held.push(stream);
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    while !stop.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
        let mut one = held.swap_remove(0);
        // One that the agent has closed is opened again: it never gets tired.
        let closed = tokio::time::timeout(Duration::from_millis(1), one.read(&mut [0; 1024])).await;
        if closed.is_ok()
            && let Ok(stream) = connect(target).await
        {
            one = stream;
        }
        held.push(one);
    }
}

/// Sends headers without an end, a byte at a time, on many connections.
async fn drip(target: SocketAddr, wanted: usize, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    let mut drips = JoinSet::new();
    for _ in 0..wanted {
        let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
        drips.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let Ok(mut stream) = connect(target).await else {
                    continue;
                };
                let begin = format!("GET {ROLES} HTTP/1.1\r\nX-Slow: ");
                let mut alive = stream.write_all(begin.as_bytes()).await.is_ok();
                count.fetch_add(1, Ordering::Relaxed);
                while alive && !stop.load(Ordering::Relaxed) {
                    let said = tokio::time::timeout(Duration::from_millis(200), stream.read_u8());
                    alive = said.await.is_err() && stream.write_all(b"x").await.is_ok();
                }
            }
        });
    }
    while drips.join_next().await.is_some() {}
}

/// Asks as fast as it can on many connections, and connects again as fast as it can.
async fn flood(target: SocketAddr, wanted: usize, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    let mut floods = JoinSet::new();
    for _ in 0..wanted {
        let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
        floods.spawn(async move {
            let request = wire::request("GET", ROLES, IMDS_HOST, &[]);
            while !stop.load(Ordering::Relaxed) {
                let Ok(mut stream) = connect(target).await else {
                    continue;
                };
                let mut buffer = bytes::BytesMut::new();
                while !stop.load(Ordering::Relaxed) {
                    count.fetch_add(1, Ordering::Relaxed);
                    let answer = wire::exchange(&mut stream, &request, &mut buffer).await;
                    if !answer.is_ok_and(|answer| answer.header("connection").is_none()) {
                        break;
                    }
                }
            }
        });
    }
    while floods.join_next().await.is_some() {}
}

/// How long the slowest of the fastest 99 of 100 requests of the other pod took.
async fn p99(node: &Node) -> Duration {
    let target = node.agent.pods;
    let measure = async move {
        let source = OTHER.parse().unwrap();
        let request = wire::request("GET", ROLES, IMDS_HOST, &[]);
        let mut kept = http::connect(source, target).await.unwrap();
        let mut times = Vec::with_capacity(MEASURED);
        for number in 0..MEASURED {
            let began = Instant::now();
            let answer = if number % 2 == 0 {
                wire::exchange(&mut kept, &request, &mut bytes::BytesMut::new()).await
            } else {
                let fresh = http::connect(source, target).await.unwrap();
                wire::once(fresh, &request).await
            };
            assert_eq!(answer.unwrap().text(), "other");
            times.push(began.elapsed());
        }
        times.sort_unstable();
        times[MEASURED * 99 / 100]
    };
    tokio::time::timeout(PATIENCE, measure).await.unwrap()
}

/// The agent's memory in KiB.
fn resident(node: &Node) -> u64 {
    let pid = node.agent.process().pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.unwrap().trim().trim_end_matches(" kB");
    words.parse().unwrap()
}

async fn assert_unharmed(name: &str, node: &Node, before: u64) {
    let (p99, after) = (p99(node).await, resident(node));
    println!("{name}: p99 of another pod {p99:?}, memory {before} -> {after} KiB");
    assert!(p99 < SOON, "{name}: {p99:?}");
    assert!(after < BOUND, "{name}: {after} KiB");
}

/// As many files as this process may have: it holds the other ends.
fn raise_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        hard >= 12_000,
        "this test needs 12000 files, and may have {hard}"
    );
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

#[tokio::test]
async fn ten_thousand_idle_connections_of_one_pod_harm_no_other() {
    raise_files();
    let node = node(&[]).await;
    let (before, target) = (resident(&node), node.agent.pods);
    let attack = Attack::start(move |stop, count| hold(target, 10_000, stop, count));
    attack.reaches(10_000).await;
    assert_unharmed("10,000 idle connections", &node, before).await;
    let metrics = node.agent.metrics().await;
    let refused = "podiam_refusals_total{reason=\"too-many-connections\"}";
    assert!(metrics.contains(refused), "{metrics}");
}

#[tokio::test]
async fn headers_that_never_end_harm_no_other() {
    raise_files();
    let node = node(&[]).await;
    let (before, target) = (resident(&node), node.agent.pods);
    let attack = Attack::start(move |stop, count| drip(target, 1_000, stop, count));
    attack.reaches(1_000).await;
    assert_unharmed("1,000 slow clients", &node, before).await;
}

#[tokio::test]
async fn a_flood_harms_no_other() {
    raise_files();
    let node = node(&[]).await;
    let (before, target) = (resident(&node), node.agent.pods);
    let attack = Attack::start(move |stop, count| flood(target, 200, stop, count));
    attack.reaches(5_000).await;
    assert_unharmed("a flood", &node, before).await;
    let metrics = node.agent.metrics().await;
    let refused = "podiam_refusals_total{reason=\"too-many-requests\"}";
    assert!(metrics.contains(refused), "{metrics}");
}

#[tokio::test]
async fn who_has_too_much_is_told_so_with_a_503_and_the_connection_ends() {
    let node = node(&["--max-connections-per-pod=2", "--max-requests-per-pod=5"]).await;
    let mut first = node.connect(HOG).await;
    let _second = node.connect(HOG).await;
    // Two workers accept: who connected first need not be the first to be accepted.
    eventually("two connections", || async {
        let metrics = node.agent.metrics().await;
        let open = metrics
            .lines()
            .find(|line| line.starts_with("podiam_connections "));
        match open {
            Some("podiam_connections 2") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let mut third = node.connect(HOG).await;
    let refusal = third.answer().await;
    assert_eq!(
        (refusal.status, refusal.text().as_str()),
        (
            503,
            "too many connections from this address; close some, or ask again later\n"
        )
    );
    assert!(third.rest().await.is_empty());

    // Two of five went to the connections.
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(first.get(ROLES).await.status);
        if answers.last() == Some(&503) {
            break;
        }
    }
    assert_eq!(answers.last(), Some(&503), "{answers:?}");
    assert!(first.rest().await.is_empty());
    node.agent.gives(OTHER, "other").await;
}
