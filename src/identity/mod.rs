//! Whether a connection is the pod's whose address it bears. `imds` asks once per connection, when its pod is known;
//! [`follow`] learns beforehand, when the pod appears, which link and which network namespace are its own. Nothing here
//! knows of roles, and nothing is read from the stream.
//!
//! What was learned belongs to the pod's UID: another pod on the same address comes in on another link and out of
//! another namespace, whatever the watch has told so far.

mod follow;
mod place;
mod survey;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use podiam_intercept::connection::{ingress_interface, original_destination};
use podiam_intercept::links::Links;
use podiam_intercept::{METADATA_V4, METADATA_V6};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::config::{Identification, IdentityMode};
use crate::reason::Reason;
use crate::telemetry::Chain;
use crate::workload::{PodUid, Workload};

pub use follow::follow;

use place::{Origin, Place};

/// The port of the metadata service.
const METADATA_PORT: u16 = 80;

/// What the kernel says about a connection. Read once, when it is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The client's end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// Where the client meant to connect to, before DNAT. `None` where conntrack does not know the connection.
    pub original: Option<SocketAddr>,
    /// The index of the link that it came in on. `None` where the kernel does not tell.
    pub interface: Option<u32>,
}

impl Facts {
    /// Of a connection that was accepted at `local`, by a listener that
    /// [asked for interfaces](podiam_intercept::connection::ask_for_interfaces). IPv4-mapped addresses are given as IPv4.
    pub fn of(stream: &TcpStream, peer: SocketAddr, local: SocketAddr) -> Self {
        Self {
            peer: canonical(peer),
            local: canonical(local),
            original: original_destination(stream, local.ip()).ok(),
            interface: ingress_interface(stream, local.ip()).ok(),
        }
    }

