//! The runtime beside the API, at a real socket. What waits waits on the event; only a failing test reaches its limit.

mod server;

use tokio::sync::watch;
use tokio::time::timeout;

use self::server::{Sandbox, Server};
use super::*;
use crate::index::{Index, Lookup};
use crate::watch::{SourceStatus, fold};
use crate::workload::Workload;

/// Sooner than the next list where no pod waits.
const SOON: Duration = Duration::from_secs(4);

fn pod(uid: &str, addresses: &[&str]) -> Workload {
    Workload {
        addresses: addresses.iter().map(|one| one.parse().unwrap()).collect(),
        ..Workload::new(PodUid::new(uid), "default", uid)
    }
}

/// An index that hears of the runtime and, through the test, of the API.
struct Scene {
    reader: Reader<String>,
    updates: mpsc::Sender<Update>,
    metrics: Arc<Metrics>,
}

impl Scene {
    fn with(server: &Server) -> Self {
        let (index, reader) = Index::new(|pod, _| Ok(Arc::new(pod.name.to_string())));
        let (updates, inbox) = mpsc::channel(8);
        let metrics = Arc::new(Metrics::new().unwrap());
        let runtime = Runtime {
            socket: server.socket(),
            metrics: Arc::clone(&metrics),
        };
        tokio::spawn(follow(runtime, index.reader(), updates.clone()));
        tokio::spawn(async move {
            let (status, _seen) = watch::channel(SourceStatus::default());
            let (_rules, unchanged) = watch::channel(());
            fold(inbox, index, status, unchanged).await;
        });
        Self {
            reader,
            updates,
            metrics,
        }
    }

    async fn api(&self, event: Event) {
        self.updates
            .send(Update::Events(vec![event]))
            .await
            .unwrap();
    }

    /// The API shows a pod with this UID and these addresses.
    async fn shows(&self, uid: &str, addresses: &[&str]) {
        self.api(Event::PodApplied(pod(uid, addresses))).await;
    }

    fn owner(&self, address: &str) -> String {
        match self.reader.lookup(address.parse().unwrap()) {
            Lookup::Pod(entry) => entry.workload.uid.to_string(),
            Lookup::Ambiguous => "ambiguous".into(),
            Lookup::Unknown => "unknown".into(),
        }
    }

    /// Waits until the address is this one's.
    async fn owned(&self, address: &str, owner: &str) {
        let mut generations = self.reader.generations();
        let waiting = async {
            while self.owner(address) != owner {
                generations.changed().await.unwrap();
            }
        };
        let ended = timeout(SOON, waiting).await;
        assert!(
            ended.is_ok(),
            "{address} is {}, not {owner}",
            self.owner(address)
        );
    }

