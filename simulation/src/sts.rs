//! STS, as far as it limits: a token bucket for the whole account, a few hundredths of a second for an answer, sessions of
//! an hour. It keeps how many calls came in each second.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use podiam::authorize::Grant;
use podiam::clock::Clock;
use podiam::credentials::Dice;
use podiam::secret::Secret;
use podiam::sts::{AssumeRole, Kind, Session, StsError};
use tokio::time::Instant;

/// The time for an answer, at the least and at the most.
const LATENCY: [Duration; 2] = [Duration::from_millis(30), Duration::from_millis(80)];

/// The account's STS. Clones are one.
#[derive(Clone)]
pub struct Sts {
    clock: Clock,
    dice: Dice,
    quota: f64,
    account: Arc<Mutex<Account>>,
}

/// The calls of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Calls that got a session.
    pub served: u32,
    /// Calls that were throttled.
    pub throttled: u32,
}

struct Account {
    tokens: f64,
    filled_at: Instant,
    started: Instant,
    seconds: Vec<Second>,
}

impl Sts {
    /// An STS that serves `quota` calls a second, and as many at once after a pause.
    pub fn new(quota: f64, clock: Clock, dice: Dice) -> Self {
        let now = Instant::now();
        Self {
            clock,
            dice,
            quota,
            account: Arc::new(Mutex::new(Account {
                tokens: quota,
                filled_at: now,
                started: now,
                seconds: Vec::new(),
            })),
        }
    }

    /// The calls of each second since the beginning.
    pub fn seconds(&self) -> Vec<Second> {
        self.account().seconds.clone()
    }

    /// Counts a call, and tells whether it is served.
    fn serve(&self) -> bool {
        let mut account = self.account();
        let now = Instant::now();
        let passed = now - account.filled_at;
        account.filled_at = now;
        account.tokens = (account.tokens + passed.as_secs_f64() * self.quota).min(self.quota);
        let served = account.tokens >= 1.0;
        let second = usize::try_from((now - account.started).as_secs()).unwrap_or(usize::MAX);
        if account.seconds.len() <= second {
            account.seconds.resize(second + 1, Second::default());
        }
        if served {
            account.tokens -= 1.0;
            account.seconds[second].served += 1;
        } else {
            account.seconds[second].throttled += 1;
        }
        served
    }

    /// A panic leaves no count half done.
    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AssumeRole for Sts {
    fn assume<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<Session, StsError>> {
        Box::pin(async move {
            let [least, most] = LATENCY;
            let obtained_at = self.clock.now();
            let rest = most.saturating_sub(least).mul_f64(self.dice.throw());
            tokio::time::sleep(least + rest).await;
            if !self.serve() {
                return Err(StsError {
                    kind: Kind::Throttled,
                    code: "Throttling",
                    message: "Rate exceeded".into(),
                    cause: "the account's quota",
                });
            }
            Ok(Session {
                access_key_id: "ASIASIMULATED".into(),
                secret_access_key: Secret::new("secret"),
                token: Secret::new("token"),
                expires_at: obtained_at + grant.duration,
                obtained_at,
            })
        })
    }
}
