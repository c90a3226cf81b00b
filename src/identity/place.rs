//! Where one pod is: the links that lead to it, and the network namespace that it lives in. Learned once, kept for as
//! long as the pod has the same addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, OnceLock, PoisonError};

use podiam_intercept::sockets::Sockets;
use tokio::time::Instant;

/// The link that a connection came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) link: u32,
    /// Nobody but one pod is at its other end.
    pub(super) is_one_pods: bool,
}

/// Where a pod is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) addresses: Vec<IpAddr>,
    /// By address, the link that its route names, where that route is for this address alone.
    pub(super) links: Vec<(IpAddr, u32)>,
    /// By address, the namespace that has it. A lock, because a netlink socket has one user at a time; it is held for
    /// some 20 microseconds.
    pub(super) homes: Vec<(IpAddr, Mutex<Sockets>)>,
    /// Where the pod's first connection came in, if no route tells its link.
    pub(super) origin: OnceLock<Origin>,
    /// Links that lead to it and to others too, as routes tell.
    pub(super) shared_links: Vec<u32>,
    /// One of them leads to it without a gateway: it hangs on that link together with others.
    pub(super) is_shared: bool,
    /// Until when its namespace is looked for, where that is needed.
    pub(super) search_end: Instant,
}

impl Place {
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    pub(super) fn link(&self, address: IpAddr) -> Option<u32> {
        find(&self.links, address).copied()
    }

    pub(super) fn has_home(&self, address: IpAddr) -> bool {
        find(&self.homes, address).is_some()
    }

    /// The link that this pod is known by: what `first` says the first time, and the same ever after.
    pub(super) fn origin(&self, first: impl FnOnce() -> Option<Origin>) -> Option<Origin> {
        if let Some(known) = self.origin.get() {
            return Some(*known);
        }
        let origin = first()?;
        Some(*self.origin.get_or_init(|| origin))
    }

    /// Whether the namespace of `address` has a connection from `local` to `remote`; `None` where it is not known.
    pub(super) fn has_connection(
        &self,
        address: IpAddr,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<io::Result<bool>> {
        let sockets = find(&self.homes, address)?;
        let mut sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
        Some(sockets.has_connection(local, remote))
    }

    pub(super) fn is_searched(&self, now: Instant) -> bool {
        now < self.search_end
    }
}

fn find<T>(pairs: &[(IpAddr, T)], address: IpAddr) -> Option<&T> {
    let mut pairs = pairs.iter();
    pairs
        .find(|(other, _)| *other == address)
        .map(|(_, value)| value)
}
