//! An STS for tests: it counts its calls, gives each grant a session of its own, and fails or hangs when told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{AssumeRole, Kind, Session, StsError};
use crate::authorize::Grant;
use crate::clock::Clock;
use crate::secret::Secret;

/// What the fake does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A session that lives this long by the fake's clock.
    Succeed(Duration),
    /// An error.
    Fail(Kind),
    /// No answer until the mode is another one.
    Hang,
}

/// One call, as the fake saw it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) grant: Grant,
    pub(crate) begun: Instant,
    /// `None`: it is under way.
    pub(crate) ended: Option<Instant>,
    /// How it was answered; `None`: it is under way, or its caller has gone.
    pub(crate) answer: Option<Mode>,
}

/// The fake. Clones share everything.
#[derive(Clone)]
pub(crate) struct FakeSts {
    clock: Clock,
    mode: watch::Sender<Mode>,
    calls: Arc<Mutex<Vec<Record>>>,
    begun: watch::Sender<usize>,
}

impl FakeSts {
    pub(crate) fn new(clock: Clock, mode: Mode) -> Self {
        Self {
            clock,
            mode: watch::Sender::new(mode),
            calls: Arc::default(),
            begun: watch::Sender::new(0),
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// The grants it was asked for, in order.
    pub(crate) fn calls(&self) -> Vec<Grant> {
        self.records().into_iter().map(|call| call.grant).collect()
    }

    /// The same, with when and how.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.calls.lock().unwrap().clone()
    }

    /// The key ID of the session that the call of this number, from 0, got.
    pub(crate) fn key_id(call: usize) -> String {
        format!("ASIA{}", call + 1)
    }

    pub(crate) fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// Waits until it was called this often.
    pub(crate) async fn called(&self, times: usize) {
        let mut begun = self.begun.subscribe();
        begun.wait_for(|begun| *begun >= times).await.unwrap();
    }

    /// The secret that a session of `grant` holds: all of the grant, so that a mix-up shows.
    pub(crate) fn secret_of(grant: &Grant) -> String {
        format!("{grant:?}")
    }
}

impl AssumeRole for FakeSts {
    fn assume<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<Session, StsError>> {
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(Record {
                grant: grant.clone(),
                begun: Instant::now(),
                ended: None,
                answer: None,
            });
            calls.len()
        };
        let end = End {
            fake: self.clone(),
            call: number - 1,
            answer: None,
        };
        self.begun.send_replace(number);
        Box::pin(async move {
            // All of it: the future would take the one field that it sets.
            let mut end = end;
            let mut mode = self.mode.subscribe();
            let mode = *mode.wait_for(|mode| *mode != Mode::Hang).await.unwrap();
            end.answer = Some(mode);
            match mode {
                Mode::Succeed(life) => Ok(Session {
                    access_key_id: Self::key_id(number - 1),
                    secret_access_key: Secret::new(Self::secret_of(grant)),
                    token: Secret::new("token"),
                    expires_at: self.clock.now() + life,
                    obtained_at: self.clock.now(),
                }),
                Mode::Fail(kind) => Err(StsError {
                    kind,
                    ..StsError::transient("Fake", "told to fail", "a test")
                }),
                Mode::Hang => unreachable!("waited for another mode"),
            }
        })
    }
}

/// Writes down that a call has ended, also one whose caller has gone.
struct End {
    fake: FakeSts,
    call: usize,
    answer: Option<Mode>,
}

impl Drop for End {
    fn drop(&mut self) {
        if let Ok(mut calls) = self.fake.calls.lock() {
            calls[self.call].ended = Some(Instant::now());
            calls[self.call].answer = self.answer;
        }
    }
}
