//! Who may call STS next. Pure: tickets, a token bucket and a count of calls under way; `budget` brings the time and
//! wakes the one whose turn it is.
//!
//! A slot holds one ticket at a time, so first come, first served within a priority is a round robin between pods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Why a call is wanted; the more urgent stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A pod's request waits for it.
    Request,
    /// Nothing valid is held, or hardly any of its life is left, and nobody has asked yet.
    NewPod,
    /// What is held is good for a while.
    Refresh,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Request, Self::NewPod, Self::Refresh];

    /// For metrics' labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::NewPod => "new-pod",
            Self::Refresh => "refresh",
        }
    }
}

/// How often and how many at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Calls per second in the long run; the calls of one second, and at least one, may come together. Zero: no limit.
    pub rate: f64,
    /// Calls under way at once. Zero: no limit.
    pub concurrency: usize,
}

/// A place in the queue. Ordered by urgency, then by age; the age is kept when a ticket is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    priority: Priority,
    number: u64,
}

/// The answer to one who asks whether it is his turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is; the call counts from now on.
    Now,
    /// It is, but the bucket is empty until then.
    At(Instant),
    /// Others are first, or as many calls as may be are under way.
    Later,
}

/// The queue.
pub(super) struct Queue {
    bucket: Bucket,
    concurrency: usize,
    running: usize,
    waiting: BTreeMap<Ticket, Arc<Notify>>,
    numbers: u64,
}

/// A token bucket, kept as the one moment at which it would be full again.
struct Bucket {
    /// Between two tokens. Zero: no limit.
    interval: Duration,
    /// From empty to full, less one token.
    tolerance: Duration,
    full_at: Option<Instant>,
}

impl Bucket {
    fn new(rate: f64) -> Self {
        if rate <= 0.0 || !rate.is_finite() {
            return Self {
                interval: Duration::ZERO,
                tolerance: Duration::ZERO,
                full_at: None,
            };
        }
        let interval = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX);
        Self {
            interval,
            tolerance: Duration::from_secs(1).saturating_sub(interval),
            full_at: None,
        }
    }

    /// Takes a token, or tells when there will be one.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        if self.interval.is_zero() {
            return Ok(());
        }
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        let short = full_at.saturating_duration_since(now + self.tolerance);
        if !short.is_zero() {
            return Err(now + short);
        }
        self.full_at = Some(full_at + self.interval);
        Ok(())
    }
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            bucket: Bucket::new(limits.rate),
            concurrency: match limits.concurrency {
                0 => usize::MAX,
                limit => limit,
            },
            running: 0,
            waiting: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// A new ticket; `wake` is notified when it may be its turn.
    pub(super) fn join(&mut self, priority: Priority, wake: Arc<Notify>) -> Ticket {
        self.numbers += 1;
        let ticket = Ticket {
            priority,
            number: self.numbers,
        };
        self.waiting.insert(ticket, wake);
        ticket
    }

    /// Makes a ticket more urgent, never less. It goes before all tickets of its new priority that are younger.
    pub(super) fn raise(&mut self, ticket: Ticket, priority: Priority) -> Ticket {
        let raised = Ticket {
            priority: priority.min(ticket.priority),
            ..ticket
        };
        if let Some(wake) = self.waiting.remove(&ticket) {
            self.waiting.insert(raised, wake);
        }
        raised
    }

    /// Takes a ticket back; one whose turn came is gone already.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// Whether it is this ticket's turn. If it is, the ticket is used up.
    pub(super) fn turn(&mut self, ticket: Ticket, now: Instant) -> Turn {
        let is_first = self
            .waiting
            .first_key_value()
            .is_some_and(|(first, _)| *first == ticket);
        if !is_first || self.running >= self.concurrency {
            return Turn::Later;
        }
        if let Err(at) = self.bucket.take(now) {
            return Turn::At(at);
        }
        self.waiting.remove(&ticket);
        self.running += 1;
        Turn::Now
    }

    /// A call has ended.
    pub(super) fn finished(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Whom to wake after anything has changed.
    pub(super) fn first(&self) -> Option<&Arc<Notify>> {
        self.waiting.first_key_value().map(|(_, wake)| wake)
    }

    /// Tickets of this priority.
    pub(super) fn waiting(&self, priority: Priority) -> usize {
        let is_it = |ticket: &&Ticket| ticket.priority == priority;
        self.waiting.keys().filter(is_it).count()
    }

    /// Calls under way.
    pub(super) fn running(&self) -> usize {
        self.running
    }
}

#[cfg(test)]
mod tests;
