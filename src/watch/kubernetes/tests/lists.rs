//! Lists and the watches that follow them, with a server that does its best.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_streaming_list_of_this_nodes_pods_is_followed_by_its_changes() {
    let mut server = Server::new();
    let mut following = Following::of(&server);
    let request = server.request().await;
    assert_eq!(request.path, "/api/v1/pods");
    for parameter in [
        "watch=true",
        "sendInitialEvents=true",
        "fieldSelector=spec.nodeName%3Dnode-1",
    ] {
        assert!(
            request.query.contains(parameter),
            "{parameter} is not in {request:?}"
        );
    }
    let stream = request.stream();
    stream.send(&event("ADDED", &pod("a", "5")));
    stream.send(&event("ADDED", &pod("b", "7")));
    stream.send(&end_of_list("7"));
    assert_eq!(following.event().await, "all: a b");
    following.synced().await;

    stream.send(&event("ADDED", &pod("c", "8")));
    stream.send(&event("MODIFIED", &pod("a", "9")));
    stream.send(&event("DELETED", &pod("b", "10")));
    assert_eq!(following.event().await, "applied c");
    assert_eq!(following.event().await, "applied a");
    assert_eq!(following.event().await, "deleted uid-b");
}

#[tokio::test(start_paused = true)]
async fn namespaces_are_asked_for_as_metadata_alone() {
    let mut server = Server::new();
    let (keys, clock) = (test_keys(), Clock::system());
    let endpoint = ApiEndpoint::InCluster;
    let access = ApiAccess {
        endpoint,
        insecure: false,
        resync: RESYNC,
    };
    let scope = Scope {
        node: Some("node-1"),
        keys: &keys,
        clock: &clock,
    };
    let (sender, mut updates) = mpsc::channel(64);
    let mut follower = Follower::<Namespace>::new(&access, scope, sender);
    follower.connection = Some(Connection {
        client: server.client(),
        server: "api:6443".into(),
    });
    let play = async {
        let request = server.request().await;
        assert_eq!(request.path, "/api/v1/namespaces");
        assert!(
            request.accept.contains("as=PartialObjectMetadata"),
            "{request:?}"
        );
        assert!(!request.query.contains("fieldSelector"), "{request:?}");
        let stream = request.stream();
        let metadata = json!({"name": "shop", "resourceVersion": "3"});
        stream.send(&event(
            "ADDED",
            &json!({"kind": "PartialObjectMetadata", "metadata": metadata}),
        ));
        stream.send(&end_of_list("3"));
        let Some(Update::Events(events)) = updates.recv().await else {
            panic!("no events")
        };
        assert_eq!(
            events,
            [Event::NamespacesReplaced(vec![workload::Namespace {
                name: "shop".into(),
                ..workload::Namespace::default()
            }])]
        );
    };
    tokio::select! {
        () = follower.follow() => panic!("the follower never ends by itself"),
        () = play => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_streaming_lists_is_listed_by_pages_and_not_asked_again() {
    for refusal in [
        (
            422,
            "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        ),
        (500, "etcd event received with PrevKv=nil"),
    ] {
        let mut server = Server::new();
        let mut following = Following::of(&server);
        server.request().await.refuse(refusal.0, refusal.1);

        let first = server.request().await;
        assert!(
            first.query.contains("limit=500") && !first.query.contains("watch"),
            "{first:?}"
        );
        first.json(
            200,
            &json!({
                "kind": "PodList", "apiVersion": "v1",
                "metadata": {"resourceVersion": "7", "continue": "more"}, "items": [pod("a", "5")]
            }),
        );
        let second = server.request().await;
        assert!(second.query.contains("continue=more"), "{second:?}");
        second.json(
            200,
            &json!({
                "kind": "PodList", "apiVersion": "v1",
                "metadata": {"resourceVersion": "7"}, "items": [pod("b", "6")]
            }),
        );
        assert_eq!(following.event().await, "all: a b");
        following.synced().await;

        let watch = server.request().await;
        assert!(watch.query.contains("resourceVersion=7"), "{watch:?}");
        watch.stream().fail(io::ErrorKind::ConnectionReset);
        assert!(following.failing().await.contains("connection"));
        let again = server.request().await;
        assert!(again.query.contains("limit=500"), "remembered: {again:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_ends_its_streaming_list_is_listed_by_pages() {
    let mut server = Server::new();
    let mut following = Following::of(&server);
    let stream = server.request().await.stream();
    stream.send(&event("ADDED", &pod("a", "5")));
    let started = Instant::now();
    let list = server.request().await;
    assert!(list.query.contains("limit=500"), "{list:?}");
    assert_eq!(started.elapsed(), STALL_LIMIT);
    assert!(
        following.updates.try_recv().is_err(),
        "half a list is nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn an_expired_watch_is_listed_anew_without_alarm() {
    let mut server = Server::new();
    let mut following = Following::of(&server);
    let stream = stream_one_pod(&mut server, &mut following).await;
    tokio::time::advance(STEADY).await;
    stream.send(&event(
        "ERROR",
        &json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}),
    ));

    let request = server.request().await;
    assert!(
        request.query.contains("sendInitialEvents=true"),
        "{request:?}"
    );
    let stream = request.stream();
    stream.send(&end_of_list("90"));
    assert_eq!(
        following.event().await,
        "all: ",
        "the pod that went unseen is gone, and nothing was failing"
    );
    following.synced().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_in_an_orderly_way_is_resumed_where_it_was() {
    let mut server = Server::new();
    let mut following = Following::of(&server);
    drop(stream_one_pod(&mut server, &mut following).await);
    let request = server.request().await;
    assert!(request.query.contains("resourceVersion=7"), "{request:?}");
    assert!(!request.query.contains("sendInitialEvents"), "{request:?}");
    let stream = request.stream();
    stream.send(&event("DELETED", &pod("a", "8")));
    assert_eq!(following.event().await, "deleted uid-a");
}

#[tokio::test(start_paused = true)]
async fn everything_is_listed_anew_when_the_resync_period_is_over() {
    let mut server = Server::new();
    let mut following = Following::of(&server);
    let started = Instant::now();
    let first = stream_one_pod(&mut server, &mut following).await;
    // Kube's watcher drops a watch that is silent for too long; this one is not.
    let alive = async {
        let mut minutes = tokio::time::interval(Duration::from_mins(1));
        loop {
            minutes.tick().await;
            first.send(&json!({"type": "BOOKMARK", "object": {
                "kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}}}));
        }
    };
    let again = tokio::select! {
        request = server.request() => request,
        () = alive => unreachable!(),
    };
    assert!(again.query.contains("sendInitialEvents=true"), "{again:?}");
    assert_eq!(started.elapsed(), RESYNC);
    assert!(
        following.updates.try_recv().is_err(),
        "what is known stays until the list is complete"
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_that_becomes_unusable_does_not_live_on_as_it_was() {
    let mut server = Server::new();
    let mut following = Following::of(&server);
    let stream = stream_one_pod(&mut server, &mut following).await;
    let mut broken = pod("a", "8");
    broken["status"]["podIP"] = "not an address".into();
    stream.send(&event("MODIFIED", &broken));
    assert_eq!(following.event().await, "deleted uid-a");
}
