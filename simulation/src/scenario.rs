//! What happens to a cluster: a roll-out of the agents, the loss of a zone, all pods replaced. Each is run from its
//! beginning until the refreshes that it caused have come too.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use podiam::credentials::Dice;
use tokio::time::Instant;

use crate::cluster::{self, Cluster, Seen, Setting, Size};
use crate::sts::{Second, Sts};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Every node's agent is new and knows its pods at once: `maxUnavailable: 100%`, or a cluster that starts
    AllAtOnce,
    /// The agents are replaced a tenth of the nodes at a time, a minute each
    RollOut,
    /// A third of the nodes is lost: its pods come up on the others within two minutes
    ZoneOutage,
    /// Every pod is replaced within ten minutes
    MassReschedule,
}

/// How long the effects are watched: until the refreshes, half an hour later, have come.
const WATCHED: Duration = Duration::from_mins(40);
/// The nodes of a running cluster came within this time: half of a session's life, so that its refreshes are spread evenly.
const SPREAD: Duration = Duration::from_mins(30);
/// What happens to a running cluster happens then.
const SETTLED: Duration = Duration::from_mins(31);

/// What came of it.
pub struct Outcome {
    /// What happened.
    pub scenario: Scenario,
    /// How the agents were set.
    pub setting: Setting,
    /// The calls of each second from when it happened.
    pub seconds: Vec<Second>,
    /// What the pods saw from then on.
    pub seen: Seen,
    /// Pods that still had nothing at the end.
    pub without: usize,
}

impl Scenario {
    /// Runs it, on a runtime of its own.
    pub fn run(self, size: Size, setting: Setting, seed: u64) -> Result<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        runtime.block_on(self.play(size, setting, &Dice::seeded(seed)))
    }

    async fn play(self, size: Size, setting: Setting, dice: &Dice) -> Result<Outcome> {
        let clock = cluster::beginning();
        cluster::follow(&clock);
        let sts = Sts::new(size.quota, clock.clone(), dice.clone());
        let cluster = Cluster::new(size, setting, &sts, &clock, dice)?;
        let begun = Instant::now();
        match self {
            Self::AllAtOnce => {
                roll_out(&cluster, size, dice, size.nodes, Duration::from_secs(5)).await?;
            }
            Self::RollOut => {
                let batch = size.nodes.div_ceil(10);
                roll_out(&cluster, size, dice, batch, Duration::from_mins(1)).await?;
            }
            Self::ZoneOutage => {
                let left = size.nodes - size.nodes / 3;
                settle(&cluster, left, size.pods, dice).await?;
                arrive(
                    &cluster,
                    left,
                    (size.nodes - left) * size.pods,
                    Duration::from_mins(2),
                    dice,
                )
                .await?;
            }
            Self::MassReschedule => {
                let old = settle(&cluster, size.nodes, size.pods, dice).await?;
                replace(&cluster, old, Duration::from_mins(10), dice).await?;
            }
        }
        let settled = match self {
            Self::AllAtOnce | Self::RollOut => Duration::ZERO,
            Self::ZoneOutage | Self::MassReschedule => SETTLED,
        };
        tokio::time::sleep_until(begun + settled + WATCHED).await;
        let from = usize::try_from(settled.as_secs())?;
        Ok(Outcome {
            scenario: self,
            setting,
            seconds: sts.seconds().into_iter().skip(from).collect(),
            seen: cluster.take_seen(),
            without: cluster.without(),
        })
    }
}

/// New agents, `batch` at a time, each batch within `period`. Their pods run already and are answered by the old process
/// until the new one is warm, so nobody asks here.
async fn roll_out(
    cluster: &Arc<Cluster>,
    size: Size,
    dice: &Dice,
    batch: usize,
    period: Duration,
) -> Result<()> {
    let begun = Instant::now();
    let mut starts: Vec<(Duration, usize)> = (0..size.nodes)
        .map(|node| {
            let batches = u32::try_from(node / batch).unwrap_or(u32::MAX);
            (period * batches + period.mul_f64(dice.throw()), node)
        })
        .collect();
    starts.sort_unstable();
    for (at, node) in starts {
        tokio::time::sleep_until(begun + at).await;
        cluster.run_pods(node, size.pods)?;
    }
    Ok(())
}

/// A cluster that has been running: its nodes came over half an hour, so its refreshes are spread. Gives the pods by node.
async fn settle(
    cluster: &Arc<Cluster>,
    nodes: usize,
    pods: usize,
    dice: &Dice,
) -> Result<Vec<Vec<usize>>> {
    let begun = Instant::now();
    let mut starts: Vec<(Duration, usize)> = (0..nodes)
        .map(|node| (SPREAD.mul_f64(dice.throw()), node))
        .collect();
    starts.sort_unstable();
    let mut running = vec![Vec::new(); nodes];
    for (at, node) in starts {
        tokio::time::sleep_until(begun + at).await;
        running[node] = cluster.run_pods(node, pods)?;
    }
    tokio::time::sleep_until(begun + SETTLED).await;
    drop(cluster.take_seen());
    Ok(running)
}

/// So many pods come up on the first `nodes` nodes, one by one, and ask.
async fn arrive(
    cluster: &Arc<Cluster>,
    nodes: usize,
    pods: usize,
    within: Duration,
    dice: &Dice,
) -> Result<()> {
    let begun = Instant::now();
    for number in 0..pods {
        tokio::time::sleep_until(begun + share(within, number, pods)).await;
        start(cluster, pick(nodes, dice), 1)?;
    }
    Ok(())
}

/// Each pod goes, and another comes on some node.
async fn replace(
    cluster: &Arc<Cluster>,
    old: Vec<Vec<usize>>,
    within: Duration,
    dice: &Dice,
) -> Result<()> {
    let begun = Instant::now();
    let mut old: Vec<(f64, usize, usize)> = (0..)
        .zip(old)
        .flat_map(|(node, pods)| pods.into_iter().map(move |pod| (node, pod)))
        .map(|(node, pod)| (dice.throw(), node, pod))
        .collect();
    old.sort_by(|one, other| one.0.total_cmp(&other.0));
    let all = old.len();
    for (number, (_, node, pod)) in old.into_iter().enumerate() {
        tokio::time::sleep_until(begun + share(within, number, all)).await;
        cluster.end_pods(node, &[pod]);
        start(cluster, pick(cluster.nodes(), dice), 1)?;
    }
    Ok(())
}

fn start(cluster: &Arc<Cluster>, node: usize, count: usize) -> Result<()> {
    for pod in cluster.run_pods(node, count)? {
        tokio::spawn(Arc::clone(cluster).ask(node, pod));
    }
    Ok(())
}

/// The `number`th of `all` moments within a time.
#[allow(
    clippy::cast_precision_loss,
    reason = "a count of pods is far below 2^52"
)]
fn share(within: Duration, number: usize, all: usize) -> Duration {
    within.mul_f64(number as f64 / all as f64)
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 up to a count of nodes"
)]
fn pick(nodes: usize, dice: &Dice) -> usize {
    ((nodes as f64 * dice.throw()) as usize).min(nodes - 1)
}
