//! Interception by nftables: the table `inet podiam`, written, read and removed over netlink, in transactions.
//!
//! The agent installs and stays, the command line shows and removes. The table outlives the process: a pod that asks
//! while the agent is away is refused. Nothing here runs a binary or touches another table. All calls block for a few
//! system calls; the first one decides on the network namespace, that of its thread.

mod codec;
mod error;
mod expression;
mod netlink;
mod note;
mod owner;
mod read;
mod rule;
mod ruleset;
mod set;
mod table;
mod write;

use std::{io, os::fd::BorrowedFd};

use netlink_packet_netfilter::nftables::TableFlags;

pub use error::Error;

use self::{
    error::Feature,
    netlink::{Connection, Step},
    ruleset::Ruleset,
    table::Table,
};
use crate::{
    Outcome, Rules, Status,
    conntrack::Older,
    events::{Change, Events, INET},
};

/// The table's name, in the family inet: one table for IPv4 and IPv6.
const TABLE: &str = "podiam";

/// Interception by the table `inet podiam`.
///
/// Where the kernel can (Linux >= 6.9), the table is owned: as long as this value lives, nobody else can change it, and
/// `nft flush ruleset` passes it by. After that it stays as it is, for the next to adopt.
#[derive(Debug)]
pub struct Nftables {
    /// The socket that owns the table.
    connection: Option<Connection>,
    /// Who has written rules wants to know when they change.
    events: Option<Events>,
    /// What a table is written with.
    flags: TableFlags,
    older: Older,
}

impl Default for Nftables {
    fn default() -> Self {
        Self::with(TableFlags::Owner | TableFlags::Persisent)
    }
}

impl Nftables {
    /// As on a kernel that cannot keep a table closed: asks it for a flag that no kernel has, which is what the flags of
    /// [`Nftables::default`] are to an old one. For tests.
    #[doc(hidden)]
    pub fn on_an_old_kernel() -> Self {
        Self::with(TableFlags::Owner | TableFlags::from_bits_retain(1 << 31))
    }

    fn with(flags: TableFlags) -> Self {
        Self {
            connection: None,
            events: None,
            flags,
            older: Older::default(),
        }
    }

    /// Brings the kernel's table to `rules`, so that no packet meets a state between, or leaves it as it is. Ends
    /// connections to the metadata service that are older than that. A table that another process owns is accepted if it
    /// is as it should be.
    pub fn install(&mut self, rules: &Rules) -> Result<Outcome, Error> {
        if let Some(address) = rules.unusable_target() {
            return Err(Error::UnusableTarget(address));
        }
        self.listen()?;
        let outcome = self.bring_about(&Ruleset::build(rules))?;
        let ended = self.older.end(rules, outcome);
        ended.map_err(Error::OlderConnections)?;
        Ok(outcome)
    }

    /// Writes a table that only refuses pods the metadata service, unless there is a table already.
    pub fn guard(&mut self) -> Result<Outcome, Error> {
        if self.read()?.is_some() {
            return Ok(Outcome::Unchanged);
        }
        self.write(&Ruleset::guard())?;
        Ok(Outcome::Created)
    }

    /// What the kernel has; `None` where there is no table.
    pub fn status(&mut self) -> Result<Option<Status>, Error> {
        Ok(self.read()?.as_ref().map(Table::status))
    }

    /// Removes the table and with it every rule; false where there was none. After that, pods reach the real metadata
    /// service and with it the node's role.
    pub fn remove(&mut self) -> Result<bool, Error> {
        let Some(present) = self.read()? else {
            return Ok(false);
        };
        self.must_not_be_owned(&present)?;
        self.connection()?.transact(write::remove())?;
        Ok(true)
    }

