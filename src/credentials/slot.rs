//! One slot: one grant, one actor, one state. The actor asks STS, publishes the state, and sleeps until it is due; it
//! belongs to no request, so that nobody who hangs up takes a call away from those who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::FutureExt;
use prometheus::IntCounter;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::body::Issued;
use super::budget::Budget;
use super::dice::Dice;
use super::moment::Now;
use super::observer::{Call, Observer};
use super::outage::Outage;
use super::queue::Priority;
use super::schedule;
use super::state::{Answer, Due, Prompt, Reaction, State, Terms};
use super::{Failure, Next, SlotStatus};
use crate::authorize::Grant;
use crate::clock::Clock;
use crate::reason::Reason;
use crate::sts::{AssumeRole, Kind, SUCCESS, Session, StsError};

/// The longest sleep: a wall clock that jumped ahead (it was set, the machine slept) is noticed after it.
const RECHECK: Duration = Duration::from_mins(1);

/// What all slots share.
pub(super) struct Engine {
    pub(super) sts: Arc<dyn AssumeRole>,
    pub(super) clock: Clock,
    pub(super) terms: Terms,
    pub(super) budget: Budget,
    pub(super) outage: Outage,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) dice: Dice,
}

/// A slot. Dropping the last handle ends its actor.
pub(super) struct Slot {
    inner: Arc<Inner>,
    /// Of the grant's role.
    hits: IntCounter,
    actor: AbortHandle,
}

/// What the handle and the actor share.
struct Inner {
    grant: Arc<Grant>,
    engine: Arc<Engine>,
    /// Written by the actor alone, a few times an hour. A reader's lock lasts for one clone of the body.
    state: watch::Sender<State>,
    /// How the last call failed; written just before the state that follows from it.
    failure: ArcSwapOption<Failure>,
    /// A pod asks and has got nothing.
    demand: Notify,
    /// What was refused may be granted now.
    change: Notify,
    /// Requests that wait.
    waiters: AtomicUsize,
    /// The next call is wanted and has not begun.
    queued: AtomicBool,
    /// The next call is wanted and has not ended.
    asking: AtomicBool,
}

/// A call that has ended.
struct Finished {
    outcome: Result<Session, StsError>,
    priority: Priority,
    queued: Duration,
    took: Duration,
}

impl Slot {
    /// Begins to fetch credentials at once.
    pub(super) fn start(grant: Arc<Grant>, engine: Arc<Engine>, runtime: &Handle) -> Self {
        let hits = engine.observer.cache_hits(&grant.role);
        let inner = Arc::new(Inner {
            grant,
            engine,
            state: watch::Sender::new(State::Pending),
            failure: ArcSwapOption::empty(),
            demand: Notify::new(),
            change: Notify::new(),
            waiters: AtomicUsize::new(0),
            queued: AtomicBool::new(true),
            asking: AtomicBool::new(true),
        });
        let actor = runtime.spawn(Arc::clone(&inner).run()).abort_handle();
        Self { inner, hits, actor }
    }

    /// The credentials, if they are valid now; counted as a request answered from memory.
    pub(super) fn hit(&self) -> Option<Arc<Issued>> {
        let now = Now::of(&self.inner.engine.clock);
        let issued = self.inner.state.borrow().valid(now)?;
        self.hits.inc();
        Some(issued)
    }

    /// The credentials as soon as they are there, or the reason why there are none, at `deadline` or when it is final.
    pub(super) async fn obtain(&self, deadline: Instant) -> Result<Arc<Issued>, Reason> {
        let inner = &*self.inner;
        let _waiting = Waiting::new(&inner.waiters);
        let mut state = inner.state.subscribe();
        let mut has_waited = false;
        loop {
            let now = Now::of(&inner.engine.clock);
            let answer = state.borrow_and_update().answer(now);
            let reason = match answer {
                Answer::Credentials(issued) => return Ok(issued),
                Answer::No(reason) => {
                    if !has_waited {
                        inner.engine.observer.refused_from_memory();
                    }
                    return Err(reason);
                }
                Answer::Wait(reason) => reason,
            };
            has_waited = true;
            inner.demand.notify_one();
            let Ok(Ok(())) = tokio::time::timeout_at(deadline, state.changed()).await else {
                let queued = inner.queued.load(Ordering::Relaxed);
                inner.engine.observer.request_expired(queued);
                return Err(reason);
            };
        }
    }

