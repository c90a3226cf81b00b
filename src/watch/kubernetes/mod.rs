//! Pods, namespaces and service accounts from the Kubernetes API; the last only where a source of roles reads them, so
//! that no right is needed for what is switched off.
//!
//! Each of them is followed by a loop of its own around kube's watcher, which resumes a watch that ends in an orderly
//! way. After any error the loop starts over with a new list, whose end is what proves that we are in sync again; the
//! state from before stays until that list replaces it as a whole.

mod backoff;
mod connect;
mod failure;
mod once;
mod registry;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::core::ObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use self::backoff::Backoff;
use self::connect::{Connection, connect};
use self::failure::Failure;
use super::objects::{Namespace, ObjectError, Pod, ServiceAccount};
use super::{Resource, Scope, SyncState, Update};
use crate::config::ApiAccess;
use crate::index::Event;
use crate::workload::{self, AnnotationKeys, PodUid, Workload};

pub(super) use self::once::survey;
pub(super) use self::registry::ApiServer;

/// Objects per page, where the server has no streaming lists.
const PAGE_SIZE: u32 = 500;

/// Silence in the middle of a list. Longer than the client's limit for a reply, which names its cause better.
const STALL_LIMIT: Duration = Duration::from_secs(15);

/// A run that was in sync for so long was a good one: what ends it is a new trouble, not the old one again.
const STEADY: Duration = Duration::from_secs(5);

/// A client with the limits of ours.
pub(super) async fn client(access: &ApiAccess) -> Result<Client, String> {
    let connection = connect(access).await;
    connection
        .map(|connection| connection.client)
        .map_err(|failure| failure.to_string())
}

/// Follows what the keys need until the future is dropped or nobody listens any more.
pub(super) async fn watch(access: &ApiAccess, scope: Scope<'_>, updates: mpsc::Sender<Update>) {
    let pods = Follower::<Pod>::new(access, scope, updates.clone());
    let namespaces = Follower::<Namespace>::new(access, scope, updates.clone());
    if scope.keys.reads_service_accounts() {
        let accounts = Follower::<ServiceAccount>::new(access, scope, updates);
        tokio::join!(pods.follow(), namespaces.follow(), accounts.follow());
    } else {
        tokio::join!(pods.follow(), namespaces.follow());
    }
}

/// A kind of object that is followed.
pub(super) trait Followed:
    kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static
{
    const RESOURCE: Resource;
    /// What the agent keeps of it.
    type Lean;

    fn field_selector(node: Option<&str>) -> Option<String>;
    fn into_lean(self, keys: &AnnotationKeys) -> Result<Self::Lean, ObjectError>;
    fn replaced(all: Vec<Self::Lean>) -> Event;
    fn applied(lean: Self::Lean) -> Event;
    /// `None` for an object without the field that identifies it.
    fn deleted(&self) -> Option<Event>;
}

impl Followed for Pod {
    const RESOURCE: Resource = Resource::Pods;
    type Lean = Workload;

    fn field_selector(node: Option<&str>) -> Option<String> {
        node.map(|node| format!("spec.nodeName={node}"))
    }

    fn into_lean(self, keys: &AnnotationKeys) -> Result<Workload, ObjectError> {
        self.into_workload(keys)
    }

    fn replaced(all: Vec<Workload>) -> Event {
        Event::PodsReplaced(all)
    }

    fn applied(lean: Workload) -> Event {
        Event::PodApplied(lean)
    }

    fn deleted(&self) -> Option<Event> {
        self.metadata
            .uid
            .as_deref()
            .map(|uid| Event::PodDeleted(PodUid::new(uid)))
    }
}

impl Followed for Namespace {
    const RESOURCE: Resource = Resource::Namespaces;
    type Lean = workload::Namespace;

    fn field_selector(_: Option<&str>) -> Option<String> {
        None
    }

    fn into_lean(self, keys: &AnnotationKeys) -> Result<workload::Namespace, ObjectError> {
        self.into_namespace(keys)
    }

