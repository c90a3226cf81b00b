//! Learns where pods are: asks the kernel for their routes, and looks for their network namespaces where routes do not
//! tell them apart. Blocks for milliseconds; [`super::follow`] gives it a thread.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use podiam_intercept::links::{Links, Route};
use podiam_intercept::probe::{self, Error, Homes};
use tokio::time::Instant;

use super::Places;
use super::place::Place;
use crate::config::IdentityMode;
use crate::telemetry::Chain;
use crate::workload::PodUid;

/// How long the namespace of a new pod is looked for. After that only another pod on its address could be found.
const SEARCH: Duration = Duration::from_mins(1);

/// What a survey found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) places: Places,
    /// How many pods are known by a link of their own, by a namespace, and by neither.
    pub(super) by_link: usize,
    pub(super) by_home: usize,
    pub(super) by_neither: usize,
    /// Why namespaces were not looked at.
    pub(super) trouble: Option<String>,
}

/// Learns about those of `pods` that `known` does not tell of yet, and forgets all others.
pub(super) fn survey(
    mode: IdentityMode,
    known: &Places,
    pods: Vec<(PodUid, Vec<IpAddr>)>,
) -> io::Result<Survey> {
    let now = Instant::now();
    let mut links = Links::open()?;
    let mut survey = Survey::default();
    let mut unfinished = Vec::new();
    for (uid, addresses) in pods {
        match known.get(&uid).filter(|place| place.addresses == addresses) {
            Some(place) if is_final(mode, place, now) => {
                survey.places.insert(uid, Arc::clone(place));
            }
            Some(place) => unfinished.push((uid, renewed(place))),
            None => unfinished.push((uid, routed(&mut links, addresses, now))),
        }
    }
    let wanted: Vec<IpAddr> = unfinished
        .iter()
        .filter(|(_, place)| needs_home(mode, place))
        .flat_map(|(_, place)| place.addresses.iter().copied())
        .collect();
    let mut may_search = true;
    let mut homes = if wanted.is_empty() {
        Homes::default()
    } else {
        probe::homes(&wanted).unwrap_or_else(|error| {
            may_search = !matches!(error, Error::Privilege(_));
            survey.trouble = Some(Chain(&error).to_string());
            Homes::default()
        })
    };
    for address in &homes.disputed {
        tracing::warn!(%address, "more than one network namespace has this pod's address");
    }
    for (uid, mut place) in unfinished {
        for address in &place.addresses {
            if let Some(sockets) = homes.found.remove(address) {
                place.homes.push((*address, Mutex::new(sockets)));
            }
        }
        if !may_search {
            place.search_end = now;
        }
        survey.places.insert(uid, Arc::new(place));
    }
    for place in survey.places.values() {
        let count = if !place.homes.is_empty() {
            &mut survey.by_home
        } else if !place.links.is_empty() && mode != IdentityMode::Netns {
            &mut survey.by_link
        } else if place.is_shared {
            &mut survey.by_neither
        } else {
            // By the link of its first connection, or a pod of another node.
            continue;
        };
        *count += 1;
    }
    Ok(survey)
}

/// Whether nothing more can be learned.
fn is_final(mode: IdentityMode, place: &Place, now: Instant) -> bool {
    !needs_home(mode, place)
        || place.homes.len() == place.addresses.len()
        || !place.is_searched(now)
}

fn needs_home(mode: IdentityMode, place: &Place) -> bool {
    match mode {
        IdentityMode::Ip | IdentityMode::Interface => false,
        IdentityMode::Netns => true,
        IdentityMode::Auto => place.is_shared,
    }
}

/// What is known but for the namespaces, which are looked for again.
fn renewed(place: &Place) -> Place {
    let origin = OnceLock::new();
    if let Some(known) = place.origin.get() {
        let _ = origin.set(*known);
    }
    Place {
        addresses: place.addresses.clone(),
        links: place.links.clone(),
        homes: Vec::new(),
        origin,
        shared_links: place.shared_links.clone(),
        is_shared: place.is_shared,
        search_end: place.search_end,
    }
}

/// What the routes say.
fn routed(links: &mut Links, addresses: Vec<IpAddr>, now: Instant) -> Place {
    let routes: Vec<(IpAddr, Option<Route>)> = addresses
        .iter()
        .map(|address| (*address, links.route(*address).ok().flatten()))
        .collect();
    let own = |(address, route): &(IpAddr, Option<Route>)| {
        let route = route.filter(|route| route.is_for_one && route.is_direct)?;
        Some((*address, route.link))
    };
    let links: Vec<(IpAddr, u32)> = routes.iter().filter_map(own).collect();
    let others = routes
        .iter()
        .filter(|(address, _)| !links.iter().any(|(own, _)| own == address))
        .filter_map(|(_, route)| *route);
    Place {
        is_shared: others.clone().any(|route| route.is_direct),
        shared_links: others.map(|route| route.link).collect(),
        homes: Vec::new(),
        origin: OnceLock::new(),
        links,
        search_end: now + SEARCH,
        addresses,
    }
}
