//! Servers that are away, silent or unwilling: what is told, how soon it is mended, and that nothing spins.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_noticed() {
    let mut server = Server::new();
    let mut following = Following::of(&server);
    let started = Instant::now();
    let hanging = server.request().await;
    assert_eq!(
        following.failing().await,
        "the API server api:6443 does not answer within 10 s"
    );
    assert_eq!(started.elapsed(), Duration::from_secs(10));
    drop(hanging);
}

#[tokio::test(start_paused = true)]
async fn after_a_long_outage_we_are_in_sync_within_a_second_of_the_servers_return() {
    let mut server = Server::new();
    let mut following = Following::of(&server);
    let down_until = Instant::now() + Duration::from_mins(10);
    let mut tries = 0;
    while Instant::now() < down_until {
        server
            .request()
            .await
            .fail(io::ErrorKind::ConnectionRefused);
        assert!(following.failing().await.contains("refuses connections"));
        tries += 1;
    }
    assert!(tries < 600 * 5, "{tries} tries in 600 s are a hot loop");

    // Back, and for a moment not ready: 503, then 403 until its RBAC rules are read.
    let back = Instant::now();
    for code in [503, 503, 403, 403, 403] {
        server.request().await.refuse(code, "not ready");
        following.failing().await;
    }
    stream_one_pod(&mut server, &mut following).await;
    assert!(
        back.elapsed() <= Duration::from_secs(2),
        "{:?}",
        back.elapsed()
    );

    let mut server = Server::new();
    let mut following = Following::of(&server);
    for _ in 0..50 {
        server
            .request()
            .await
            .fail(io::ErrorKind::ConnectionRefused);
        following.failing().await;
    }
    let back = Instant::now();
    stream_one_pod(&mut server, &mut following).await;
    assert!(
        back.elapsed() <= Duration::from_secs(1),
        "{:?}",
        back.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_rbac_is_told_and_not_asked_for_in_a_hot_loop() {
    let mut server = Server::new();
    let mut following = Following::of(&server);
    let end = Instant::now() + Duration::from_mins(1);
    let mut tries = 0;
    while Instant::now() < end {
        server
            .request()
            .await
            .refuse(403, "pods is forbidden: User \"podiam\" cannot watch");
        let error = following.failing().await;
        assert!(
            error.contains("refuses to let us watch pods (403): grant the verbs"),
            "{error}"
        );
        tries += 1;
    }
    assert!((10..=40).contains(&tries), "{tries} tries in 60 s");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_may_be_read_and_not_watched_is_no_hot_loop_either() {
    let mut server = Server::new();
    let mut following = Following::of(&server);
    server.request().await.refuse(422, "no streaming lists");
    let end = Instant::now() + Duration::from_mins(1);
    let mut tries = 0;
    while Instant::now() < end {
        server.request().await.json(200, &json!({
            "kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": []
        }));
        assert_eq!(following.event().await, "all: ");
        following.synced().await;
        server.request().await.refuse(403, "pods is forbidden");
        assert!(
            following
                .failing()
                .await
                .contains("refuses to let us watch pods")
        );
        tries += 1;
    }
    assert!((10..=40).contains(&tries), "{tries} tries in 60 s");
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_is_told_and_mended_by_a_new_list() {
    let mut server = Server::new();
    let mut following = Following::of(&server);
    stream_one_pod(&mut server, &mut following)
        .await
        .fail(io::ErrorKind::ConnectionReset);
    let error = following.failing().await;
    assert!(
        error.starts_with("the connection to the API server api:6443 failed: "),
        "{error}"
    );
    stream_one_pod(&mut server, &mut following).await;
}
