//! The agent's life: what is missing before it is ready, the signal to leave, the drain. Parts register a
//! [`Condition`] and report on it; `admin` shows them; `app` listens for signals.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What is missing of each condition; nothing where it holds.
type Conditions = BTreeMap<&'static str, Option<String>>;

/// What the agent needs to be ready and what of it is missing, and findings, which an operator should know although the
/// agent is ready with them.
#[derive(Clone, Default)]
pub struct Readiness {
    conditions: Arc<watch::Sender<Conditions>>,
    findings: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

/// One thing that must hold for the agent to be ready. Reported on by the part that sees to it.
#[derive(Clone)]
pub struct Condition {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Registers a condition. It counts as missing until it is reported to hold.
    pub fn condition(&self, name: &'static str) -> Condition {
        self.set(name, Some("starting".to_owned()));
        Condition {
            name,
            readiness: self.clone(),
        }
    }

    /// What is missing, each with the reason; empty when the agent is ready.
    pub fn missing(&self) -> Vec<(&'static str, String)> {
        let conditions = self.conditions.borrow();
        conditions
            .iter()
            .filter_map(|(name, missing)| missing.clone().map(|why| (*name, why)))
            .collect()
    }

    /// Every condition, by name, with what is missing of it; `None` where it holds.
    pub fn conditions(&self) -> Vec<(&'static str, Option<String>)> {
        let conditions = self.conditions.borrow();
        let conditions = conditions.iter();
        conditions
            .map(|(name, missing)| (*name, missing.clone()))
            .collect()
    }

    /// What an operator should know: a stable code and one line each.
    pub fn findings(&self) -> Vec<(&'static str, String)> {
        let findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        let findings = findings.iter();
        findings.map(|(code, text)| (*code, text.clone())).collect()
    }

    /// Notes a finding, or takes it back.
    pub fn set_finding(&self, code: &'static str, text: Option<String>) {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        match text {
            Some(text) => findings.insert(code, text),
            None => findings.remove(code),
        };
    }

    /// Waits until every condition holds.
    pub async fn ready(&self) {
        self.until(|conditions| conditions.values().all(Option::is_none))
            .await;
    }

    /// Waits until these conditions hold, whatever the others do. One that is not registered does not hold.
    pub async fn hold(&self, names: &[&str]) {
        let holds = |conditions: &Conditions, name| conditions.get(name) == Some(&None);
        self.until(|conditions| names.iter().all(|name| holds(conditions, *name)))
            .await;
    }

    async fn until(&self, done: impl Fn(&Conditions) -> bool) {
        // The sender lives as long as this does, so that there is no error.
        let _ = self
            .conditions
            .subscribe()
            .wait_for(|conditions| done(conditions))
            .await;
    }

    fn set(&self, name: &'static str, missing: Option<String>) -> bool {
        self.conditions.send_if_modified(|conditions| {
            let before = conditions.insert(name, missing.clone());
            before != Some(missing)
        })
    }
}

impl Condition {
    /// It holds.
    pub fn met(&self) {
        if self.readiness.set(self.name, None) {
            tracing::info!(condition = self.name, "ready");
        }
    }

    /// It does not hold, and why: one line that says what to do.
    pub fn missing(&self, why: impl Into<String>) {
        let why = why.into();
        if self.readiness.set(self.name, Some(why.clone())) {
            tracing::warn!(condition = self.name, "not ready: {why}");
        }
    }
}

/// Tells every part that the agent is leaving. Cheap to clone.
#[derive(Clone)]
pub struct Drain {
    requested: watch::Receiver<bool>,
    /// The same, for those who ask with every request.
    is_requested: Arc<AtomicBool>,
}

/// The one who says when.
pub struct DrainTrigger {
    requested: watch::Sender<bool>,
    is_requested: Arc<AtomicBool>,
}

/// A drain that nobody has asked for yet.
pub fn drain() -> (DrainTrigger, Drain) {
    let (sender, receiver) = watch::channel(false);
    let is_requested = Arc::new(AtomicBool::new(false));
    let trigger = DrainTrigger {
        requested: sender,
        is_requested: Arc::clone(&is_requested),
    };
    let drain = Drain {
        requested: receiver,
        is_requested,
    };
    (trigger, drain)
}

impl DrainTrigger {
    /// Asks every part to finish what is in flight and leave.
    pub fn start(&self) {
        // Before anybody is woken to look at it.
        self.is_requested.store(true, Ordering::SeqCst);
        self.requested.send_replace(true);
    }
}

impl Drain {
    /// Whether the agent is leaving.
    pub fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::SeqCst)
    }

    /// Waits until the agent is leaving.
    pub async fn requested(&mut self) {
        // An error means that the trigger is gone, and with it the agent.
        let _ = self.requested.wait_for(|leaving| *leaving).await;
    }
}

/// Waits for SIGTERM or SIGINT and gives its name.
pub async fn termination() -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

/// Keeps secrets out of core files and of other processes' reach: no core dumps, not dumpable.
pub fn seal_memory() -> io::Result<()> {
    use nix::sys::{prctl, resource};
    resource::setrlimit(resource::Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)?;
    Ok(())
}

/// Lets the process have as many files as it may, and says how many that is: a container often begins with far fewer.
pub fn raise_files() -> io::Result<u64> {
    use nix::sys::resource::{Resource::RLIMIT_NOFILE, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_says_what_is_missing_and_why() {
        let readiness = Readiness::default();
        let pods = readiness.condition("pods");
        let rules = readiness.condition("rules");
        rules.met();
        assert_eq!(readiness.missing(), [("pods", "starting".to_owned())]);
        pods.missing("the API server refuses");
        assert_eq!(
            readiness.missing(),
            [("pods", "the API server refuses".to_owned())]
        );
        pods.met();
        assert!(readiness.missing().is_empty());
        rules.missing("gone");
        assert_eq!(readiness.missing(), [("rules", "gone".to_owned())]);
    }

    #[test]
    fn a_finding_is_told_until_it_is_taken_back_and_does_not_unready() {
        let readiness = Readiness::default();
        readiness.set_finding("open", Some("a door".to_owned()));
        assert_eq!(readiness.findings(), [("open", "a door".to_owned())]);
        assert!(readiness.missing().is_empty());
        readiness.set_finding("open", None);
        assert!(readiness.findings().is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_readiness_waits_for_every_condition_and_wakes_with_the_last() {
        let readiness = Readiness::default();
        let (pods, rules) = (readiness.condition("pods"), readiness.condition("rules"));
        let waiting = readiness.clone();
        let ready = tokio::spawn(async move { waiting.ready().await });
        pods.met();
        readiness.hold(&["pods"]).await;
        tokio::task::yield_now().await;
        assert!(!ready.is_finished(), "the rules are missing");
        rules.met();
        ready.await.unwrap();
    }

    #[tokio::test]
    async fn a_drain_reaches_every_part_also_those_that_ask_late() {
        let (trigger, drain) = drain();
        let mut waiting = drain.clone();
        let task = tokio::spawn(async move { waiting.requested().await });
        trigger.start();
        task.await.unwrap();
        drain.clone().requested().await;
    }
}
