//! An STS for tests: it counts its calls, gives each grant a session of its own, and fails or hangs when told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;

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

/// The fake. Clones share everything.
#[derive(Clone)]
pub(crate) struct FakeSts {
    clock: Clock,
    mode: watch::Sender<Mode>,
    calls: Arc<Mutex<Vec<Grant>>>,
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
        self.calls.lock().unwrap().clone()
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
            calls.push(grant.clone());
            calls.len()
        };
        self.begun.send_replace(number);
        Box::pin(async move {
            let mut mode = self.mode.subscribe();
            let mode = *mode.wait_for(|mode| *mode != Mode::Hang).await.unwrap();
            match mode {
                Mode::Succeed(life) => Ok(Session {
                    access_key_id: format!("ASIA{number}"),
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
