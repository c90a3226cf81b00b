//! The states of a slot, and the one step between them: what STS answered, at which time, becomes the next state.
//! Pure: the actor in `slot` brings the answers and the time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::body::Issued;
use super::moment::{Moment, Now};
use super::schedule;
use crate::reason::Reason;
use crate::sts::{Kind, Session, StsError};

/// What a slot has to give, and when it asks STS again.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// The first call is under way.
    Pending,
    /// Credentials, and all is well.
    Ready {
        held: Held,
        /// When the next session is fetched.
        refresh_at: Moment,
    },
    /// STS said no. Remembered until then; afterwards it is asked again when a pod asks, or while `held` is valid.
    Refused { until: Moment, held: Option<Held> },
    /// STS could not be asked, or limits the calls.
    Unavailable {
        reason: Reason,
        retry_at: Moment,
        held: Option<Held>,
    },
}

/// The last session that was obtained. It is served until it expires, whatever happens to its refresh.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) issued: Arc<Issued>,
    expires: Moment,
}

/// What a state means for a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Credentials.
    Credentials(Arc<Issued>),
    /// No, and waiting does not help.
    No(Reason),
    /// Not yet; the reason if nothing better comes in time.
    Wait(Reason),
}

/// When the actor asks STS again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// At that moment.
    At(Moment),
    /// When a pod asks after that moment.
    OnDemandAfter(Moment),
}

/// What may bring the next call forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prompt {
    /// A pod asks and has got nothing.
    Demand,
    /// STS answers again after an outage.
    Return,
    /// The pod, its annotations or its namespace have changed.
    Change,
}

/// What a prompt means for the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// It comes when it comes.
    None,
    /// It comes now.
    Ask,
    /// It comes now, if the node as a whole may try.
    Probe,
}

/// How long things last, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Age at which a session is refreshed, give or take a tenth. At least 10 minutes, or half of the life, are left.
    pub refresh_age: Duration,
    /// How long a final refusal is remembered. Zero: 5-30 s.
    pub error_ttl: Duration,
}

impl Held {
    /// Whose secrets it holds, as `CloudTrail` shows it.
    pub(super) fn access_key_id(&self) -> &str {
        &self.issued.access_key_id
    }
}

impl State {
    /// All that [`State::name`] can say.
    pub(super) const NAMES: [&'static str; 4] = ["pending", "ready", "refused", "unavailable"];

    /// For people, metrics and `/debug`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready { .. } => "ready",
            Self::Refused { .. } => "refused",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    pub(super) fn held(&self) -> Option<&Held> {
        match self {
            Self::Pending => None,
            Self::Ready { held, .. } => Some(held),
            Self::Refused { held, .. } | Self::Unavailable { held, .. } => held.as_ref(),
        }
    }

    /// The credentials, if they are valid now.
    pub(super) fn valid(&self, now: Now) -> Option<Arc<Issued>> {
        let held = self.held()?;
        (!held.expires.has_come(now)).then(|| Arc::clone(&held.issued))
    }

    /// Whether what is held outlives any wait for its successor.
    pub(super) fn is_good_for_a_while(&self, now: Now) -> bool {
        self.held().is_some_and(|held| {
            !held.expires.has_come(now) && now.until(held.expires.wall()) > schedule::URGENT
        })
    }

    /// When the credentials expire; also after they have.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        Some(self.held()?.expires.wall())
    }

    /// Why the last call brought nothing.
    pub(super) fn failure(&self) -> Option<Reason> {
        match self {
            Self::Pending | Self::Ready { .. } => None,
            Self::Refused { .. } => Some(Reason::StsRefused),
            Self::Unavailable { reason, .. } => Some(reason.clone()),
        }
    }

    /// When the session that is held was asked for.
    pub(super) fn obtained_at(&self) -> Option<Timestamp> {
        Some(self.held()?.issued.obtained_at)
    }

    /// What to tell a request now.
    pub(super) fn answer(&self, now: Now) -> Answer {
        if let Some(issued) = self.valid(now) {
            return Answer::Credentials(issued);
        }
        match self {
            Self::Refused { until, .. } if !until.has_come(now) => Answer::No(Reason::StsRefused),
            Self::Pending | Self::Ready { .. } | Self::Refused { .. } => {
                Answer::Wait(Reason::CredentialsPending)
            }
            Self::Unavailable { reason, .. } => Answer::Wait(reason.clone()),
        }
    }

