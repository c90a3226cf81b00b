//! Notices that files have changed. A missed or a superfluous one does no harm: the files are read as a whole each time,
//! and now and then without any notice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

/// A change is read when the files have been quiet for so long ...
const QUIET: Duration = Duration::from_millis(50);

/// ... or are not quiet after so long.
const PATIENCE: Duration = Duration::from_millis(500);

/// Watches folders for changes.
pub(crate) struct Notices {
    /// `None` where inotify is not to be had.
    watcher: Option<RecommendedWatcher>,
    /// Holds one notice: more of them would say nothing more.
    inbox: mpsc::Receiver<()>,
    /// Keeps the inbox open where there is no watcher.
    _sender: mpsc::Sender<()>,
}

impl Notices {
    pub(crate) fn new() -> Self {
        let (sender, inbox) = mpsc::channel(1);
        let notify = sender.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| is_change(event.kind)) {
                // Full means that one is waiting already.
                let _ = notify.try_send(());
            }
        })
        .inspect_err(|error| warn!(%error, "changes of files are noticed late: no inotify"))
        .ok();
        Self {
            watcher,
            inbox,
            _sender: sender,
        }
    }

    /// Watches the folders that decide what is at `path`. To be called again before each reading: a folder that was
    /// replaced needs a new watch, and one that is watched already costs nothing.
    pub(crate) fn watch(&mut self, path: &Path) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for folder in folders(path) {
            // A folder that is not there is found by reading again.
            let _ = watcher.watch(&folder, RecursiveMode::NonRecursive);
        }
    }

    /// Returns when something has changed and has been quiet since.
    pub(crate) async fn next(&mut self) {
        self.inbox.recv().await;
        let patience = Instant::now() + PATIENCE;
        let quiet = async { while timeout(QUIET, self.inbox.recv()).await.is_ok() {} };
        let _ = timeout_at(patience, quiet).await;
    }
}

/// The folder itself, or the one that holds the file; and the same behind links.
fn folders(path: &Path) -> Vec<PathBuf> {
    let folder = |path: &Path| {
        if path.is_dir() {
            Some(path.to_owned())
        } else {
            path.parent().map(Path::to_owned)
        }
    };
    let here = folder(path).map(|folder| {
        // The parent of a bare file name is an empty path.
        if folder.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            folder
        }
    });
    let there = path.canonicalize().ok().and_then(|path| folder(&path));
    let mut folders: Vec<PathBuf> = here.into_iter().chain(there).collect();
    folders.dedup();
    folders
}

/// Writing itself is no change yet: what is half written is not read before it is closed. Reading is none at all.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => {
            matches!(access, AccessKind::Close(AccessMode::Write))
        }
        EventKind::Modify(modify) => !matches!(modify, ModifyKind::Data(_)),
        EventKind::Any | EventKind::Create(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}