    /// Asks STS again where it refused: the pod, its annotations or its namespace have changed.
    pub(super) fn reconsider(&self) {
        if matches!(*self.inner.state.borrow(), State::Refused { .. }) {
            self.inner.change.notify_one();
        }
    }

    /// Whether the first call has come back.
    pub(super) fn is_tried(&self) -> bool {
        !matches!(*self.inner.state.borrow(), State::Pending)
    }

    pub(super) fn status(&self) -> SlotStatus {
        let inner = &*self.inner;
        let state = inner.state.borrow();
        let now = Now::of(&inner.engine.clock);
        SlotStatus {
            grant: Arc::clone(&inner.grant),
            state: state.name(),
            obtained_at: state.obtained_at(),
            expires_at: state.expires_at(),
            valid: state.valid(now).is_some(),
            asking: inner.asking.load(Ordering::Relaxed),
            queued: inner.queued.load(Ordering::Relaxed),
            access_key_id: state.held().map(|held| held.access_key_id().to_owned()),
            failure: state.failure(),
            next: state
                .due(now)
                .filter(|_| !inner.asking.load(Ordering::Relaxed))
                .map(|due| match due {
                    Due::At(moment) => Next::At(moment.wall()),
                    Due::OnDemandAfter(moment) => Next::OnDemandAfter(moment.wall()),
                }),
            last_error: inner.failure.load_full(),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.actor.abort();
    }
}

/// Counts one request for as long as it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiters: &'a AtomicUsize) -> Self {
        waiters.fetch_add(1, Ordering::Relaxed);
        Self(waiters)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inner {
    async fn run(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let finished = self.ask().await;
            self.settle(finished, &mut failures);
            self.sleep_until_due().await;
        }
    }

    /// Publishes what follows from STS's answer. The session itself does not outlive this: its body is what is kept.
    fn settle(&self, finished: Finished, failures: &mut u32) {
        let Finished {
            outcome,
            priority,
            queued,
            took,
        } = finished;
        let now = Now::of(&self.engine.clock);
        let last = self.state.borrow().clone();
        let accepted = outcome.and_then(|session| Ok((last.accept(&session, now)?, session)));
        *failures = match accepted {
            Ok(_) => 0,
            Err(_) => failures.saturating_add(1),
        };
        self.engine.observer.call_finished(&Call {
            grant: &self.grant,
            priority,
            code: accepted.as_ref().err().map_or(SUCCESS, |error| error.code),
            error: accepted.as_ref().err().map(|error| error.kind),
            queued,
            took,
            left: last.expires_at().map(|end| now.until(end)),
        });
        self.log(accepted.as_ref().map(|(_, session)| session), &last, took);
        match accepted.as_ref().map_err(|error| error.kind) {
            Ok(_) | Err(Kind::Final) => self.engine.outage.answered(),
            Err(Kind::Transient) => self
                .engine
                .outage
                .failed(Instant::now(), self.engine.dice.throw()),
            // It answers, but not for more.
            Err(Kind::Throttled) => {}
        }
        if let Ok((held, _)) = &accepted {
            self.engine
                .observer
                .session_obtained(&self.grant, &held.issued);
        }
        let held = accepted.as_ref().map(|(held, _)| held.clone());
        let next = last.after(
            held,
            *failures,
            self.engine.terms,
            now,
            self.engine.dice.throw(),
        );
        let failure = accepted.err().map(|error| Failure {
            at: self.engine.clock.now(),
            error,
            in_a_row: *failures,
        });
        self.failure.store(failure.map(Arc::new));
        self.state.send_replace(next);
        self.asking.store(false, Ordering::Relaxed);
    }

