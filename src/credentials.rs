//! What are its credentials? One slot for each grant, that is for each combination of everything that goes into
//! `AssumeRole`; `app` says which grants are wanted, `imds` reads.
//!
//! A slot fetches as soon as it is wanted, refreshes at about half of a session's life, serves what it holds until that
//! expires, and never longer. No slot ever gives what another one's grant bought, and no request talks to AWS.
//!
//! | module | owns |
//! |---|---|
//! | `slot` | the actor: asks, publishes, sleeps |
//! | `queue`, `budget` | whose call is next, and when it may be made |
//! | `outage` | that STS does not answer, and that it does again |
//! | `observer` | what is reported to metrics and logs |
//! | `state` | the states and the pure step between them |
//! | `schedule` | when to ask again |
//! | `moment` | time by two clocks |
//! | `dice` | chance |
//! | `body` | what a session becomes: the bytes that a pod reads |
//! | `audit` | which pod has which credentials, for the log |

pub mod audit;
mod body;
mod budget;
mod dice;
mod moment;
mod observer;
mod outage;
mod queue;
mod schedule;
mod slot;
mod state;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::time::Instant;

pub use self::body::Issued;
use self::budget::Budget;
pub use self::budget::BudgetStatus;
pub use self::dice::Dice;
pub use self::observer::{Call, Observer};
use self::outage::Outage;
pub use self::queue::{Limits, Priority};
use self::slot::{Engine, Slot};
use self::state::State;
pub use self::state::Terms;
use crate::authorize::Grant;
use crate::clock::Clock;
use crate::reason::Reason;
use crate::sts::{AssumeRole, StsError};

/// One slot, for `/debug`, metrics and readiness. No secret is in it.
#[derive(Clone, Debug)]
pub struct SlotStatus {
    /// Whose credentials.
    pub grant: Arc<Grant>,
    /// One of [`SlotStatus::STATES`].
    pub state: &'static str,
    /// When the last session was asked for.
    pub obtained_at: Option<Timestamp>,
    /// When the last session expires; also after it has.
    pub expires_at: Option<Timestamp>,
    /// Whether there is something to serve now.
    pub valid: bool,
    /// Whether a call to STS is under way, or waits for the node's budget.
    pub asking: bool,
    /// Whether it only waits.
    pub queued: bool,
    /// `AccessKeyId` of the last session; also after it has expired.
    pub access_key_id: Option<String>,
    /// Why the last call brought nothing; `None` where it brought credentials, or has not come back yet.
    pub failure: Option<Reason>,
    /// When STS is asked next; `None` while a call is wanted or under way.
    pub next: Option<Next>,
    /// How the last call failed; `None` where it succeeded, or none has ended yet.
    pub last_error: Option<Arc<Failure>>,
}

/// When STS is asked next, if nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At that time.
    At(Timestamp),
    /// When a pod asks after that time.
    OnDemandAfter(Timestamp),
}

/// A call that failed. For the operator alone: AWS's texts name accounts and roles.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When it came back.
    pub at: Timestamp,
    /// What came back, sorted.
    pub error: StsError,
    /// How many failed in a row, with this one.
    pub in_a_row: u32,
}

impl SlotStatus {
    /// Every state that a slot can be in.
    pub const STATES: [&'static str; 4] = State::NAMES;
}

/// The slots. Cheap to clone.
#[derive(Clone)]
pub struct Credentials(Arc<Slots>);

/// The slots by grant, and by where the grant lies in memory: a pod's entry in the index holds the very grant that is
/// wanted, so that a request need not hash all that goes into `AssumeRole`.
#[derive(Clone, Default)]
struct Map {
    by_grant: HashMap<Arc<Grant>, Arc<Slot>>,
    /// No other grant can come to lie there: `by_grant` keeps each alive.
    by_place: HashMap<usize, Arc<Slot>>,
}

impl Map {
    fn get(&self, grant: &Grant) -> Option<&Arc<Slot>> {
        self.by_place
            .get(&place(grant))
            .or_else(|| self.by_grant.get(grant))
    }

