//! Who is let in: by what pods are told apart, and how much of the agent one may use.

use std::io;
use std::sync::Arc;

use crate::authorize::Grant;
use crate::config::{Config, Limits};
use crate::identity::{self, Identity};
use crate::imds::limits::Shares;
use crate::index::Reader;
use crate::lifecycle::{self, Condition};

/// Files of the agent that are no pod's connection: a socket for each pod's namespace, watches, STS, logs.
const OTHER_FILES: usize = 640;

/// Learns where pods are from now on, and says in `condition` whether they can be told apart.
pub(super) fn identity(
    config: &Config,
    pods: Reader<Grant>,
    condition: Condition,
) -> io::Result<Arc<Identity>> {
    let is_intercepted = config.interception.mode.writes_rules();
    let identity = Arc::new(Identity::new(config.identity, is_intercepted)?);
    tokio::spawn(identity::follow(Arc::clone(&identity), pods, condition));
    Ok(identity)
}

/// The limits, with no more connections than the process may have files: those left over are for everything else.
pub(super) fn shares(asked: Limits) -> Arc<Shares> {
    let files = lifecycle::raise_files().unwrap_or_else(|error| {
        tracing::warn!("how many files the process may have is not known: {error}");
        u64::MAX
    });
    let possible = usize::try_from(files)
        .unwrap_or(usize::MAX)
        .saturating_sub(OTHER_FILES)
        .max(OTHER_FILES);
    if possible < asked.connections {
        let asked = asked.connections;
        tracing::warn!(
            asked,
            possible,
            "--max-connections is more than the process's limit of files allows"
        );
    }
    Arc::new(Shares::new(Limits {
        connections: asked.connections.min(possible),
        ..asked
    }))
}