    fn metric(&self, name: &str) -> String {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        found.unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_pod_that_the_api_has_shown_is_known_by_its_sandboxes_addresses_before_the_api_has_them()
{
    let server = Server::start();
    let scene = Scene::with(&server);
    scene.shows("a", &[]).await;
    scene.shows("other", &["10.0.0.9"]).await;
    scene.owned("10.0.0.9", "other").await;
    assert_eq!(scene.owner("10.0.0.1"), "unknown");
    server.set(&[Sandbox("s1", "a", &["10.0.0.1", "2001:db8::1"], true)]);
    scene.owned("10.0.0.1", "a").await;
    scene.owned("2001:db8::1", "a").await;
}

#[tokio::test]
async fn a_sandbox_of_a_pod_that_the_api_has_not_shown_owns_nothing_until_it_has() {
    let server = Server::start();
    server.set(&[
        Sandbox("s1", "a", &["10.0.0.1"], true),
        Sandbox("s2", "b", &["10.0.0.2"], true),
    ]);
    let scene = Scene::with(&server);
    scene.shows("b", &[]).await;
    scene.owned("10.0.0.2", "b").await;
    assert_eq!(scene.owner("10.0.0.1"), "unknown");
    scene.shows("a", &[]).await;
    scene.owned("10.0.0.1", "a").await;
    // And no longer than it shows it.
    scene.api(Event::PodDeleted(PodUid::new("a"))).await;
    scene.owned("10.0.0.1", "unknown").await;
}

#[tokio::test]
async fn a_sandbox_that_is_not_ready_or_gone_takes_its_address_away_and_a_new_one_brings_another() {
    let server = Server::start();
    server.set(&[
        Sandbox("s1", "a", &["10.0.0.1"], true),
        Sandbox("s2", "b", &["10.0.0.2"], true),
    ]);
    let scene = Scene::with(&server);
    scene.shows("a", &[]).await;
    scene.shows("b", &[]).await;
    scene.owned("10.0.0.1", "a").await;
    scene.owned("10.0.0.2", "b").await;
    server.set(&[
        Sandbox("s1", "a", &["10.0.0.1"], false),
        Sandbox("s2", "b", &["10.0.0.2"], true),
    ]);
    scene.owned("10.0.0.1", "unknown").await;
    server.set(&[
        Sandbox("s1", "a", &["10.0.0.1"], false),
        Sandbox("s3", "a", &["10.0.0.3"], true),
    ]);
    scene.owned("10.0.0.3", "a").await;
    assert_eq!(scene.owner("10.0.0.2"), "unknown");
    assert_eq!(scene.owner("10.0.0.1"), "unknown");
}

#[tokio::test]
async fn where_the_runtime_and_the_api_disagree_about_an_address_nobody_has_it() {
    let server = Server::start();
    server.set(&[Sandbox("s1", "new", &["10.0.0.1"], true)]);
    let scene = Scene::with(&server);
    scene.shows("old", &["10.0.0.1"]).await;
    scene.owned("10.0.0.1", "old").await;
    scene.shows("new", &[]).await;
    scene.owned("10.0.0.1", "ambiguous").await;
    scene.api(Event::PodDeleted(PodUid::new("old"))).await;
    scene.owned("10.0.0.1", "new").await;
}

#[tokio::test]
async fn the_runtime_is_asked_often_while_a_pod_has_no_address_and_once_about_each_sandbox() {
    let server = Server::start();
    let scene = Scene::with(&server);
    scene.shows("a", &[]).await;
    assert_eq!(scene.owner("10.0.0.1"), "unknown");
    server.set(&[Sandbox("s1", "a", &["10.0.0.1"], true)]);
    scene.owned("10.0.0.1", "a").await;
    server.set(&[
        Sandbox("s1", "a", &["10.0.0.1"], true),
        Sandbox("s2", "b", &["10.0.0.2"], true),
    ]);
    scene.shows("b", &[]).await;
    scene.owned("10.0.0.2", "b").await;
    assert_eq!(
        server.statuses(),
        2,
        "a sandbox is asked for its addresses once"
    );
}

#[tokio::test]
async fn what_a_runtime_said_that_went_away_counts_no_longer_and_again_when_it_is_back() {
    let server = Server::start();
    server.set(&[Sandbox("s1", "a", &["10.0.0.1"], true)]);
    let scene = Scene::with(&server);
    scene.shows("a", &[]).await;
    scene.shows("b", &["10.0.0.2"]).await;
    scene.owned("10.0.0.1", "a").await;
    assert_eq!(scene.metric("podiam_runtime_up"), "1");
    let (state, folder) = server.stop();
    scene.owned("10.0.0.1", "unknown").await;
    assert_eq!(scene.metric("podiam_runtime_up"), "0");
    assert_eq!(scene.owner("10.0.0.2"), "b", "what the API said stays");
    let server = Server::serve(state, folder);
    scene.owned("10.0.0.1", "a").await;
    let _server = server.restart();
    scene.owned("10.0.0.1", "a").await;
}

#[tokio::test]
async fn how_long_before_the_api_the_runtime_told_is_counted() {
    let server = Server::start();
    server.set(&[Sandbox("s0", "early", &["10.0.0.5"], true)]);
    let scene = Scene::with(&server);
    scene.shows("early", &[]).await;
    scene.owned("10.0.0.5", "early").await;
    scene.shows("a", &[]).await;
    scene.shows("late", &["10.0.0.2"]).await;
    scene.owned("10.0.0.2", "late").await;
    let both = [
        Sandbox("s0", "early", &["10.0.0.5"], true),
        Sandbox("s1", "a", &["10.0.0.1"], true),
        Sandbox("s2", "late", &["10.0.0.2"], true),
    ];
    server.set(&both);
    scene.owned("10.0.0.1", "a").await;
    assert_eq!(scene.metric("podiam_runtime_lead_seconds_count"), "0");
    assert_eq!(scene.metric("podiam_runtime_behind_total"), "1", "late");
    scene.shows("a", &["10.0.0.1"]).await;
    scene.shows("early", &["10.0.0.5"]).await;
    scene.shows("last", &["10.0.0.6"]).await;
    scene.owned("10.0.0.6", "last").await;
    // The follower looks when the index has changed.
    let counted = async {
        while scene.metric("podiam_runtime_lead_seconds_count") != "1" {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, counted).await.unwrap();
    assert_eq!(scene.metric("podiam_runtime_behind_total"), "1");
}

#[tokio::test]
async fn what_is_wrong_with_the_runtime_is_said_in_words() {
    let error = async |socket: PathBuf| match Client::connect(&socket).await {
        Ok(mut client) => client.sandboxes().await.unwrap_err(),
        Err(error) => error,
    };
    let nowhere = tempfile::tempdir().unwrap();
    let why = error(nowhere.path().join("cri.sock")).await.to_string();
    assert!(
        why.contains("cannot connect to") && why.contains("--cri-socket"),
        "{why}"
    );
    let foreign = Server::foreign();
    let why = error(foreign.socket()).await.to_string();
    assert!(why.contains("no ListPodSandbox of runtime.v1"), "{why}");

    let server = Server::start();
    server.set(&[Sandbox("s1", "a", &["not-an-address"], true)]);
    let mut client = Client::connect(&server.socket()).await.unwrap();
    let why = client.addresses("s1").await.unwrap_err().to_string();
    assert!(why.contains("\"not-an-address\""), "{why}");
    assert!(
        client.addresses("s2").await.unwrap().is_none(),
        "it is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn the_runtime_is_asked_often_at_first_less_for_a_pod_that_is_stuck_and_seldom_while_none_waits()
 {
    let (mut index, reader) = Index::<()>::new(|_, _| Ok(Arc::new(())));
    let mut waiting = Waiting::default();
    let mut pause = |event: Event| {
        index.apply(event);
        index.publish();
        waiting.pause(&reader.snapshot())
    };
    assert_eq!(pause(Event::RulesChanged), SLOW);
    assert_eq!(pause(Event::PodApplied(pod("a", &[]))), FAST);
    tokio::time::advance(FRESH).await;
    assert_eq!(pause(Event::RulesChanged), STUCK);
    assert_eq!(pause(Event::PodApplied(pod("b", &["10.0.0.2"]))), STUCK);
    // Another one is no longer than the first was.
    assert_eq!(pause(Event::PodApplied(pod("c", &[]))), FAST);
    let host = Workload {
        host_network: true,
        ..pod("c", &[])
    };
    assert_eq!(pause(Event::PodApplied(host)), FAST);
    tokio::time::advance(FRESH).await;
    assert_eq!(pause(Event::PodDeleted(PodUid::new("a"))), SLOW);
    // What the runtime says is not what the API shows: it may end before that.
    let told =
        Event::SandboxesReplaced([(PodUid::new("d"), vec!["10.0.0.4".parse().unwrap()])].into());
    assert_eq!(pause(told), SLOW);
    assert_eq!(pause(Event::PodApplied(pod("d", &[]))), FAST);
}
