//! `podiam-simulation`, which `cargo xtask simulate` runs: the table to standard output, the plots as SVG.

#![allow(clippy::print_stdout, reason = "the table is what it is run for")]

use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, ValueEnum};
use podiam::credentials::Limits;
use podiam_simulation::cluster::{Setting, Size};
use podiam_simulation::plot;
use podiam_simulation::report;
use podiam_simulation::scenario::{Outcome, Scenario};

/// Simulates podiam's agents on many nodes before one STS with a quota.
#[derive(Parser)]
#[command(name = "cargo xtask simulate", bin_name = "cargo xtask simulate")]
struct Args {
    /// Nodes
    #[arg(long, default_value_t = 5000)]
    nodes: usize,
    /// Pods with a role on each node
    #[arg(long, default_value_t = 20)]
    pods: usize,
    /// Roles that the pods share, evenly
    #[arg(long, default_value_t = 50)]
    roles: usize,
    /// Calls that STS serves the account in a second, in one region
    #[arg(long, default_value_t = 600.0)]
    quota: f64,
    /// What chance begins with
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What happens; without it, everything
    #[arg(long, value_enum)]
    scenario: Vec<Scenario>,
    /// A folder for a plot of each scenario
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// The agents that are compared: as they come, on a short leash, and with the node's share of the quota and no more.
fn settings(size: Size) -> [Setting; 3] {
    let setting = |name, rate| Setting {
        name,
        limits: Limits {
            rate,
            concurrency: 8,
        },
        shared: false,
    };
    let nodes = u32::try_from(size.nodes).unwrap_or(u32::MAX);
    [
        setting("--sts-rate=20 (default)", 20.0),
        setting("--sts-rate=1", 1.0),
        setting("--sts-rate=QUOTA/NODES", size.quota / f64::from(nodes)),
    ]
}

fn main() -> Result<()> {
    let args = Args::parse();
    let size = Size {
        nodes: args.nodes.max(3),
        pods: args.pods.max(1),
        roles: args.roles.max(1),
        quota: args.quota,
    };
    let scenarios = if args.scenario.is_empty() {
        Scenario::value_variants().to_vec()
    } else {
        args.scenario
    };
    let mut outcomes = Vec::new();
    for scenario in &scenarios {
        let (scenario, seed) = (*scenario, args.seed);
        // Each on a thread of its own; the seed is the same, so that they differ in their setting alone.
        let runs =
            settings(size).map(|setting| thread::spawn(move || scenario.run(size, setting, seed)));
        for run in runs {
            let outcome = run
                .join()
                .map_err(|_| anyhow!("{scenario:?} broke off"))??;
            outcomes.push(outcome);
        }
    }
    println!("{}", report::table(size, &outcomes));
    if let Some(folder) = &args.svg {
        std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        for scenario in &scenarios {
            let its: Vec<&Outcome> = outcomes
                .iter()
                .filter(|it| it.scenario == *scenario)
                .collect();
            plot::draw(
                &folder.join(format!("{}.svg", scenario.file())),
                size.quota,
                &its,
            )?;
        }
    }
    Ok(())
}