    /// One call, when the budget allows it. A request that comes to wait for it meanwhile moves it up.
    async fn ask(&self) -> Finished {
        self.asking.store(true, Ordering::Relaxed);
        self.queued.store(true, Ordering::Relaxed);
        let joined = Instant::now();
        let mut priority = self.priority();
        let mut place = self.engine.budget.join(priority);
        let pass = loop {
            tokio::select! {
                pass = place.turn() => break pass,
                () = self.demand.notified() => {
                    priority = Priority::Request;
                    place.raise(priority);
                }
            }
        };
        self.queued.store(false, Ordering::Relaxed);
        // This call sees every change so far; none of them is worth another one.
        let _ = self.change.notified().now_or_never();
        let start = Instant::now();
        let outcome = self.engine.sts.assume(&self.grant).await;
        drop(pass);
        Finished {
            outcome,
            priority,
            queued: start - joined,
            took: start.elapsed(),
        }
    }

    fn priority(&self) -> Priority {
        if self.waiters.load(Ordering::Relaxed) > 0 {
            return Priority::Request;
        }
        let now = Now::of(&self.engine.clock);
        if self.state.borrow().is_good_for_a_while(now) {
            Priority::Refresh
        } else {
            Priority::NewPod
        }
    }

    /// Returns when the next call is due, or when something has brought it forward.
    async fn sleep_until_due(&self) {
        let earliest = Instant::now() + schedule::MINIMUM;
        let mut ended = self.engine.outage.ended();
        loop {
            let now = Now::of(&self.engine.clock);
            let due = self.state.borrow().due(now);
            let recheck_at = Instant::now() + RECHECK;
            let wake_at = match due {
                None => return,
                // Not at once even then: the wall clock may just have jumped over the wait.
                Some(Due::At(moment)) if moment.has_come(now) => {
                    return tokio::time::sleep_until(earliest).await;
                }
                Some(Due::OnDemandAfter(moment)) if moment.has_come(now) => recheck_at,
                Some(Due::At(moment) | Due::OnDemandAfter(moment)) => {
                    moment.monotonic().min(recheck_at)
                }
            };
            let prompt = tokio::select! {
                () = tokio::time::sleep_until(wake_at) => continue,
                () = self.demand.notified() => Prompt::Demand,
                _ = ended.changed() => Prompt::Return,
                () = self.change.notified() => Prompt::Change,
            };
            let now = Now::of(&self.engine.clock);
            let reaction = self.state.borrow().react(prompt, now);
            let go = match reaction {
                Reaction::None => false,
                Reaction::Ask => true,
                Reaction::Probe => self
                    .engine
                    .outage
                    .may_probe(Instant::now(), self.engine.dice.throw()),
            };
            if go {
                let apart = match prompt {
                    Prompt::Return => schedule::return_after(self.engine.dice.throw()),
                    Prompt::Demand | Prompt::Change => Duration::ZERO,
                };
                return tokio::time::sleep_until(earliest.max(Instant::now() + apart)).await;
            }
        }
    }

    fn log(&self, outcome: Result<&Session, &StsError>, last: &State, took: Duration) {
        let role = &self.grant.role;
        let session_name = self.grant.session_name.as_str();
        match outcome {
            Ok(session) => tracing::info!(
                role = %role,
                session_name,
                access_key_id = session.access_key_id,
                expires_at = %session.expires_at,
                took_ms = took.as_millis(),
                "obtained credentials",
            ),
            Err(error) => {
                let valid_until = last.expires_at().map(tracing::field::display);
                tracing::warn!(
                    role = %role,
                    session_name,
                    code = error.code,
                    kind = ?error.kind,
                    error = error.message,
                    likely_cause = error.cause,
                    valid_until,
                    took_ms = took.as_millis(),
                    "could not obtain credentials",
                );
            }
        }
    }
}
