//! What a connection's facts prove, by what is known of the pod; the kernel's part is in `tests/identity`.

use std::sync::OnceLock;
use std::time::Duration;

use podiam_intercept::sockets::Sockets;

use super::*;

const OWN_LINK: u32 = 7;
const POD: &str = "10.0.100.11:40000";
const PATIENCE: Duration = Duration::from_millis(400);

fn identity(mode: IdentityMode, allow_shared_bridge: bool) -> Identity {
    let settings = Identification {
        mode,
        allow_shared_bridge,
    };
    Identity::new(settings, true).unwrap()
}

fn pod() -> Workload {
    Workload {
        addresses: vec!["10.0.100.11".parse().unwrap()],
        ..Workload::new(PodUid::new("uid"), "default", "app")
    }
}

fn facts(interface: Option<u32>) -> Facts {
    Facts {
        peer: POD.parse().unwrap(),
        local: "10.0.0.10:8181".parse().unwrap(),
        original: Some("169.254.169.254:80".parse().unwrap()),
        interface,
    }
}

fn place() -> Place {
    Place {
        addresses: pod().addresses,
        links: Vec::new(),
        homes: Vec::new(),
        origin: OnceLock::new(),
        shared_links: Vec::new(),
        is_shared: false,
        search_end: Instant::now(),
    }
}

fn with_link() -> Place {
    Place {
        links: vec![(pod().addresses[0], OWN_LINK)],
        ..place()
    }
}

/// Known by a namespace that has no connection: this one.
fn with_home() -> Place {
    let sockets = Sockets::open().unwrap();
    Place {
        homes: vec![(pod().addresses[0], Mutex::new(sockets))],
        is_shared: true,
        ..place()
    }
}

fn first_seen_on(link: u32, is_one_pods: bool) -> Place {
    let place = place();
    place.origin.set(Origin { link, is_one_pods }).unwrap();
    place
}

/// Behind a bridge; over IPv6 the kernel names another link, here one that looks like a pod's.
fn on_a_bridge() -> Place {
    Place {
        shared_links: vec![2],
        is_shared: true,
        ..first_seen_on(9, true)
    }
}

fn learn(identity: &Identity, place: Place) {
    let places = HashMap::from([(pod().uid, Arc::new(place))]);
    identity.places.store(Arc::new(places));
    identity.learned.send_modify(|count| *count += 1);
}

async fn verdict(identity: &Identity, interface: Option<u32>) -> &'static str {
    let deadline = Instant::now() + PATIENCE;
    let verdict = identity.admit(&facts(interface), &pod(), deadline).await;
    verdict.map_or_else(|reason| reason.code(), |()| "admitted")
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_pod_and_the_mode_decide() {
    use IdentityMode::{Auto, Interface, Ip, Netns};
    type Known = fn() -> Place;
    let rows: [(IdentityMode, bool, Known, Option<u32>, &str); 18] = [
        (Ip, false, place, None, "admitted"),
        (Auto, false, with_link, Some(OWN_LINK), "admitted"),
        (Auto, false, with_link, Some(8), "wrong-link"),
        (Auto, false, with_link, None, "wrong-link"),
        (Auto, true, with_link, Some(8), "wrong-link"),
        (Interface, false, with_link, Some(OWN_LINK), "admitted"),
        (Interface, true, with_link, Some(8), "wrong-link"),
        // What its first connection came in on, where no route tells.
        (Auto, false, || first_seen_on(9, true), Some(9), "admitted"),
        (
            Auto,
            false,
            || first_seen_on(9, true),
            Some(8),
            "wrong-link",
        ),
        (
            Auto,
            false,
            || first_seen_on(2, false),
            Some(2),
            "shared-link",
        ),
        (
            Interface,
            false,
            || first_seen_on(2, false),
            Some(2),
            "shared-link",
        ),
        (Auto, true, || first_seen_on(2, false), Some(3), "admitted"),
        (Auto, false, on_a_bridge, Some(9), "shared-link"),
        (Auto, true, on_a_bridge, Some(8), "admitted"),
        // A namespace that does not have the connection; nobody may overrule that.
        (Auto, false, with_home, Some(2), "not-the-pods-connection"),
        (Auto, true, with_home, Some(2), "not-the-pods-connection"),
        (Netns, true, with_home, Some(2), "not-the-pods-connection"),
        (Netns, true, with_link, Some(OWN_LINK), "shared-link"),
    ];
    for (mode, allowed, known, interface, expected) in rows {
        let identity = identity(mode, allowed);
        learn(&identity, known());
        let said = verdict(&identity, interface).await;
        assert_eq!(said, expected, "{mode:?} {allowed} {interface:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_which_nothing_is_learned_in_time_is_refused() {
    let identity = identity(IdentityMode::Auto, false);
    let started = Instant::now();
    assert_eq!(verdict(&identity, Some(OWN_LINK)).await, "identity-pending");
    assert_eq!(started.elapsed(), PATIENCE);

    // Learned for another address of the same pod.
    let mut elsewhere = with_link();
    elsewhere.addresses = vec!["10.0.100.12".parse().unwrap()];
    learn(&identity, elsewhere);
    assert_eq!(verdict(&identity, Some(OWN_LINK)).await, "identity-pending");
}

#[tokio::test(start_paused = true)]
async fn what_is_learned_meanwhile_ends_the_wait() {
    let identity = Arc::new(identity(IdentityMode::Auto, false));
    let asking = Arc::clone(&identity);
    let answer = tokio::spawn(async move { verdict(&asking, Some(OWN_LINK)).await });
    identity.asked.notified().await;
    let started = Instant::now();
    learn(&identity, with_link());
    assert_eq!(answer.await.unwrap(), "admitted");
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[test]
fn only_the_metadata_services_address_and_port_lead_here_where_we_wrote_the_rules() {
    let identity = identity(IdentityMode::Ip, false);
    let sent_to = |original: Option<&str>| {
        let facts = Facts {
            original: original.map(|address| address.parse().unwrap()),
            ..facts(None)
        };
        identity.expect_interception(&facts).is_ok()
    };
    assert!(sent_to(Some("169.254.169.254:80")));
    assert!(sent_to(Some("[fd00:ec2::254]:80")));
    for other in [
        None,
        Some("10.0.0.10:8181"),
        Some("169.254.169.254:8181"),
        Some("169.254.169.253:80"),
        Some("10.96.0.15:80"),
    ] {
        assert!(!sent_to(other), "{other:?}");
    }
}
