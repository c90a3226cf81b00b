//! The ways to bring pods' requests to the agent, behind one trait: who uses it need not know which one it is.
//!
//! A back end writes, reads and removes its own rules and touches nobody else's. All calls block for a few system calls
//! (or for a binary of the node) and work in the network namespace of the calling thread.

use std::fmt;
use std::os::fd::BorrowedFd;

use thiserror::Error;

use crate::iptables::{self, Iptables};
use crate::nftables::{self, Nftables};
use crate::unwritten::{Cilium, Unmanaged};
use crate::{Rules, Status};

/// Which way to intercept: the value of `--intercept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A table of podiam's own, over netlink.
    Nftables,
    /// Chains of podiam's own, through the programs of iptables.
    Iptables,
    /// A `CiliumLocalRedirectPolicy` that an administrator applies.
    Cilium,
    /// An administrator's own rules.
    None,
}

impl Mode {
    /// All of them, the recommended one first.
    pub const ALL: [Self; 4] = [Self::Nftables, Self::Iptables, Self::Cilium, Self::None];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::Cilium => "cilium",
            Self::None => "none",
        }
    }

    /// Whether podiam writes rules into the kernel. Where it does not, nothing here can tell whether pods are
    /// intercepted: only asking as a pod can.
    pub fn writes_rules(self) -> bool {
        matches!(self, Self::Nftables | Self::Iptables)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The back end of `mode`. Opening does nothing yet.
pub fn open(mode: Mode) -> Box<dyn Backend> {
    match mode {
        Mode::Nftables => Box::new(Nftables::default()),
        Mode::Iptables => Box::new(Iptables::new()),
        Mode::Cilium => Box::new(Cilium::new()),
        Mode::None => Box::new(Unmanaged),
    }
}

/// One way to intercept.
pub trait Backend: Send {
    /// As `--intercept` names it.
    fn name(&self) -> &'static str;

    /// Brings the kernel's rules to `rules`, at once for each packet, or leaves them as they are.
    fn install(&mut self, rules: &Rules) -> Result<Outcome, Error>;

    /// Refuses pods the real metadata service, and intercepts nothing: for the time before an agent has run. Leaves the
    /// rules of an agent as they are.
    fn guard(&mut self) -> Result<Outcome, Error>;

    /// What the kernel has; `None` where this back end has written nothing.
    fn status(&mut self) -> Result<Option<Status>, Error>;

    /// What else an administrator should know who looks at this back end, in one line.
    fn note(&self) -> Option<String> {
        None
    }

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
    /// From [`Iptables`].
    #[error(transparent)]
    Iptables(#[from] iptables::Error),
    /// The guard is a rule, and this back end writes none.
    #[error(
        "--intercept={mode} writes no rules, so there is nothing to guard with: use --intercept=nftables or iptables"
    )]
    WritesNothing {
        /// The back end's name.
        mode: Mode,
    },
}

/// What [`Backend::install`] or [`Backend::guard`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There were no rules; now there are.
    Created,
    /// Rules that differed were replaced; nothing got through meanwhile.
    Replaced,
    /// Only interfaces or addresses differed and were changed; the rules' counters go on.
    Adjusted,
    /// The rules were already as they should be, and are now closed to every other process.
    Adopted,
    /// The rules were already as they should be; their counters go on.
    Unchanged,
    /// This back end writes no rules.
    Unwritten,
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