    /// When STS is to be asked next; `None` while it is being asked for the first time.
    pub(super) fn due(&self, now: Now) -> Option<Due> {
        match self {
            Self::Pending => None,
            Self::Ready { refresh_at, .. } => Some(Due::At(*refresh_at)),
            Self::Unavailable { retry_at, .. } => Some(Due::At(*retry_at)),
            Self::Refused { until, held } => {
                let valid = held
                    .as_ref()
                    .is_some_and(|held| !held.expires.has_come(now));
                Some(if valid {
                    Due::At(*until)
                } else {
                    Due::OnDemandAfter(*until)
                })
            }
        }
    }

    /// What to do about a prompt.
    pub(super) fn react(&self, prompt: Prompt, now: Now) -> Reaction {
        match (self, prompt) {
            (Self::Refused { until, .. }, Prompt::Demand) if until.has_come(now) => Reaction::Ask,
            (Self::Refused { .. }, Prompt::Change) => Reaction::Ask,
            (
                Self::Unavailable {
                    reason: Reason::StsUnavailable,
                    ..
                },
                Prompt::Demand | Prompt::Return,
            ) if !self.is_good_for_a_while(now) => match prompt {
                Prompt::Return => Reaction::Ask,
                _ => Reaction::Probe,
            },
            _ => Reaction::None,
        }
    }

    /// What is held after STS answered, if its answer can be used: it must be valid now, and must not expire before the
    /// last one did, since a pod may have been told that time.
    pub(super) fn accept(&self, session: &Session, now: Now) -> Result<Held, StsError> {
        let expires = now.when(session.expires_at);
        if expires.has_come(now) {
            return Err(unusable(format!(
                "the session expired at {}, before it arrived",
                session.expires_at
            )));
        }
        if self
            .expires_at()
            .is_some_and(|last| session.expires_at < last)
        {
            return Err(unusable(format!(
                "the session expires at {}, before the last one",
                session.expires_at
            )));
        }
        let issued = Issued::new(session).map_err(|error| unusable(error.to_string()))?;
        Ok(Held {
            issued: Arc::new(issued),
            expires,
        })
    }

    /// The state after STS answered and the answer was accepted or not. `failures` counts those in a row, with this one;
    /// `dice` are from 0 up to 1.
    pub(super) fn after(
        &self,
        outcome: Result<Held, &StsError>,
        failures: u32,
        terms: Terms,
        now: Now,
        dice: f64,
    ) -> Self {
        match outcome {
            Ok(held) => {
                let life = now.until(held.expires.wall());
                let age = schedule::refresh_after(life, terms.refresh_age, dice);
                Self::Ready {
                    held,
                    refresh_at: now.after(age),
                }
            }
            Err(error) => {
                let held = self.held().cloned();
                let retry_at = now.after(schedule::retry_after(failures, dice));
                match error.kind {
                    Kind::Final => Self::Refused {
                        until: now.after(self.refused_for(terms, now, dice)),
                        held,
                    },
                    Kind::Transient => Self::Unavailable {
                        reason: Reason::StsUnavailable,
                        retry_at,
                        held,
                    },
                    Kind::Throttled => Self::Unavailable {
                        reason: Reason::StsThrottled,
                        retry_at,
                        held,
                    },
                }
            }
        }
    }

    /// A refused refresh is tried again later than a refused pod, but no later than when what is held ends.
    fn refused_for(&self, terms: Terms, now: Now, dice: f64) -> Duration {
        let for_a_pod = schedule::refused_for(terms.error_ttl, dice);
        let valid = self.held().filter(|held| !held.expires.has_come(now));
        valid.map_or(for_a_pod, |held| {
            let left = now.until(held.expires.wall());
            schedule::refused_refresh_after(dice).min(left.max(for_a_pod))
        })
    }
}

fn unusable(message: String) -> StsError {
    StsError::transient(
        "UnusableSession",
        message,
        "the node's clock is ahead of AWS's",
    )
}