    fn replaced(all: Vec<workload::Namespace>) -> Event {
        Event::NamespacesReplaced(all)
    }

    fn applied(lean: workload::Namespace) -> Event {
        Event::NamespaceApplied(lean)
    }

    fn deleted(&self) -> Option<Event> {
        self.metadata
            .name
            .as_deref()
            .map(|name| Event::NamespaceDeleted(Arc::from(name)))
    }
}

impl Followed for ServiceAccount {
    const RESOURCE: Resource = Resource::ServiceAccounts;
    type Lean = workload::ServiceAccount;

    fn field_selector(_: Option<&str>) -> Option<String> {
        None
    }

    fn into_lean(self, keys: &AnnotationKeys) -> Result<workload::ServiceAccount, ObjectError> {
        self.into_service_account(keys)
    }

    fn replaced(all: Vec<workload::ServiceAccount>) -> Event {
        Event::ServiceAccountsReplaced(all)
    }

    fn applied(lean: workload::ServiceAccount) -> Event {
        Event::ServiceAccountApplied(lean)
    }

    fn deleted(&self) -> Option<Event> {
        let ObjectMeta {
            name, namespace, ..
        } = &self.metadata;
        Some(Event::ServiceAccountDeleted(
            namespace.as_deref()?.into(),
            name.as_deref()?.into(),
        ))
    }
}

/// Follows one kind of object.
struct Follower<'a, K: Followed> {
    access: &'a ApiAccess,
    scope: Scope<'a>,
    updates: mpsc::Sender<Update>,
    connection: Option<Connection>,
    /// Streaming lists until the server turns out not to have them; then never again.
    streaming: bool,
    failing_since: Option<Timestamp>,
    /// When the list of this run was complete.
    synced_at: Option<Instant>,
    backoff: Backoff,
    kind: PhantomData<K>,
}

/// How far one run has come.
enum Phase<T> {
    /// The first request is on its way.
    Opening,
    /// These objects have been listed so far.
    Listing(Vec<T>),
    /// The list is complete.
    Watching,
}

/// Why one run ended.
enum Ended {
    /// It is time for a new list.
    Resync,
    /// The server has no streaming lists.
    NoStreamingList,
    /// Nobody listens any more.
    Unwanted,
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl<'a, K: Followed> Follower<'a, K> {
    fn new(access: &'a ApiAccess, scope: Scope<'a>, updates: mpsc::Sender<Update>) -> Self {
        Self {
            access,
            scope,
            updates,
            connection: None,
            streaming: true,
            failing_since: None,
            synced_at: None,
            backoff: Backoff::default(),
            kind: PhantomData,
        }
    }

    async fn follow(mut self) {
        loop {
            let Err(ended) = self.list_and_watch().await;
            match ended {
                Ended::Unwanted => return,
                Ended::Resync => debug!(resource = %K::RESOURCE, "listing anew"),
                Ended::NoStreamingList => self.give_up_streaming(),
                Ended::Failed(failure) if self.streaming && failure.refuses_streaming_list() => {
                    self.give_up_streaming();
                }
                Ended::Failed(failure) => {
                    if self
                        .synced_at
                        .take()
                        .is_some_and(|at| at.elapsed() >= STEADY)
                    {
                        self.backoff.reset();
                    }
                    if self.report(&failure).await.is_err() {
                        return;
                    }
                    if failure.doubts_credentials() {
                        self.connection = None;
                    }
                    sleep(self.backoff.pause(failure.longest_pause())).await;
                }
            }
        }
    }

    fn give_up_streaming(&mut self) {
        info!(resource = %K::RESOURCE, "the API server has no streaming lists; listing by pages");
        self.streaming = false;
    }

    /// One run: a list, then what changes, until something ends it.
    async fn list_and_watch(&mut self) -> Result<Infallible, Ended> {
        let Connection { client, server } = self.connection().await?;
        let mut stream = pin!(watcher(Api::<K>::all(client), self.watcher_config()));
        let started = Instant::now();
        let mut phase = Phase::Opening;
        loop {
            let next = match &phase {
                // The client bounds the wait for the reply.
                Phase::Opening => stream.next().await,
                Phase::Listing(_) => timeout(STALL_LIMIT, stream.next())
                    .await
                    .map_err(|_| self.stalled(&server))?,
                Phase::Watching => match self.until_resync(started) {
                    Some(left) => timeout(left, stream.next())
                        .await
                        .map_err(|_| Ended::Resync)?,
                    None => stream.next().await,
                },
            };
            let Some(next) = next else {
                let detail = "the watch ended".to_owned();
                return Err(Failure::Broken { server, detail }.into());
            };
            match next.map_err(|error| Failure::of(&error, K::RESOURCE, &server))? {
                watcher::Event::Init => phase = Phase::Listing(Vec::new()),
                watcher::Event::InitApply(object) => {
                    if let (Phase::Listing(listed), Some(lean)) = (&mut phase, self.lean(object)) {
                        listed.push(lean);
                    }
                }
                watcher::Event::InitDone => {
                    if let Phase::Listing(all) = std::mem::replace(&mut phase, Phase::Watching) {
                        self.send(K::replaced(all)).await?;
                        self.report_synced().await?;
                    }
                }
                watcher::Event::Apply(object) => {
                    // An object that has become unusable must not live on as it was.
                    let gone = object.deleted();
                    if let Some(event) = self.lean(object).map(K::applied).or(gone) {
                        self.send(event).await?;
                    }
                }
                watcher::Event::Delete(object) => {
                    if let Some(event) = object.deleted() {
                        self.send(event).await?;
                    }
                }
            }
        }
    }

    /// A list that stops midway. A server that ignores the request for a streaming list never says where it ends.
    fn stalled(&self, server: &str) -> Ended {
        if self.streaming {
            Ended::NoStreamingList
        } else {
            Failure::Silent {
                server: server.to_owned(),
            }
            .into()
        }
    }

    async fn connection(&mut self) -> Result<Connection, Failure> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let connection = connect(self.access).await?;
        Ok(self.connection.insert(connection).clone())
    }

