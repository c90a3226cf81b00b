//! Pods, namespaces and service accounts from files: the whole agent without a cluster.
//!
//! The path is one file, or a folder whose `*.yaml`, `*.yml` and `*.json` files are read, not those of its subfolders and
//! none that begins with a dot. Every change is read anew as a whole: either all of it is good and replaces what was known,
//! or one line says what is wrong with it and nothing changes. Changes are noticed by inotify, and by reading again
//! now and then where inotify is blind. Replace files by renaming, as editors and `ConfigMap` volumes do.

mod manifest;
mod notice;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, info};

use self::manifest::{ManifestError, Manifests, Source};
pub(crate) use self::notice::Notices;
use super::{Resource, Scope, SyncState, Update};
use crate::index::Event;

/// Reading again without a notice: for network file systems and for links into folders that are not watched.
const RESCAN: Duration = Duration::from_secs(10);

/// The same while the last reading failed.
const RESCAN_FAILING: Duration = Duration::from_secs(1);

/// Why the files cannot be used.
#[derive(Debug, Error)]
enum FilesError {
    #[error("{path:?} of --workloads cannot be read")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Follows the files at `path` until the future is dropped or nobody listens any more.
pub(super) async fn watch(path: &Path, scope: Scope<'_>, updates: mpsc::Sender<Update>) {
    let mut notices = Notices::new();
    let mut last: Option<Result<Manifests, String>> = None;
    let mut failing_since: Option<Timestamp> = None;
    loop {
        // Before reading, so that no change falls between the two.
        notices.watch(path);
        let read = read(path, scope).await;
        let now = scope.clock.now();
        let told = match &read {
            Ok(_) if last.as_ref() == Some(&read) => Vec::new(),
            Ok(manifests) => {
                tell_skipped(manifests);
                failing_since = None;
                let mut told = vec![Update::Events(events(manifests))];
                told.extend(states(scope, &SyncState::Synced { since: now }));
                told
            }
            // Each time, for each time is a failure.
            Err(error) => {
                let error = error.clone();
                let since = *failing_since.get_or_insert(now);
                states(scope, &SyncState::Failing { error, since }).collect()
            }
        };
        for update in told {
            if updates.send(update).await.is_err() {
                return;
            }
        }
        let rescan = if read.is_ok() { RESCAN } else { RESCAN_FAILING };
        last = Some(read);
        // Either way the next step is to read again.
        let _ = timeout(rescan, notices.next()).await;
    }
}

/// The files hold all kinds, so all stand alike.
fn states(scope: Scope<'_>, state: &SyncState) -> impl Iterator<Item = Update> {
    let accounts = scope.keys.reads_service_accounts();
    [Resource::Namespaces, Resource::Pods]
        .into_iter()
        .chain(accounts.then_some(Resource::ServiceAccounts))
        .map(|resource| Update::State(resource, state.clone()))
}

/// What is around pods first, so that no pod is decided without it.
fn events(manifests: &Manifests) -> Vec<Event> {
    vec![
        Event::NamespacesReplaced(manifests.namespaces.clone()),
        Event::ServiceAccountsReplaced(manifests.service_accounts.clone()),
        Event::PodsReplaced(manifests.pods.clone()),
    ]
}

fn tell_skipped(manifests: &Manifests) {
    for skipped in &manifests.skipped {
        if skipped.makes_pods {
            info!(file = %skipped.file, document = skipped.document, kind = %skipped.kind,
                "only pods are read; nothing makes pods of this one here");
        } else {
            debug!(file = %skipped.file, document = skipped.document, kind = %skipped.kind, "not read");
        }
    }
}

/// Reads and judges everything at `path`; the error is one line.
async fn read(path: &Path, scope: Scope<'_>) -> Result<Manifests, String> {
    let path = path.to_owned();
    let node = scope.node.map(str::to_owned);
    let keys = scope.keys.clone();
    let reading = spawn_blocking(move || {
        let sources = sources(&path)?;
        Ok::<_, FilesError>(manifest::read(&sources, node.as_deref(), &keys)?)
    });
    match reading.await {
        Ok(Ok(manifests)) => Ok(manifests),
        Ok(Err(error)) => Err(with_causes(&error)),
        Err(error) => Err(format!("reading the files failed: {error}")),
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}

/// The text of each file, in the order of their names.
fn sources(path: &Path) -> Result<Vec<Source>, FilesError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| FilesError::Unreadable { path, source }
    };
    let mut files = Vec::new();
    if fs::metadata(path).map_err(unreadable(path))?.is_dir() {
        for entry in fs::read_dir(path).map_err(unreadable(path))? {
            let file = entry.map_err(unreadable(path))?.path();
            if is_manifest(&file) && !file.is_dir() {
                files.push(file);
            }
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).map_err(unreadable(&file))?;
            Ok(Source {
                file: file.display().to_string(),
                text,
            })
        })
        .collect()
}

fn is_manifest(file: &Path) -> bool {
    let hidden = file
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = file.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}
