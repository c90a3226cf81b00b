//! Follows the ceiling's file while the agent runs: what is new and good is put in force and every pod is decided about
//! anew; what is bad is told and changes nothing. Started by `app`, which has read the file once already.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as channel;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::authorize::{Ceiling, Policy};
use crate::lifecycle::Readiness;
use crate::telemetry::Chain;
use crate::watch::Notices;

/// Reading again without a notice: a `ConfigMap` that is mounted by `subPath`, and file systems without inotify.
const RESCAN: Duration = Duration::from_secs(10);

/// The finding while the file is bad.
pub(super) const BAD_FILE: &str = "ceiling-not-reloaded";

/// Follows the file until the future is dropped. `in_force` is what is decided by at the start; `rules` is told of each
/// change.
pub(super) async fn follow(
    path: PathBuf,
    mut in_force: Ceiling,
    policy: Arc<Policy>,
    readiness: Readiness,
    rules: channel::Sender<()>,
) {
    let mut notices = Notices::new();
    let mut told: Option<String> = None;
    loop {
        // Before reading, so that no change falls between the two.
        notices.watch(&path);
        let file = path.clone();
        let read =
            spawn_blocking(move || Ceiling::load(&file).map_err(|error| Chain(&error).to_string()));
        match read.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(ceiling) => {
                if told.take().is_some() {
                    readiness.set_finding(BAD_FILE, None);
                    tracing::info!(?path, "the ceiling can be read again");
                }
                if ceiling != in_force {
                    in_force = ceiling.clone();
                    policy.set_ceiling(Some(ceiling));
                    rules.send_replace(());
                    tracing::info!(?path, "a new ceiling is in force");
                }
            }
            Err(problem) => {
                if told.as_ref() != Some(&problem) {
                    tracing::error!("the ceiling stays as it was: {problem}");
                    let text = format!("the ceiling of before is in force: {problem}");
                    readiness.set_finding(BAD_FILE, Some(text));
                    told = Some(problem);
                }
            }
        }
        let _ = timeout(RESCAN, notices.next()).await;
    }
}