    fn watcher_config(&self) -> watcher::Config {
        let mut config = watcher::Config::default().page_size(PAGE_SIZE);
        config.field_selector = K::field_selector(self.scope.node);
        if self.streaming {
            config = config.streaming_lists();
        }
        config
    }

    /// What is left of the time until a list is due again; `None` where none ever is.
    fn until_resync(&self, started: Instant) -> Option<Duration> {
        let period = self.access.resync;
        (!period.is_zero()).then(|| period.saturating_sub(started.elapsed()))
    }

    fn lean(&self, object: K) -> Option<K::Lean> {
        let name = object.meta().name.clone();
        object
            .into_lean(self.scope.keys)
            .inspect_err(|error| {
                warn!(resource = %K::RESOURCE, name, %error, "an object of the API server cannot be used");
            })
            .ok()
    }

    async fn send(&self, event: Event) -> Result<(), Ended> {
        self.updates
            .send(Update::Events(vec![event]))
            .await
            .map_err(|_| Ended::Unwanted)
    }

    async fn report_synced(&mut self) -> Result<(), Ended> {
        self.synced_at = Some(Instant::now());
        self.failing_since = None;
        let state = SyncState::Synced {
            since: self.scope.clock.now(),
        };
        self.updates
            .send(Update::State(K::RESOURCE, state))
            .await
            .map_err(|_| Ended::Unwanted)
    }

    async fn report(&mut self, failure: &Failure) -> Result<(), Ended> {
        // The ordinary fate of a watch on a quiet resource; worth a word only when a new list does not mend it.
        if *failure == Failure::Expired && self.backoff.is_fresh() {
            debug!(resource = %K::RESOURCE, "{failure}; listing anew");
            return Ok(());
        }
        let since = *self
            .failing_since
            .get_or_insert_with(|| self.scope.clock.now());
        let state = SyncState::Failing {
            error: failure.to_string(),
            since,
        };
        self.updates
            .send(Update::State(K::RESOURCE, state))
            .await
            .map_err(|_| Ended::Unwanted)
    }
}