    fn insert(&mut self, grant: Arc<Grant>, slot: Arc<Slot>) {
        self.by_place.insert(place(&grant), Arc::clone(&slot));
        self.by_grant.insert(grant, slot);
    }
}

fn place(grant: &Grant) -> usize {
    std::ptr::from_ref(grant).addr()
}

struct Slots {
    engine: Arc<Engine>,
    runtime: Handle,
    /// Readers take a snapshot and never wait.
    map: ArcSwap<Map>,
    /// Held while a new map replaces the old one, so that a grant gets one slot however many ask for it at once.
    writer: Mutex<()>,
}

impl Credentials {
    /// No slots yet; they will run on `runtime`.
    pub fn new(
        sts: Arc<dyn AssumeRole>,
        clock: Clock,
        terms: Terms,
        limits: Limits,
        observer: Arc<dyn Observer>,
        dice: Dice,
        runtime: Handle,
    ) -> Self {
        Self(Arc::new(Slots {
            engine: Arc::new(Engine {
                sts,
                clock,
                terms,
                budget: Budget::new(limits),
                outage: Outage::new(),
                observer,
                dice,
            }),
            runtime,
            map: ArcSwap::default(),
            writer: Mutex::default(),
        }))
    }

    /// The credentials of `grant`, if they are there and valid: one look-up, one clone, one count.
    pub fn get(&self, grant: &Grant) -> Option<Arc<Issued>> {
        self.0.map.load().get(grant)?.hit()
    }

    /// The credentials of `grant`, waiting for them until `deadline` at most. A grant that nobody wanted yet is
    /// fetched now, and kept until the next [`Credentials::set_wanted`] that does not name it.
    pub async fn obtain(
        &self,
        grant: &Arc<Grant>,
        deadline: Instant,
    ) -> Result<Arc<Issued>, Reason> {
        if let Some(issued) = self.get(grant) {
            return Ok(issued);
        }
        self.slot(grant).obtain(deadline).await
    }

    /// The grants of all live pods: new ones are fetched, those that nobody needs any more are dropped. Requests that
    /// wait for a dropped one get their answer all the same.
    pub fn set_wanted(&self, wanted: impl IntoIterator<Item = Arc<Grant>>) {
        let _writer = self.lock();
        let current = self.0.map.load();
        let mut next = Map::default();
        for grant in wanted {
            // The same twice, in two places, is one slot all the same.
            if next.get(&grant).is_none() {
                let slot = match current.get(&grant) {
                    Some(slot) => Arc::clone(slot),
                    None => self.start(Arc::clone(&grant)),
                };
                next.insert(grant, slot);
            }
        }
        self.0.map.store(Arc::new(next));
    }

    /// These grants' pods, their annotations or their namespaces have changed: what STS refused is asked again.
    pub fn reconsider<'a>(&self, grants: impl IntoIterator<Item = &'a Arc<Grant>>) {
        let map = self.0.map.load();
        for slot in grants.into_iter().filter_map(|grant| map.get(grant)) {
            slot.reconsider();
        }
    }

    /// Whether STS has answered about `grant`, whatever it said.
    pub fn is_tried(&self, grant: &Grant) -> bool {
        self.0
            .map
            .load()
            .get(grant)
            .is_some_and(|slot| slot.is_tried())
    }

    /// Every slot, in no order.
    pub fn status(&self) -> Vec<SlotStatus> {
        self.0
            .map
            .load()
            .by_grant
            .values()
            .map(|slot| slot.status())
            .collect()
    }

    /// The slot of one grant; `None` where nobody wants it.
    pub fn status_of(&self, grant: &Grant) -> Option<SlotStatus> {
        self.0.map.load().get(grant).map(|slot| slot.status())
    }

    /// How the queue for STS stands.
    pub fn budget(&self) -> BudgetStatus {
        self.0.engine.budget.status()
    }

    fn slot(&self, grant: &Arc<Grant>) -> Arc<Slot> {
        if let Some(slot) = self.0.map.load().get(grant) {
            return Arc::clone(slot);
        }
        let _writer = self.lock();
        let current = self.0.map.load();
        if let Some(slot) = current.get(grant) {
            return Arc::clone(slot);
        }
        let slot = self.start(Arc::clone(grant));
        let mut next = Map::clone(&current);
        next.insert(Arc::clone(grant), Arc::clone(&slot));
        self.0.map.store(Arc::new(next));
        slot
    }

    fn start(&self, grant: Arc<Grant>) -> Arc<Slot> {
        Arc::new(Slot::start(
            grant,
            Arc::clone(&self.0.engine),
            &self.0.runtime,
        ))
    }

    /// The lock guards no data of its own, so that a writer that panicked leaves nothing half done.
    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.0.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
