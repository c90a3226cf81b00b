//! Follows the index: learns where each pod is when it appears, forgets it when it is gone, and says in /readyz and in
//! the log by what pods are told apart.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Identity;
use super::survey::{Survey, survey};
use crate::config::IdentityMode;
use crate::index::Reader;
use crate::lifecycle::Condition;
use crate::telemetry::Chain;
use crate::workload::PodUid;

/// Between two surveys, however often one is asked for: each looks at every process of the node.
const PAUSE: Duration = Duration::from_millis(50);

/// What an operator has to give where pods share a link.
const NEEDS: &str = "grant the agent CAP_SYS_ADMIN, and hostPID: true with CAP_SYS_PTRACE (or mount the host's /run/netns \
                     with mountPropagation: HostToContainer), so that it can ask a pod's own network namespace; or accept \
                     with --allow-shared-bridge that a pod with NET_RAW can take its neighbour's role";

/// Runs for as long as the agent does.
pub async fn follow<G>(identity: Arc<Identity>, pods: Reader<G>, condition: Condition) {
    if identity.mode == IdentityMode::Ip {
        tracing::warn!("--identity=ip: a pod is known by its source address alone");
        return condition.met();
    }
    let mut generations = pods.generations();
    let mut said = String::new();
    loop {
        generations.mark_unchanged();
        let live = live(&pods);
        let (mode, known) = (identity.mode, identity.places.load_full());
        let surveyed = tokio::task::spawn_blocking(move || survey(mode, &known, live)).await;
        match surveyed {
            Ok(Ok(survey)) => {
                report(&identity, &survey, &condition, &mut said);
                identity.places.store(Arc::new(survey.places));
                identity.learned.send_modify(|count| *count += 1);
            }
            Ok(Err(error)) => condition.missing(format!(
                "the kernel does not tell where pods are: {}",
                Chain(&error)
            )),
            // The runtime is ending, or the survey panicked and has said so.
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            changed = generations.changed() => if changed.is_err() { return },
            () = identity.asked.notified() => {}
        }
    }
}

/// Every pod that owns an address, with its addresses.
fn live<G>(pods: &Reader<G>) -> Vec<(PodUid, Vec<IpAddr>)> {
    let snapshot = pods.snapshot();
    let pods = snapshot.pods().filter_map(|entry| {
        let addresses = entry.workload.owned_addresses();
        (!addresses.is_empty()).then(|| (entry.workload.uid.clone(), addresses))
    });
    pods.collect()
}

fn report(identity: &Identity, survey: &Survey, condition: &Condition, said: &mut String) {
    let Survey {
        by_link,
        by_home,
        by_neither,
        ..
    } = survey;
    let is_blind = *by_neither > 0 && *by_home == 0 && !identity.allow_shared_bridge;
    if is_blind {
        let cause = match (&survey.trouble, identity.mode) {
            (Some(trouble), _) => format!(" ({trouble})"),
            (None, IdentityMode::Interface) => " (--identity=interface)".to_owned(),
            (None, _) => " (no pod's network namespace can be seen)".to_owned(),
        };
        condition.missing(format!(
            "pods that share a link cannot be told apart, and are refused{cause}: {NEEDS}"
        ));
    } else {
        condition.met();
    }
    let told = [
        (*by_link, "their own links"),
        (*by_home, "their network namespaces"),
        (*by_neither, "their source address alone"),
    ];
    let ways: Vec<&str> = told
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(_, way)| *way)
        .collect();
    let ways = ways.join(", ");
    if !ways.is_empty() && !is_blind && ways != *said {
        tracing::info!(
            by_link,
            by_home,
            by_neither,
            "pods are told apart by {ways}"
        );
        *said = ways;
    }
}
