//! Interception by nftables: the table `inet podiam`, written, read and removed over netlink in one transaction each.
//!
//! The agent installs, the command line shows and removes. The table outlives the process: a pod that asks while the
//! agent is away is refused. Nothing here runs a binary or touches another table. All functions block for a few
//! system calls and work in the network namespace of the calling thread.

mod codec;
mod error;
mod expression;
mod netlink;
mod ruleset;
mod table;

pub use error::Error;

use crate::{Outcome, Rules, Status};
use netlink::Connection;
use ruleset::Ruleset;
use table::Table;

/// Interception by the table `inet podiam`.
#[derive(Debug, Default)]
pub struct Nftables {
    _private: (),
}

/// Brings the kernel's table to `rules`, in one transaction, or leaves it as it is.
pub fn install(rules: &Rules) -> Result<Outcome, Error> {
    if let Some(address) = rules.unusable_target() {
        return Err(Error::UnusableTarget(address));
    }
    let wanted = Ruleset::build(rules);
    let mut connection = Connection::open()?;
    let present = table::read(&mut connection)?;
    if present
        .as_ref()
        .is_some_and(|present| present.drift(&wanted).is_empty())
    {
        return Ok(Outcome::Unchanged);
    }
    connection.transact(table::replace(&wanted))?;
    Ok(match present {
        None => Outcome::Created,
        Some(_) => Outcome::Replaced,
    })
}

/// Writes a table that only refuses pods the metadata service, unless there is a table already.
pub fn guard() -> Result<Outcome, Error> {
    let mut connection = Connection::open()?;
    if table::read(&mut connection)?.is_some() {
        return Ok(Outcome::Unchanged);
    }
    connection.transact(table::replace(&Ruleset::guard()))?;
    Ok(Outcome::Created)
}

/// What the kernel has; `None` where there is no table.
pub fn status() -> Result<Option<Status>, Error> {
    let present = table::read(&mut Connection::open()?)?;
    Ok(present.as_ref().map(Table::status))
}

/// Removes the table and with it every rule; false where there was none. After that, pods reach the real metadata
/// service and with it the node's role.
pub fn remove() -> Result<bool, Error> {
    let mut connection = Connection::open()?;
    if table::read(&mut connection)?.is_none() {
        return Ok(false);
    }
    connection.transact(table::remove())?;
    Ok(true)
}