    /// Where the client's own socket is connected to.
    fn target(&self) -> SocketAddr {
        self.original.unwrap_or(self.local)
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What is known of where pods are. One task learns ([`follow`]); any thread may ask.
pub struct Identity {
    mode: IdentityMode,
    allow_shared_bridge: bool,
    /// Requests get here by DNAT of the metadata service's address and in no other way.
    is_intercepted: bool,
    places: ArcSwap<Places>,
    learned: watch::Sender<u64>,
    /// Somebody waits for a place that is not known yet.
    asked: Notify,
    /// For the first connection of a pod that has no route of its own. A lock, because a netlink socket has one user at a
    /// time; it is held for one question.
    links: Mutex<Links>,
}

type Places = HashMap<PodUid, Arc<Place>>;

impl Identity {
    /// Nothing is known yet. `is_intercepted`: podiam's own rules bring the requests.
    ///
    /// # Errors
    /// The kernel refuses a netlink socket.
    pub fn new(settings: Identification, is_intercepted: bool) -> io::Result<Self> {
        Ok(Self {
            mode: settings.mode,
            allow_shared_bridge: settings.allow_shared_bridge,
            is_intercepted,
            places: ArcSwap::default(),
            learned: watch::Sender::new(0),
            asked: Notify::new(),
            links: Mutex::new(Links::open()?),
        })
    }

    /// Refuses what did not come by the address of the metadata service: a Service or a rule of somebody else that leads
    /// to the agent's port. Where others bring the requests, nothing is known of how.
    pub fn expect_interception(&self, facts: &Facts) -> Result<(), Reason> {
        let metadata: [IpAddr; 2] = [METADATA_V4.into(), METADATA_V6.into()];
        let is_metadata = |original: SocketAddr| {
            original.port() == METADATA_PORT && metadata.contains(&original.ip())
        };
        if !self.is_intercepted || facts.original.is_some_and(is_metadata) {
            Ok(())
        } else {
            Err(Reason::NotIntercepted)
        }
    }

    /// Whether a connection is this pod's, waiting until `deadline` at most for what is being learned about the pod. Once
    /// per connection: what it says holds for the whole of it.
    pub async fn admit(
        &self,
        facts: &Facts,
        pod: &Workload,
        deadline: Instant,
    ) -> Result<(), Reason> {
        if self.mode == IdentityMode::Ip {
            return Ok(());
        }
        if let Some(verdict) = self.check(facts, pod) {
            return verdict;
        }
        let mut learned = self.learned.subscribe();
        loop {
            if let Some(verdict) = self.check(facts, pod) {
                return verdict;
            }
            self.asked.notify_one();
            match timeout_at(deadline, learned.changed()).await {
                Ok(Ok(())) => {}
                // The second arm cannot be: the sender lives as long as this does.
                Err(_) | Ok(Err(_)) => return Err(Reason::IdentityPending),
            }
        }
    }

    /// By what the pod's connections are known to be its own, `link`, `namespace` or `address` alone; `None` while that is
    /// not known, and where nothing tells.
    pub fn known_by(&self, pod: &PodUid) -> Option<&'static str> {
        if self.mode == IdentityMode::Ip {
            return Some("address");
        }
        let places = self.places.load();
        let place = places.get(pod)?;
        let has_link = !place.links.is_empty()
            || place
                .origin
                .get()
                .is_some_and(|origin| origin.is_one_pods && !place.is_shared);
        match self.mode {
            IdentityMode::Interface | IdentityMode::Auto if has_link => Some("link"),
            IdentityMode::Netns | IdentityMode::Auto if !place.homes.is_empty() => {
                Some("namespace")
            }
            IdentityMode::Interface | IdentityMode::Auto if self.allow_shared_bridge => {
                Some("address")
            }
            _ => None,
        }
    }

    /// `None`: not known yet.
    fn check(&self, facts: &Facts, pod: &Workload) -> Option<Result<(), Reason>> {
        let places = self.places.load();
        let place = places.get(&pod.uid)?;
        let address = facts.peer.ip();
        if !place.has(address) {
            return None;
        }
        if self.mode != IdentityMode::Netns {
            if let Some(own) = place.link(address) {
                return Some(same_link(own, facts));
            }
            if self.mode == IdentityMode::Interface || !place.has_home(address) {
                // Where a route tells that the link is shared, none is asked for: over IPv6, behind DNAT, the kernel may
                // name another one.
                if !place.is_shared
                    && let Some(origin) = self.origin(place, facts)
                    && origin.is_one_pods
                {
                    return Some(same_link(origin.link, facts));
                }
                if self.allow_shared_bridge {
                    return Some(Ok(()));
                }
                if self.mode == IdentityMode::Interface {
                    return Some(Err(Reason::SharedLink));
                }
            }
        }
        match place.has_connection(address, facts.peer, facts.target()) {
            Some(Ok(true)) => Some(Ok(())),
            Some(Ok(false)) => Some(Err(Reason::NotThePodsConnection)),
            Some(Err(error)) => {
                tracing::warn!(pod = %pod.name, "its sockets cannot be asked: {}", Chain(&error));
                Some(Err(Reason::IdentityPending))
            }
            None if place.is_searched(Instant::now()) => None,
            None => Some(Err(Reason::SharedLink)),
        }
    }

    /// The link of the pod's first connection, for a pod whose route tells nothing.
    fn origin(&self, place: &Place, facts: &Facts) -> Option<Origin> {
        place.origin(|| {
            let index = facts.interface?;
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            let link = links.link(index).ok()??;
            Some(Origin {
                link: index,
                is_one_pods: link.is_one_pods && !place.shared_links.contains(&index),
            })
        })
    }
}

fn same_link(own: u32, facts: &Facts) -> Result<(), Reason> {
    if facts.interface == Some(own) {
        Ok(())
    } else {
        tracing::debug!(own, ?facts, "on another link");
        Err(Reason::WrongLink)
    }
}

#[cfg(test)]
mod tests;
