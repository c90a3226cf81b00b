//! How much of the agent one address may use: connections, requests a second, requests in flight. The server asks for a
//! [`Seat`] when it accepts, and for a [`Turn`] with every request; both give back what they took when they are dropped.
//!
//! Half of all connections are kept for the first four of each address. Of the other half an address may have only as
//! many as it leaves to others: one alone comes to half of it, two to a third each. So a newcomer finds a place while there
//! are fewer addresses than an eighth of all connections, and nothing is ever taken away from anybody.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;
use crate::reason::Reason;

/// How many connections of each address need not compete for theirs.
const GRANTED: usize = 4;
/// How much of its rate an address may use at once.
const BURST: Duration = Duration::from_secs(1);
/// Between two lines of the log about one address.
const TOLD: Duration = Duration::from_secs(10);
/// How many addresses are remembered after their last connection, so that a new one does not begin with a full burst.
const REMEMBERED: usize = 4096;

/// What everybody has, and the limits.
pub struct Shares {
    limits: Limits,
    start: Instant,
    /// A lock, because the sum must be right whichever thread accepts; it is taken when a connection begins and ends.
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, Arc<Share>>,
}

/// What one address has. Times are nanoseconds since the start.
#[derive(Default)]
struct Share {
    connections: AtomicUsize,
    in_flight: AtomicUsize,
    /// Generic cell rate algorithm: when the requests so far would all have been due.
    due: AtomicU64,
    /// When the log may speak of it again.
    silent_until: AtomicU64,
}

/// A place for one connection.
pub struct Seat {
    shares: Arc<Shares>,
    share: Arc<Share>,
}

/// A request in flight.
pub struct Turn<'a>(&'a Share);

