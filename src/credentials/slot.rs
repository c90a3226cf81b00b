//! One slot: one grant, one actor, one state. The actor asks STS, publishes the state, and sleeps until it is due; it
//! belongs to no request, so that nobody who hangs up takes a call away from those who wait.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::moment::Now;
use super::schedule::dice;
use super::state::{Answer, Due, State, Terms};
use super::{Observer, SlotStatus};
use crate::authorize::Grant;
use crate::clock::Clock;
use crate::reason::Reason;
use crate::sts::{AssumeRole, SUCCESS, Session, StsError};

/// The longest sleep: a wall clock that jumped ahead (it was set, the machine slept) is noticed after it.
const RECHECK: Duration = Duration::from_mins(1);

/// What all slots share.
pub(super) struct Engine {
    pub(super) sts: Arc<dyn AssumeRole>,
    pub(super) clock: Clock,
    pub(super) terms: Terms,
    /// Calls to STS at once.
    pub(super) permits: Semaphore,
    pub(super) observer: Arc<dyn Observer>,
}

/// A slot. Dropping the last handle ends its actor.
pub(super) struct Slot {
    inner: Arc<Inner>,
    actor: AbortHandle,
}

/// What the handle and the actor share.
struct Inner {
    grant: Arc<Grant>,
    engine: Arc<Engine>,
    /// Written by the actor alone, a few times an hour. A reader's lock lasts for one clone of the body.
    state: watch::Sender<State>,
    /// A pod asks and has got nothing.
    demand: Notify,
}

impl Slot {
    /// Begins to fetch credentials at once.
    pub(super) fn start(grant: Arc<Grant>, engine: Arc<Engine>, runtime: &Handle) -> Self {
        let inner = Arc::new(Inner {
            grant,
            engine,
            state: watch::Sender::new(State::Pending),
            demand: Notify::new(),
        });
        let actor = runtime.spawn(Arc::clone(&inner).run()).abort_handle();
        Self { inner, actor }
    }

    /// The credentials, if they are valid now.
    pub(super) fn body(&self) -> Option<Bytes> {
        let now = Now::of(&self.inner.engine.clock);
        self.inner.state.borrow().body(now)
    }

    /// The credentials as soon as they are there, or the reason why there are none, at `deadline` or when it is final.
    pub(super) async fn obtain(&self, deadline: Instant) -> Result<Bytes, Reason> {
        let mut state = self.inner.state.subscribe();
        loop {
            let now = Now::of(&self.inner.engine.clock);
            let answer = state.borrow_and_update().answer(now);
            let reason = match answer {
                Answer::Body(body) => return Ok(body),
                Answer::No(reason) => return Err(reason),
                Answer::Wait(reason) => reason,
            };
            self.inner.demand.notify_one();
            let Ok(Ok(())) = tokio::time::timeout_at(deadline, state.changed()).await else {
                return Err(reason);
            };
        }
    }

    /// Whether the first call has come back.
    pub(super) fn is_tried(&self) -> bool {
        !matches!(*self.inner.state.borrow(), State::Pending)
    }

    pub(super) fn status(&self) -> SlotStatus {
        let state = self.inner.state.borrow();
        SlotStatus {
            grant: Arc::clone(&self.inner.grant),
            state: state.name(),
            expires_at: state.expires_at(),
            valid: state.body(Now::of(&self.inner.engine.clock)).is_some(),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.actor.abort();
    }
}

impl Inner {
    async fn run(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let (outcome, took) = self.ask().await;
            self.settle(outcome, took, &mut failures);
            self.sleep_until_due().await;
        }
    }

    /// Publishes what follows from STS's answer. The session itself does not outlive this: its body is what is kept.
    fn settle(&self, outcome: Result<Session, StsError>, took: Duration, failures: &mut u32) {
        let now = Now::of(&self.engine.clock);
        let last = self.state.borrow().clone();
        let accepted = outcome.and_then(|session| Ok((last.accept(&session, now)?, session)));
        *failures = match accepted {
            Ok(_) => 0,
            Err(_) => failures.saturating_add(1),
        };
        self.report(accepted.as_ref().map(|(_, session)| session), &last, took);
        let held = accepted.as_ref().map(|(held, _)| held.clone());
        let next = last.after(held, *failures, self.engine.terms, now, dice());
        self.state.send_replace(next);
    }

    /// One call, when the budget allows it; the time is the call's alone.
    async fn ask(&self) -> (Result<Session, StsError>, Duration) {
        // The semaphore is never closed, so that the permit is there whenever this returns.
        let _permit = self.engine.permits.acquire().await;
        let start = Instant::now();
        let outcome = self.engine.sts.assume(&self.grant).await;
        (outcome, start.elapsed())
    }

    async fn sleep_until_due(&self) {
        loop {
            let now = Now::of(&self.engine.clock);
            let due = self.state.borrow().due(now);
            let wake_at = match due {
                None => return,
                Some(Due::At(moment)) if moment.has_come(now) => return,
                Some(Due::OnDemandAfter(moment)) if moment.has_come(now) => {
                    return self.demand.notified().await;
                }
                Some(Due::At(moment) | Due::OnDemandAfter(moment)) => moment.monotonic(),
            };
            tokio::select! {
                () = tokio::time::sleep_until(wake_at.min(Instant::now() + RECHECK)) => {}
                () = self.demand.notified() => {}
            }
        }
    }

    fn report(&self, outcome: Result<&Session, &StsError>, last: &State, took: Duration) {
        let role = &self.grant.role;
        let code = outcome.map_or_else(|error| error.code, |_| SUCCESS);
        self.engine.observer.assume_finished(role, code, took);
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
