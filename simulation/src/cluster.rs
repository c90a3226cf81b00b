//! Nodes and pods. Each node has the agent's engine; a pod is seen, asks a while later, and asks again each second until it
//! has its credentials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use podiam::authorize::{Attributes, Grant};
use podiam::clock::Clock;
use podiam::credentials::{Call, Credentials, Dice, Issued, Limits, Observer, Terms};
use podiam_iam::{RoleArn, SessionName};
use prometheus::IntCounter;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::sts::Sts;

/// Sessions, as agents ask for them.
const SESSION: Duration = Duration::from_hours(1);
/// What the agent holds a request for.
const PATIENCE: Duration = Duration::from_millis(400);
/// Between two attempts of a pod that got none.
const AGAIN: Duration = Duration::from_secs(1);
/// A container asks so long after its pod was seen, at the least and at the most: its sandbox and its image take time.
const START: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// How large a cluster is, and how its agents are set.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// What it is called in the report.
    pub name: &'static str,
    /// `--sts-rate`, `--sts-concurrency`.
    pub limits: Limits,
    /// `--session=role`: the pods of a role on a node share a session.
    pub shared: bool,
}

/// The size of the cluster and the account.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Nodes.
    pub nodes: usize,
    /// Pods with a role on each node.
    pub pods: usize,
    /// Roles that the pods share among them, evenly.
    pub roles: usize,
    /// Calls that STS serves the account in a second.
    pub quota: f64,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// For each pod, the time from when it was seen until its node held its credentials.
    pub firsts: Vec<Duration>,
    /// For each pod that asked, the time until it was given them.
    pub waits: Vec<Duration>,
    /// Requests that were told 503.
    pub refused: u64,
}

/// The cluster.
pub struct Cluster {
    setting: Setting,
    roles: usize,
    nodes: Vec<Node>,
    dice: Dice,
    seen: Arc<Mutex<Seen>>,
    pods: Mutex<usize>,
}

struct Node {
    credentials: Credentials,
    wanted: Arc<Mutex<HashMap<Grant, Instant>>>,
    /// The pods' grants by pod.
    pods: Mutex<HashMap<usize, Arc<Grant>>>,
}

impl Cluster {
    /// Nodes whose agents run and know no pods yet.
    pub fn new(
        size: Size,
        setting: Setting,
        sts: &Sts,
        clock: &Clock,
        dice: &Dice,
    ) -> Result<Arc<Self>> {
        let hits = IntCounter::new("hits", "of all roles")?;
        let seen = Arc::<Mutex<Seen>>::default();
        let nodes = (0..size.nodes).map(|_| {
            let wanted = Arc::<Mutex<HashMap<Grant, Instant>>>::default();
            let terms = Terms {
                refresh_age: SESSION / 2,
                error_ttl: Duration::ZERO,
            };
            let watcher = Watcher {
                hits: hits.clone(),
                wanted: Arc::clone(&wanted),
                seen: Arc::clone(&seen),
            };
            let credentials = Credentials::new(
                Arc::new(sts.clone()),
                clock.clone(),
                terms,
                setting.limits,
                Arc::new(watcher),
                dice.clone(),
                Handle::current(),
            );
            Node {
                credentials,
                wanted,
                pods: Mutex::default(),
            }
        });
        Ok(Arc::new(Self {
            setting,
            roles: size.roles,
            nodes: nodes.collect(),
            dice: dice.clone(),
            seen,
            pods: Mutex::default(),
        }))
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// So many new pods are seen on a node at once. Gives their numbers.
    pub fn run_pods(&self, node: usize, count: usize) -> Result<Vec<usize>> {
        let first = {
            let mut pods = lock(&self.pods);
            *pods += count;
            *pods - count
        };
        let numbers: Vec<usize> = (first..first + count).collect();
        let place = &self.nodes[node];
        for pod in &numbers {
            let grant = self.grant(node, *pod)?;
            if place.credentials.get(&grant).is_some() {
                lock(&self.seen).firsts.push(Duration::ZERO);
            } else {
                let mut wanted = lock(&place.wanted);
                wanted
                    .entry(Grant::clone(&grant))
                    .or_insert_with(Instant::now);
            }
            lock(&place.pods).insert(*pod, grant);
        }
        place.want();
        Ok(numbers)
    }

    /// These pods leave their node.
    pub fn end_pods(&self, node: usize, pods: &[usize]) {
        let place = &self.nodes[node];
        lock(&place.pods).retain(|pod, _| !pods.contains(pod));
        place.want();
    }

    /// A pod starts and asks until it has its credentials.
    pub async fn ask(self: Arc<Self>, node: usize, pod: usize) {
        let [least, most] = START;
        let rest = most.saturating_sub(least).mul_f64(self.dice.throw());
        tokio::time::sleep(least + rest).await;
        let place = &self.nodes[node];
        let started = Instant::now();
        loop {
            let Some(grant) = lock(&place.pods).get(&pod).cloned() else {
                return;
            };
            let deadline = Instant::now() + PATIENCE;
            if place.credentials.obtain(&grant, deadline).await.is_ok() {
                lock(&self.seen).waits.push(started.elapsed());
                return;
            }
            lock(&self.seen).refused += 1;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Everything that was seen since the last time.
    pub fn take_seen(&self) -> Seen {
        std::mem::take(&mut lock(&self.seen))
    }

    /// Pods whose credentials are still waited for.
    pub fn without(&self) -> usize {
        self.nodes.iter().map(|node| lock(&node.wanted).len()).sum()
    }

    /// What goes into `AssumeRole` for a pod.
    fn grant(&self, node: usize, pod: usize) -> Result<Arc<Grant>> {
        let role = pod % self.roles;
        let session = if self.setting.shared {
            format!("node-{node}-role-{role}")
        } else {
            format!("team.pod-{pod}")
        };
        Ok(Arc::new(Grant {
            role: RoleArn::parse(&format!("arn:aws:iam::123456789012:role/role-{role}"))?,
            external_id: None,
            session_name: SessionName::parse(&session)?,
            duration: SESSION,
            attributes: Attributes::default(),
        }))
    }
}

impl Node {
    fn want(&self) {
        let grants: Vec<_> = lock(&self.pods).values().cloned().collect();
        // A pod that went without credentials is not waited for any more.
        lock(&self.wanted).retain(|grant, _| grants.iter().any(|it| **it == *grant));
        self.credentials.set_wanted(grants);
    }
}

/// Notes when a grant that is wanted is held for the first time.
struct Watcher {
    /// Nobody reads it.
    hits: IntCounter,
    wanted: Arc<Mutex<HashMap<Grant, Instant>>>,
    seen: Arc<Mutex<Seen>>,
}

impl Observer for Watcher {
    fn call_finished(&self, _call: &Call<'_>) {}

    fn cache_hits(&self, _role: &RoleArn) -> IntCounter {
        self.hits.clone()
    }

    fn session_obtained(&self, grant: &Grant, _issued: &Issued) {
        if let Some(since) = lock(&self.wanted).remove(grant) {
            lock(&self.seen).firsts.push(since.elapsed());
        }
    }

    fn refused_from_memory(&self) {}

    fn request_expired(&self, _queued: bool) {}
}

/// Lets the wall clock follow tokio's time, for as long as the runtime lives.
pub fn follow(clock: &Clock) {
    let clock = clock.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            clock.advance(SignedDuration::from_secs(1));
        }
    });
}

/// When every simulation begins.
pub fn beginning() -> Clock {
    Clock::held_at(Timestamp::UNIX_EPOCH)
}

/// Every value here is whole between two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
