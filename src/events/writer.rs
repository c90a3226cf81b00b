//! The one task that writes Events. kube's `Recorder` makes them, and counts a repeated one in the Event that is there.
//!
//! A recorder would tell the first note of a reason again and again, and go on counting in an Event that has been deleted;
//! so each note has a recorder of its own, which is let go when its Event is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::News;
use crate::config::ApiAccess;
use crate::metrics::Metrics;
use crate::telemetry::Chain;
use crate::watch::{self, NoClient};

/// The longest that one Event is tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a recorder goes on counting in one Event (kube's `CACHE_TTL`); afterwards it is of no use.
const SERIES: Duration = Duration::from_mins(6);

/// How the Events call us.
const CONTROLLER: &str = "podiam";

/// Why an Event was not written.
#[derive(Debug, Error)]
enum WriteError {
    #[error("no client for the API server")]
    Client(#[from] NoClient),
    #[error(
        "the API server refuses to let us write events (403): grant the verbs create and patch on events of the API group events.k8s.io in a ClusterRole bound to the agent's service account, or start the agents with --events=false"
    )]
    Forbidden(#[source] Box<kube::Error>),
    #[error("the Event that is there is gone")]
    Gone,
    #[error("the API server does not take an Event")]
    Api(#[source] Box<kube::Error>),
    #[error("the API server has not answered within {PATIENCE:?}")]
    Silent,
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        let code = match &error {
            kube::Error::Api(status) => status.code,
            _ => 0,
        };
        match code {
            403 => Self::Forbidden(Box::new(error)),
            404 => Self::Gone,
            _ => Self::Api(Box::new(error)),
        }
    }
}

/// Who writes.
pub(super) struct Writer {
    access: ApiAccess,
    reporter: Reporter,
    metrics: Arc<Metrics>,
    client: Option<Client>,
    /// Of the last minutes: as many as the bucket of the node lets through in that time.
    recorders: HashMap<News, (Recorder, Instant)>,
    /// The last failure, until an Event is written again.
    told: Option<String>,
}

impl Writer {
    pub(super) fn new(access: ApiAccess, node: Option<&str>, metrics: Arc<Metrics>) -> Self {
        Self {
            access,
            reporter: Reporter {
                controller: CONTROLLER.to_owned(),
                instance: node.map(str::to_owned),
            },
            metrics,
            client: None,
            recorders: HashMap::new(),
            told: None,
        }
    }

    /// Writes what comes until nobody can tell anything any more.
    pub(super) async fn write(mut self, mut inbox: mpsc::Receiver<News>) {
        while let Some(news) = inbox.recv().await {
            let mut outcome = self.attempt(&news).await;
            if matches!(outcome, Err(WriteError::Gone)) {
                // Its series is over; a new one begins. Where the namespace is gone too, that is the end of it.
                self.recorders.remove(&news);
                outcome = self.attempt(&news).await;
            }
            match outcome {
                Ok(()) => {
                    self.metrics.events.written();
                    self.told = None;
                }
                Err(error) => self.failed(&error),
            }
        }
    }

    async fn attempt(&mut self, news: &News) -> Result<(), WriteError> {
        let writing = async {
            let recorder = self.recorder(news).await?;
            recorder.publish(&event(news), &regarding(news)).await?;
            Ok(())
        };
        timeout(PATIENCE, writing)
            .await
            .unwrap_or(Err(WriteError::Silent))
    }

    async fn recorder(&mut self, news: &News) -> Result<Recorder, WriteError> {
        let client = if let Some(client) = &self.client {
            client.clone()
        } else {
            let client = watch::client(&self.access).await?;
            self.client = Some(client.clone());
            client
        };
        let now = Instant::now();
        self.recorders.retain(|_, (_, used)| *used + SERIES > now);
        let reporter = &self.reporter;
        let (recorder, used) = self
            .recorders
            .entry(news.clone())
            .or_insert_with(|| (Recorder::new(client, reporter.clone()), now));
        *used = now;
        Ok(recorder.clone())
    }

    /// Counted each time, logged once: what is refused to one Event is refused to all.
    fn failed(&mut self, error: &WriteError) {
        self.metrics.events.failed();
        if matches!(error, WriteError::Gone) {
            return;
        }
        // A client may be worn out: the address, the authority and the token are read anew.
        self.client = None;
        self.recorders.clear();
        let kind = error.to_string();
        if self.told.as_ref() != Some(&kind) {
            tracing::warn!("an Event on a pod was not written: {}", Chain(error));
            self.told = Some(kind);
        }
    }
}

fn event(news: &News) -> Event {
    Event {
        type_: EventType::Warning,
        reason: news.reason.clone(),
        note: Some(news.note.clone()),
        action: news.action.to_owned(),
        secondary: None,
    }
}

fn regarding(news: &News) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(news.namespace.to_string()),
        name: Some(news.pod.to_string()),
        uid: Some(news.uid.to_string()),
        ..ObjectReference::default()
    }
}
