//! Tells when somebody may have changed iptables' rules. Of the variant nft the kernel tells. Of the variant legacy it
//! does not, but everyone who changes rules takes the lock, and a watch on its file tells that.
//!
//! Programs that lock another file (a container without the host's `/run/xtables.lock`) are not heard.

use std::{
    fs::OpenOptions,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};

use super::{
    error::Error,
    programs::Kind,
    ruleset::{TABLES, is_ours},
};
use crate::events::{Change, Events, IPV4, IPV6};

/// Where every version since 1.8 has its lock.
const LOCK: &str = "/run/xtables.lock";
/// The built-in chains in which podiam has its jumps.
const HOOKS: [&str; 3] = ["PREROUTING", "INPUT", "FORWARD"];

/// Listens for one variant, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) enum Watch {
    Nft(Events),
    /// `None` where there can be no such watch.
    Legacy(Option<Inotify>),
}

impl Watch {
    pub(super) fn open(kind: Kind) -> Result<Self, Error> {
        match kind {
            Kind::Nft => Ok(Self::Nft(
                Events::open(concerns_us).map_err(Error::Unheard)?,
            )),
            Kind::Legacy => Ok(Self::Legacy(lock().ok())),
        }
    }

    /// Whether it listens for that variant.
    pub(super) fn is_of(&self, kind: Kind) -> bool {
        match self {
            Self::Nft(_) => kind == Kind::Nft,
            Self::Legacy(_) => kind == Kind::Legacy,
        }
    }

    /// Becomes readable when somebody may have changed the rules; `None` where nothing tells.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Nft(events) => Some(events.fd()),
            Self::Legacy(lock) => lock.as_ref().map(AsFd::as_fd),
        }
    }

    /// Reads what has been told; true if it may concern the rules.
    pub(super) fn settle(&mut self) -> Result<bool, Error> {
        let heard = match self {
            Self::Nft(events) => events.settle(),
            Self::Legacy(None) => Ok(true),
            Self::Legacy(Some(lock)) => match lock.read_events() {
                Ok(_) => Ok(true),
                Err(Errno::EAGAIN) => Ok(false),
                Err(error) => Err(error.into()),
            },
        };
        heard.map_err(Error::Unheard)
    }
}

/// A watch on the lock's file, which is made where nobody has needed it yet, as iptables itself makes it. It tells when
/// the file is closed: then a program has done its work.
fn lock() -> io::Result<Inotify> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(LOCK)?;
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    inotify.add_watch(LOCK, AddWatchFlags::IN_CLOSE)?;
    Ok(inotify)
}

/// Whether a change is one of podiam's chains or of a chain that leads to them. Services that come and go, which
/// kube-proxy writes into chains of its own, are none.
fn concerns_us(change: &Change) -> bool {
    let is_place = [IPV4, IPV6].contains(&change.family) && TABLES.contains(&change.table.as_str());
    let chain = change.chain.as_deref();
    is_place && chain.is_none_or(|chain| is_ours(chain) || HOOKS.contains(&chain))
}
