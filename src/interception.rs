//! Keeps pods' requests coming to the agent: installs the rules, watches them, repairs what others have changed. `app`
//! starts it; how rules are written is the back end's ([`podiam_intercept::Backend`]) business. It never removes any.
//!
//! The back end works in blocking calls, on threads for that. The time from a change to its repair is that of two
//! readings of the rules and one writing of them, some milliseconds; against a program that changes them again and again
//! the pauses grow, up to a second.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use podiam_intercept::{Backend, Error, Outcome, Rules, Status};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, timeout};

use crate::lifecycle::Condition;
use crate::metrics::Metrics;
use crate::telemetry::Chain;

/// Between two looks at the rules where the kernel has told of no change: also when a table is taken over whose owner
/// has gone, of which it tells nothing.
const LOOK: Duration = Duration::from_secs(30);
/// Between two attempts at what the kernel refused.
const RETRY: Duration = Duration::from_secs(1);
/// Before the second repair in a row; twice that before the third, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest that the rules stay changed where another program keeps changing them.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Repairs in a row from which on the agent is not ready: meanwhile pods are not intercepted all the time.
const FIGHT: u32 = 6;

/// What one look at the rules has brought.
struct Look {
    outcome: Outcome,
    /// In what the rules differed before, a line for each difference.
    drift: Vec<String>,
    took: Duration,
}

/// Keeps `rules` in the kernel for as long as the agent lives, and reports on it.
pub async fn keep(
    mut backend: Box<dyn Backend>,
    rules: Rules,
    condition: Condition,
    metrics: Arc<Metrics>,
) {
    let mut repairs_in_a_row = 0;
    let mut was_in_place = false;
    loop {
        let wanted = rules.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let looked = look(backend.as_mut(), &wanted);
            (backend, looked)
        });
        let looked;
        (backend, looked) = match looking.await {
            Ok(done) => done,
            Err(error) => {
                metrics.interception.set_intact(false);
                return condition.missing(format!("nobody keeps the rules any longer: {error}"));
            }
        };
        match looked {
            Err(error) => {
                metrics.interception.set_intact(false);
                condition.missing(format!("the rules are not in place: {}", Chain(&error)));
                sleep(RETRY).await;
                continue;
            }
            // Others' rules: whether they are in place is not known here.
            Ok(look) if look.outcome == Outcome::Unwritten => return condition.met(),
            Ok(look) => {
                let is_repair = was_in_place && look.outcome.has_changed_rules();
                report(&look, is_repair);
                if is_repair {
                    metrics.interception.repaired();
                    repairs_in_a_row += 1;
                }
                was_in_place = true;
            }
        }
        metrics.interception.set_intact(true);
        if repairs_in_a_row < FIGHT {
            condition.met();
        } else {
            condition.missing(
                "another program keeps changing the interception rules; find it and stop it (the log has what it changes)",
            );
        }
        sleep(pause(repairs_in_a_row)).await;
        if wait_for_change(backend.as_mut()).await == Waited::InVain {
            repairs_in_a_row = 0;
        }
    }
}

/// Installs, and finds out what was wrong before.
fn look(backend: &mut dyn Backend, rules: &Rules) -> Result<Look, Error> {
    let since = Instant::now();
    let drift = drift(backend.status()?, rules);
    let outcome = backend.install(rules)?;
    Ok(Look {
        outcome,
        drift,
        took: since.elapsed(),
    })
}

/// In what the rules of `status` differ from `rules`.
fn drift(status: Option<Status>, rules: &Rules) -> Vec<String> {
    match status {
        None => vec!["there are no rules".to_owned()],
        Some(status) if status.guard => vec!["nothing is intercepted".to_owned()],
        Some(status) if !status.is_intact() => status.drift,
        Some(status) if status.intercepts.as_ref() != Some(rules) => {
            vec!["other requests are intercepted, or brought elsewhere".to_owned()]
        }
        Some(_) => Vec::new(),
    }
}

fn report(look: &Look, is_repair: bool) {
    let Look {
        outcome,
        drift,
        took,
    } = look;
    let took_ms = took.as_secs_f64() * 1e3;
    let drift = drift.join("; ");
    if is_repair {
        tracing::warn!(
            ?outcome,
            took_ms,
            drift,
            "the interception rules were changed and are repaired"
        );
    } else if *outcome != Outcome::Unchanged {
        tracing::info!(?outcome, took_ms, drift, "interception rules");
    }
}

/// Before the next look, after so many repairs with nothing but changes between them.
fn pause(repairs_in_a_row: u32) -> Duration {
    match repairs_in_a_row {
        0 | 1 => Duration::ZERO,
        more => FIRST_PAUSE
            .saturating_mul(2u32.saturating_pow(more - 2))
            .min(LONGEST_PAUSE),
    }
}

/// Why the wait is over.
#[derive(Debug, PartialEq, Eq)]
enum Waited {
    /// Somebody may have changed the rules.
    ForAChange,
    /// Nobody has, for the whole time.
    InVain,
}

/// Waits until somebody may have changed the rules, or it is time to look all the same.
async fn wait_for_change(backend: &mut dyn Backend) -> Waited {
    let changed = async {
        loop {
            let Some(changes) = backend.changes() else {
                return std::future::pending().await;
            };
            if let Err(error) = readable(changes).await {
                tracing::warn!("changes of the interception rules cannot be waited for: {error}");
                return std::future::pending().await;
            }
            match backend.settle() {
                Ok(false) => {}
                Ok(true) => return,
                Err(error) => {
                    tracing::warn!(
                        "changes of the interception rules cannot be read: {}",
                        Chain(&error)
                    );
                    return sleep(RETRY).await;
                }
            }
        }
    };
    match timeout(LOOK, changed).await {
        Ok(()) => Waited::ForAChange,
        Err(_) => Waited::InVain,
    }
}

async fn readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    #[allow(
        deprecated,
        reason = "its successor is unsafe: the caller promises what a borrowed descriptor keeps, to stay the same and open"
    )]
    let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
    let _ready = fd.readable().await?;
    Ok(())
}

#[cfg(test)]
mod tests;
