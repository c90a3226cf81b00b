//! The node's budget for STS: a queue with a clock. Whoever wants to call takes a place, waits for its turn, and holds
//! the pass for as long as the call lasts. Dropping either gives it back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::queue::{Limits, Priority, Queue, Ticket, Turn};

/// The queue, shared by all slots. Its lock is held for the time of a look-up; only actors and scrapes take it.
pub(super) struct Budget(Mutex<Queue>);

/// How the queue stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetStatus {
    /// Calls that wait, by [`Priority::ALL`].
    pub waiting: [usize; 3],
    /// Calls under way.
    pub running: usize,
}

/// A place in the queue.
pub(super) struct Place<'a> {
    budget: &'a Budget,
    ticket: Ticket,
    wake: Arc<Notify>,
}

/// The right to one call.
pub(super) struct Pass<'a>(&'a Budget);

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Mutex::new(Queue::new(limits)))
    }

    /// Takes a place.
    pub(super) fn join(&self, priority: Priority) -> Place<'_> {
        let wake = Arc::new(Notify::new());
        let ticket = self.queue().join(priority, Arc::clone(&wake));
        Place {
            budget: self,
            ticket,
            wake,
        }
    }

    pub(super) fn status(&self) -> BudgetStatus {
        let queue = self.queue();
        BudgetStatus {
            waiting: Priority::ALL.map(|priority| queue.waiting(priority)),
            running: queue.running(),
        }
    }

    /// Changes the queue, and wakes whoever is first in it now.
    fn change<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.queue();
        let answer = change(&mut queue);
        if let Some(wake) = queue.first() {
            wake.notify_one();
        }
        answer
    }

    /// No step of the queue is left half done by a panic.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Place<'a> {
    /// Returns when it is this place's turn.
    pub(super) async fn turn(&self) -> Pass<'a> {
        loop {
            let now = Instant::now();
            let turn = self.budget.queue().turn(self.ticket, now);
            match turn {
                Turn::Now => {
                    let pass = Pass(self.budget);
                    // There may be room for the next one too.
                    self.budget.change(|_| ());
                    return pass;
                }
                Turn::At(moment) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(moment) => {}
                        () = self.wake.notified() => {}
                    }
                }
                Turn::Later => self.wake.notified().await,
            }
        }
    }

    /// Somebody needs it sooner now.
    pub(super) fn raise(&mut self, priority: Priority) {
        let ticket = self.ticket;
        self.ticket = self.budget.change(|queue| queue.raise(ticket, priority));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.budget.change(|queue| queue.leave(self.ticket));
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.change(Queue::finished);
    }
}
