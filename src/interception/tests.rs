//! The keeper over a back end that the test changes rules in: what it repairs, how fast, and what it reports.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use podiam_intercept::{METADATA_V4, Mode, open};
use tokio::sync::mpsc;

use super::*;
use crate::lifecycle::Readiness;

const PATIENCE: Duration = Duration::from_secs(20);

/// Rules as they are in a kernel that tells who listens of changes.
struct Kernel {
    state: Mutex<State>,
    /// The other end is what the back end waits on.
    announce: UnixStream,
}

#[derive(Default)]
struct State {
    status: Option<Status>,
    refusing: bool,
    broken: bool,
}

struct Fake {
    kernel: Arc<Kernel>,
    changes: UnixStream,
    installed: mpsc::UnboundedSender<Outcome>,
}

impl Kernel {
    /// What another program does.
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        (&self.announce).write_all(b"!").unwrap();
    }
}

impl Backend for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn install(&mut self, rules: &Rules) -> Result<Outcome, Error> {
        let mut state = self.kernel.state.lock().unwrap();
        let is_broken = state.broken;
        if is_broken {
            drop(state);
            panic!("a mistake in a back end");
        }
        if state.refusing {
            return Err(podiam_intercept::nftables::Error::Owned(None).into());
        }
        let wanted = Status {
            intercepts: Some(rules.clone()),
            ..Status::default()
        };
        let outcome = match state.status.replace(wanted.clone()) {
            None => Outcome::Created,
            Some(present) if present == wanted => Outcome::Unchanged,
            Some(_) => Outcome::Replaced,
        };
        self.installed.send(outcome).unwrap();
        Ok(outcome)
    }

    fn guard(&mut self) -> Result<Outcome, Error> {
        unreachable!("the keeper does not guard")
    }

    fn status(&mut self) -> Result<Option<Status>, Error> {
        Ok(self.kernel.state.lock().unwrap().status.clone())
    }

    fn remove(&mut self) -> Result<bool, Error> {
        unreachable!("the keeper removes nothing")
    }

    fn changes(&self) -> Option<BorrowedFd<'_>> {
        Some(self.changes.as_fd())
    }

    fn settle(&mut self) -> Result<bool, Error> {
        Ok(self.changes.read(&mut [0; 64]).is_ok())
    }
}

struct Keeper {
    kernel: Arc<Kernel>,
    installed: mpsc::UnboundedReceiver<Outcome>,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    since: std::time::Instant,
}

impl Keeper {
    fn start(state: State) -> Self {
        let (announce, changes) = UnixStream::pair().unwrap();
        changes.set_nonblocking(true).unwrap();
        let kernel = Arc::new(Kernel {
            state: Mutex::new(state),
            announce,
        });
        let (sender, installed) = mpsc::unbounded_channel();
        let backend = Fake {
            kernel: Arc::clone(&kernel),
            changes,
            installed: sender,
        };
        let readiness = Readiness::default();
        let metrics = Arc::new(Metrics::new().unwrap());
        tokio::spawn(keep(
            Box::new(backend),
            rules(),
            readiness.condition("interception"),
            Arc::clone(&metrics),
        ));
        Self {
            kernel,
            installed,
            readiness,
            metrics,
            since: std::time::Instant::now(),
        }
    }

    async fn installs(&mut self, outcome: Outcome) {
        assert_eq!(self.installed.recv().await, Some(outcome));
    }

    /// Lets the keeper report on what it did last.
    async fn reported(&self, wanted: &str) {
        loop {
            let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
            if text.contains(wanted) {
                return;
            }
            self.wait_a_little(wanted).await;
        }
    }

    async fn is_ready(&self, wanted: bool) {
        while self.readiness.missing().is_empty() != wanted {
            self.wait_a_little(if wanted { "ready" } else { "not ready" })
                .await;
        }
    }

    /// Lets others work; only a failing test comes to the end of its patience.
    async fn wait_a_little(&self, wanted: &str) {
        assert!(self.since.elapsed() < PATIENCE, "never came: {wanted}");
        tokio::task::yield_now().await;
    }
}

fn rules() -> Rules {
    let target = "10.0.0.1:8181".parse().unwrap();
    Rules::new(METADATA_V4, target, "eni+".parse().unwrap())
}

#[tokio::test]
async fn what_another_program_changes_is_repaired_and_counted() {
    let mut keeper = Keeper::start(State::default());
    keeper.installs(Outcome::Created).await;
    keeper.reported("podiam_interception_intact 1").await;
    keeper.reported("podiam_interception_repairs_total 0").await;
    keeper.is_ready(true).await;

    let since = Instant::now();
    keeper.kernel.change(|state| state.status = None);
    keeper.installs(Outcome::Created).await;
    println!("repaired {:?} after the change", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(1));
    keeper.reported("podiam_interception_repairs_total 1").await;
    keeper.is_ready(true).await;
}