impl Shares {
    /// With nobody in it.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            start: Instant::now(),
            open: Mutex::default(),
        }
    }

    /// A place for a new connection of `address`, or why there is none.
    pub fn seat(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Reason> {
        let now = self.now();
        let mut open = self.open();
        if open.by_address.len() >= REMEMBERED && !open.by_address.contains_key(&address) {
            open.forget(now);
        }
        let share = Arc::clone(open.by_address.entry(address).or_default());
        let has = share.connections.load(Ordering::Relaxed);
        let left = self.limits.connections.saturating_sub(open.total);
        let has_room = if has < GRANTED {
            left > 0
        } else {
            has < left.saturating_sub(self.limits.connections / 2)
        };
        if has >= self.limits.connections_per_pod || !has_room {
            drop(open);
            let reason = Reason::TooManyConnections;
            share.tell(address, &reason, now);
            return Err(reason);
        }
        // It counts, but it is its first request that is turned away: that can be made to wait, which slows down a client
        // that connects again and again.
        let _ = self.take(&share, now);
        open.total += 1;
        share.connections.fetch_add(1, Ordering::Relaxed);
        drop(open);
        let shares = Arc::clone(self);
        Ok(Seat { shares, share })
    }

    /// One of the requests that an address may send a second.
    fn take(&self, share: &Share, now: u64) -> Result<(), Reason> {
        let Some(rate) = self.limits.requests_per_pod else {
            return Ok(());
        };
        let (each, burst) = (
            nanoseconds(BURST) / u64::from(rate.get()),
            nanoseconds(BURST),
        );
        let update = |due: u64| {
            let due = due.max(now) + each;
            (due <= now + burst).then_some(due)
        };
        let taken = share
            .due
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        taken.map(drop).map_err(|_| Reason::TooManyRequests)
    }

    fn now(&self) -> u64 {
        nanoseconds(self.start.elapsed())
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Says now and then that an address is refused: an attack must not fill the log.
    fn tell(&self, address: IpAddr, reason: &Reason, now: u64) {
        let until = self.silent_until.load(Ordering::Relaxed);
        if now >= until {
            let next = now + nanoseconds(TOLD);
            let store = self.silent_until.compare_exchange(
                until,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if store.is_ok() {
                let connections = self.connections.load(Ordering::Relaxed);
                tracing::warn!(%address, connections, reason = reason.code(), "refused: {reason}");
            }
        }
    }
}

impl Open {
    /// Addresses without a connection: first those that have nothing to remember, else all.
    fn forget(&mut self, now: u64) {
        let is_open = |share: &Share| share.connections.load(Ordering::Relaxed) > 0;
        self.by_address
            .retain(|_, share| is_open(share) || share.due.load(Ordering::Relaxed) > now);
        if self.by_address.len() >= REMEMBERED {
            self.by_address.retain(|_, share| is_open(share));
        }
    }
}

impl Seat {
    /// The right to one request, or why not.
    pub fn turn(&self, address: IpAddr) -> Result<Turn<'_>, Reason> {
        let Self { shares, share } = self;
        let now = shares.now();
        let before = share.in_flight.fetch_add(1, Ordering::Relaxed);
        // Whatever comes of it, dropping it gives the place back.
        let turn = Turn(share);
        let verdict = if before < shares.limits.in_flight_per_pod {
            shares.take(share, now)
        } else {
            Err(Reason::TooManyInFlight)
        };
        match verdict {
            Ok(()) => Ok(turn),
            Err(reason) => {
                share.tell(address, &reason, now);
                Err(reason)
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.shares.open();
        open.total -= 1;
        self.share.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn shares(connections: usize, per_pod: usize, rate: u32, in_flight: usize) -> Arc<Shares> {
        Arc::new(Shares::new(Limits {
            connections,
            connections_per_pod: per_pod,
            requests_per_pod: NonZeroU32::new(rate),
            in_flight_per_pod: in_flight,
        }))
    }

    fn pod(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(number).unwrap()).into()
    }

    /// As many seats as it can have.
    fn all(shares: &Arc<Shares>, address: IpAddr) -> Vec<Seat> {
        std::iter::from_fn(|| shares.seat(address).ok()).collect()
    }

    #[test]
    fn one_address_comes_to_its_own_limit_or_to_a_quarter_of_all() {
        assert_eq!(all(&shares(100, 10, 0, 1), pod(1)).len(), 10);
        assert_eq!(all(&shares(100, 1000, 0, 1), pod(1)).len(), 25);
    }

    #[test]
    fn a_seat_that_is_left_can_be_taken_again() {
        let shares = shares(16, 3, 0, 1);
        for _ in 0..100 {
            assert_eq!(all(&shares, pod(1)).len(), 3);
        }
        assert_eq!(shares.open().total, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_after_a_burst_of_a_second_and_new_connections_count() {
        let shares = shares(100, 100, 10, 100);
        let seat = shares.seat(pod(1)).unwrap();
        let burst = (0..100).filter(|_| seat.turn(pod(1)).is_ok()).count();
        assert_eq!(burst, 9, "the connection was the tenth");
        drop(seat);
        let seat = shares.seat(pod(1)).unwrap();
        let refused = seat.turn(pod(1)).map(drop);
        assert_eq!(refused, Err(Reason::TooManyRequests), "it is remembered");
        let other = shares.seat(pod(2)).unwrap();
        assert!(other.turn(pod(2)).is_ok(), "another is not concerned");
        let mut later = 0;
        for _ in 0..30 {
            tokio::time::advance(Duration::from_millis(50)).await;
            later += usize::from(seat.turn(pod(1)).is_ok());
        }
        assert_eq!(later, 15, "ten a second");
    }

    #[test]
    fn requests_in_flight_are_limited_for_all_connections_of_an_address_together() {
        let shares = shares(100, 100, 0, 2);
        let seats = [shares.seat(pod(1)).unwrap(), shares.seat(pod(1)).unwrap()];
        let first = seats[0].turn(pod(1)).unwrap();
        let second = seats[1].turn(pod(1)).unwrap();
        let third = seats[0].turn(pod(1)).map(drop);
        assert_eq!(third, Err(Reason::TooManyInFlight));
        drop((first, second));
        assert!(seats[0].turn(pod(1)).is_ok());
    }

    #[test]
    fn addresses_that_come_and_go_are_not_remembered_for_ever() {
        let shares = shares(100, 10, 1, 1);
        let kept = shares.seat(pod(0)).unwrap();
        for number in 1..3 * REMEMBERED {
            drop(shares.seat(pod(number)));
        }
        assert!(shares.open().by_address.len() <= REMEMBERED);
        assert!(shares.open().by_address.contains_key(&pod(0)));
        drop(kept);
    }

    proptest! {
        #[test]
        fn whatever_an_eighth_as_many_hogs_as_seats_do_each_newcomer_finds_four(
            connections in 16..200_usize,
            per_pod in 4..300_usize,
            // Whether one takes a seat or leaves one, and which.
            order in proptest::collection::vec((any::<bool>(), 0..1000_usize), 0..900),
        ) {
            let shares = shares(connections, per_pod, 0, 1);
            let hogs = connections / 8 - 1;
            let mut seats = Vec::new();
            for (takes, number) in order {
                if takes && hogs > 0 {
                    seats.extend(shares.seat(pod(number % hogs)));
                } else if !seats.is_empty() {
                    drop(seats.swap_remove(number % seats.len()));
                }
            }
            prop_assert!(seats.len() <= connections);
            let newcomers: Vec<_> = (0..4).map(|_| shares.seat(pod(1000)).is_ok()).collect();
            prop_assert_eq!(newcomers, [true; 4]);
        }
    }
}
