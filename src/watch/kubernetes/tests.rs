//! The watch against an API server that the tests play by hand, request by request, in paused time.

mod failures;
mod lists;
mod server;
mod sockets;

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::server::{Server, Stream, end_of_list, event, pod};
use super::*;
use crate::clock::Clock;
use crate::config::ApiEndpoint;
use crate::secret::Secret;
use crate::watch::objects::test_keys;

/// `--cache-resync-period` in these tests.
const RESYNC: Duration = Duration::from_mins(30);

/// A follower of the pods of node-1, and what it tells.
struct Following {
    updates: mpsc::Receiver<Update>,
    task: JoinHandle<()>,
}

impl Following {
    fn of(server: &Server) -> Self {
        let (sender, updates) = mpsc::channel(64);
        let connection = Connection {
            client: server.client(),
            server: "api:6443".into(),
        };
        let task = tokio::spawn(async move {
            let endpoint = ApiEndpoint::Explicit {
                server: "http://127.0.0.1:1".into(),
                token: Secret::new("t"),
            };
            let access = ApiAccess {
                endpoint,
                insecure: false,
                resync: RESYNC,
            };
            let (keys, clock) = (test_keys(), Clock::system());
            let scope = Scope {
                node: Some("node-1"),
                keys: &keys,
                clock: &clock,
            };
            let mut follower = Follower::<Pod>::new(&access, scope, sender);
            follower.connection = Some(connection);
            follower.follow().await;
        });
        Self { updates, task }
    }

    async fn update(&mut self) -> Update {
        self.updates
            .recv()
            .await
            .expect("the follower never ends by itself")
    }

    /// The next update is one event; in short.
    async fn event(&mut self) -> String {
        let update = self.update().await;
        let Update::Events(events) = &update else {
            panic!("{update:?}")
        };
        let [event] = events.as_slice() else {
            panic!("{events:?}")
        };
        match event {
            Event::PodsReplaced(pods) => {
                let names: Vec<&str> = pods.iter().map(|pod| &*pod.name).collect();
                format!("all: {}", names.join(" "))
            }
            Event::PodApplied(pod) => format!("applied {}", pod.name),
            Event::PodDeleted(uid) => format!("deleted {uid}"),
            other => panic!("{other:?}"),
        }
    }

    async fn synced(&mut self) {
        let update = self.update().await;
        assert!(
            matches!(
                update,
                Update::State(Resource::Pods, SyncState::Synced { .. })
            ),
            "{update:?}"
        );
    }

    async fn failing(&mut self) -> String {
        match self.update().await {
            Update::State(Resource::Pods, SyncState::Failing { error, .. }) => error,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Plays a streaming list of one pod, and leaves its watch open.
async fn stream_one_pod(server: &mut Server, following: &mut Following) -> Stream {
    let request = server.request().await;
    assert!(
        request.query.contains("sendInitialEvents=true"),
        "{request:?}"
    );
    let stream = request.stream();
    stream.send(&event("ADDED", &pod("a", "7")));
    stream.send(&end_of_list("7"));
    assert_eq!(following.event().await, "all: a");
    following.synced().await;
    stream
}
