//! The ways to bring pods' requests to the agent, behind one trait: who uses it need not know which one it is.
//!
//! A back end writes, reads and removes its own rules and touches nobody else's. All calls block for a few system calls
//! (or for a binary of the node) and work in the network namespace of the calling thread.

use std::os::fd::BorrowedFd;

use thiserror::Error;

use crate::nftables::{self, Nftables};
use crate::{Rules, Status};

/// One way to intercept.
pub trait Backend: Send {
    /// As `--intercept` names it.
    fn name(&self) -> &'static str;

    /// Brings the kernel's rules to `rules`, in one step, or leaves them as they are.
    fn install(&mut self, rules: &Rules) -> Result<Outcome, Error>;

    /// Refuses pods the real metadata service, and intercepts nothing: for the time before an agent has run. Leaves the
    /// rules of an agent as they are.
    fn guard(&mut self) -> Result<Outcome, Error>;

    /// What the kernel has; `None` where this back end has written nothing.
    fn status(&mut self) -> Result<Option<Status>, Error>;

    /// Removes every rule of this back end; false where there was none. After that, pods reach the real metadata service
    /// and with it the node's role.
    fn remove(&mut self) -> Result<bool, Error>;

    /// Becomes readable when somebody may have changed the rules; [`Backend::settle`] makes it wait for the next change.
    /// `None` where the kernel tells nothing, so that only looking again helps.
    fn changes(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Takes note of the changes told so far; true if one of them may concern the rules.
    fn settle(&mut self) -> Result<bool, Error> {
        Ok(true)
    }
}

/// Why a back end did not do as it was told. The rules are as they were before.
#[derive(Debug, Error)]
pub enum Error {
    /// From [`Nftables`].
    #[error(transparent)]
    Nftables(#[from] nftables::Error),
}

/// What [`Backend::install`] or [`Backend::guard`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There were no rules; now there are.
    Created,
    /// Rules that differed were replaced; no packet met a state between.
    Replaced,
    /// Only interfaces or addresses differed and were changed; the rules' counters go on.
    Adjusted,
    /// The rules were already as they should be, and are now closed to every other process.
    Adopted,
    /// The rules were already as they should be; their counters go on.
    Unchanged,
}

impl Outcome {
    /// Whether what the kernel does with a packet has changed.
    pub fn has_changed_rules(self) -> bool {
        matches!(self, Self::Created | Self::Replaced | Self::Adjusted)
    }
}

impl Backend for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn install(&mut self, rules: &Rules) -> Result<Outcome, Error> {
        Ok(Self::install(self, rules)?)
    }

    fn guard(&mut self) -> Result<Outcome, Error> {
        Ok(Self::guard(self)?)
    }

    fn status(&mut self) -> Result<Option<Status>, Error> {
        Ok(Self::status(self)?)
    }

    fn remove(&mut self) -> Result<bool, Error> {
        Ok(Self::remove(self)?)
    }

    fn changes(&self) -> Option<BorrowedFd<'_>> {
        Self::changes(self)
    }

    fn settle(&mut self) -> Result<bool, Error> {
        Ok(Self::settle(self)?)
    }
}