#[tokio::test]
async fn what_is_refused_is_not_ready_and_tried_again() {
    let refusing = State {
        refusing: true,
        ..State::default()
    };
    let mut keeper = Keeper::start(refusing);
    while !keeper.readiness.missing()[0].1.contains("is owned by") {
        keeper.wait_a_little("the refusal").await;
    }
    keeper.reported("podiam_interception_intact 0").await;
    keeper.kernel.state.lock().unwrap().refusing = false;
    keeper.installs(Outcome::Created).await;
    keeper.is_ready(true).await;
    keeper.reported("podiam_interception_repairs_total 0").await;
}

#[tokio::test]
async fn rules_that_can_no_longer_be_kept_are_not_said_to_be_intact() {
    let mut keeper = Keeper::start(State::default());
    keeper.installs(Outcome::Created).await;
    keeper.reported("podiam_interception_intact 1").await;
    keeper.is_ready(true).await;
    keeper.kernel.change(|state| state.refusing = true);
    keeper.reported("podiam_interception_intact 0").await;
    keeper.is_ready(false).await;

    keeper.kernel.change(|state| state.refusing = false);
    keeper.reported("podiam_interception_intact 1").await;
    keeper.is_ready(true).await;
    keeper.kernel.change(|state| state.broken = true);
    keeper.reported("podiam_interception_intact 0").await;
    keeper.is_ready(false).await;
    let (_, why) = keeper.readiness.missing().remove(0);
    assert!(why.contains("nobody keeps the rules any longer"), "{why}");
}

#[tokio::test]
async fn of_rules_that_others_write_nothing_is_said() {
    for mode in [Mode::Cilium, Mode::None] {
        let readiness = Readiness::default();
        let metrics = Arc::new(Metrics::new().unwrap());
        let condition = readiness.condition("interception");
        keep(open(mode), rules(), condition, Arc::clone(&metrics)).await;
        assert!(readiness.missing().is_empty(), "{mode}");
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(
            text.contains("podiam_interception_intact 0"),
            "{mode}: {text}"
        );
    }
}

#[tokio::test]
async fn without_a_word_of_the_kernel_the_rules_are_looked_at_all_the_same() {
    let mut keeper = Keeper::start(State::default());
    keeper.installs(Outcome::Created).await;
    keeper.is_ready(true).await;
    keeper.kernel.state.lock().unwrap().status = None;
    tokio::time::pause();
    let since = Instant::now();
    keeper.installs(Outcome::Created).await;
    assert!(since.elapsed() < 2 * LOOK, "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_program_that_fights_back_is_answered_ever_more_slowly_and_told() {
    let mut keeper = Keeper::start(State::default());
    keeper.installs(Outcome::Created).await;
    keeper.is_ready(true).await;
    for _ in 0..FIGHT {
        keeper.kernel.change(|state| state.status = None);
        keeper.installs(Outcome::Created).await;
    }
    keeper.is_ready(false).await;
    let (_, why) = keeper.readiness.missing().remove(0);
    assert!(why.contains("another program keeps changing"), "{why}");
    tokio::time::pause();
    // Once nobody has changed anything for a while, that is over.
    keeper.installs(Outcome::Unchanged).await;
    keeper.is_ready(true).await;
}

#[test]
fn the_first_repair_is_at_once_and_none_waits_more_than_a_second() {
    assert_eq!(pause(0), Duration::ZERO);
    assert_eq!(pause(1), Duration::ZERO);
    assert_eq!(pause(2), FIRST_PAUSE);
    assert_eq!(pause(4), 4 * FIRST_PAUSE);
    for repairs in 0..100 {
        assert!(pause(repairs) <= LONGEST_PAUSE);
        assert!(pause(repairs) <= pause(repairs + 1));
    }
    assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
}

#[test]
fn what_was_wrong_is_told_in_the_words_of_the_status() {
    let told = |status| drift(status, &rules());
    assert_eq!(told(None), ["there are no rules"]);
    let intact = Status {
        intercepts: Some(rules()),
        ..Status::default()
    };
    assert!(told(Some(intact.clone())).is_empty());
    let drifted = Status {
        drift: vec!["the chain forward is missing".into()],
        ..intact.clone()
    };
    assert_eq!(told(Some(drifted)), ["the chain forward is missing"]);
    let guard = Status {
        guard: true,
        ..Status::default()
    };
    assert_eq!(told(Some(guard)), ["nothing is intercepted"]);
    let mut elsewhere = intact;
    elsewhere.intercepts.as_mut().unwrap().target = None;
    assert_eq!(
        told(Some(elsewhere)),
        ["other requests are intercepted, or brought elsewhere"]
    );
}