    /// Becomes readable when somebody has changed nftables; there once [`Nftables::install`] has been called.
    pub(crate) fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.events.as_ref().map(Events::fd)
    }

    /// Whether one of the changes told so far is about the table.
    pub(crate) fn settle(&mut self) -> Result<bool, Error> {
        let Some(events) = &mut self.events else {
            return Ok(true);
        };
        events.settle().map_err(unheard)
    }

    fn bring_about(&mut self, wanted: &Ruleset) -> Result<Outcome, Error> {
        let Some(present) = self.read()? else {
            self.write(wanted)?;
            return Ok(Outcome::Created);
        };
        let difference = present.difference(wanted);
        if difference.lines.is_empty() {
            return self.take_over(&present, wanted);
        }
        self.must_not_be_owned(&present)?;
        let outcome = match difference.changes {
            Some(changes) => {
                self.connection()?.transact(write::adjust(&changes))?;
                Outcome::Adjusted
            }
            None if present.can_be_rewritten(wanted) => {
                self.rewrite(&present, wanted)?;
                Outcome::Replaced
            }
            None => {
                self.write(wanted)?;
                return Ok(Outcome::Replaced);
            }
        };
        if present.is_orphan() {
            self.close(write::adopt)?;
        }
        Ok(outcome)
    }

    /// Writes other rules into the table. In the moment in which the kernel goes from one state of a table to the next,
    /// a packet that has begun with the rules from before finds the elements from after: so sets hold what both rules
    /// need until the change is over.
    fn rewrite(&mut self, present: &Table, wanted: &Ruleset) -> Result<(), Error> {
        let changes: Vec<_> = present.changes(wanted).collect();
        let connection = self.connection()?;
        // Patterns that overlap cannot be in a set at the same time. A packet may then be refused.
        if connection.transact(write::grow(&changes)).is_err() {
            let mut steps = write::adjust(&changes);
            steps.extend(write::rewrite(present, wanted, &changes));
            return connection.transact(steps);
        }
        connection.transact(write::rewrite(present, wanted, &changes))?;
        connection.transact(write::shrink(&changes))
    }

    /// Closes a table that is as it should be to others, if none of them has it and the kernel can.
    fn take_over(&mut self, present: &Table, wanted: &Ruleset) -> Result<Outcome, Error> {
        if present.owner.is_some() || self.flags.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        // A table is born with the flag that lets it outlive its owner, or does not get it.
        let (is_closed, outcome) = if present.is_orphan() {
            (self.close(write::adopt)?, Outcome::Adopted)
        } else {
            let replace = |flags| write::replace(wanted, flags);
            (self.close(replace)?, Outcome::Replaced)
        };
        Ok(if is_closed {
            outcome
        } else {
            Outcome::Unchanged
        })
    }

    /// Does the steps that close the table to others; false where the kernel cannot, which is then remembered.
    fn close(&mut self, steps: impl FnOnce(TableFlags) -> Vec<Step>) -> Result<bool, Error> {
        let steps = steps(self.flags);
        match self.connection()?.transact(steps) {
            Ok(()) => Ok(true),
            Err(error) if error.lacks(Feature::CLOSED_TABLE) => {
                self.flags = TableFlags::empty();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the table, closed to others where the kernel can.
    fn write(&mut self, wanted: &Ruleset) -> Result<(), Error> {
        let replace = |flags| write::replace(wanted, flags);
        if !self.flags.is_empty() && self.close(replace)? {
            return Ok(());
        }
        self.connection()?.transact(replace(TableFlags::empty()))
    }

    fn must_not_be_owned(&mut self, present: &Table) -> Result<(), Error> {
        let ours = self.connection()?.port();
        match present.owner {
            Some(port) if port != ours => Err(Error::Owned(Some(owner::find(port)))),
            _ => Ok(()),
        }
    }

    fn read(&mut self) -> Result<Option<Table>, Error> {
        read::read(self.connection()?)
    }

    fn connection(&mut self) -> Result<&mut Connection, Error> {
        Ok(match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open()?),
        })
    }

    /// From now on no change of the table goes unnoticed. After the connection is open, which so gets the process's
    /// number as its port.
    fn listen(&mut self) -> Result<(), Error> {
        self.connection()?;
        if self.events.is_none() {
            self.events = Some(Events::open(is_about_us).map_err(unheard)?);
        }
        Ok(())
    }
}

/// Whether a change is one of the table inet podiam.
fn is_about_us(change: &Change) -> bool {
    change.family == INET && change.table == TABLE
}

fn unheard(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EPERM) => Error::NotPermitted(error),
        _ => Error::Netlink(error),
    }
}
