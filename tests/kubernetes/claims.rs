//! Two live pods on one address, with a watch that is late: a road to the API server that lets everything through but, while
//! it is closed, what watches tell.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures::TryStreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::scene::Scene;
use crate::support::agent::Agent;
use crate::support::eventually;
use crate::support::http::ROLES;
use crate::support::pods::{self, ROLE};

/// A road to the API server, which is asked with the rights of `client`.
struct Road {
    address: SocketAddr,
    closed: watch::Sender<bool>,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Road {
    async fn to(client: Client) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let closed = watch::Sender::new(false);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let (gate, log) = (closed.subscribe(), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (client, gate, log) = (client.clone(), gate.clone(), Arc::clone(&log));
                connections.spawn(async move {
                    let pass = service_fn(move |request| {
                        pass_on(client.clone(), gate.clone(), Arc::clone(&log), request)
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), pass)
                        .await;
                });
            }
        });
        Self {
            address,
            closed,
            asked,
            _tasks: tasks,
        }
    }

    /// How often this was asked for.
    fn asked(&self, path: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|one| *one == path).count()
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, kube::Error>;

async fn pass_on(
    client: Client,
    gate: watch::Receiver<bool>,
    log: Arc<Mutex<Vec<String>>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    log.lock().unwrap().push(head.uri.path().to_owned());
    let watches = head
        .uri
        .query()
        .is_some_and(|query| query.contains("watch=true"));
    let content = body.collect().await.unwrap().to_bytes();
    let mut onward = Request::new(kube::client::Body::from(content.to_vec()));
    *onward.method_mut() = head.method;
    *onward.uri_mut() = head.uri;
    for (name, value) in &head.headers {
        if name != "host" && name != "authorization" {
            onward.headers_mut().insert(name, value.clone());
        }
    }
    let (head, body) = client.send(onward).await.unwrap().into_parts();
    let data = body.into_data_stream().and_then(move |data| {
        let mut gate = gate.clone();
        async move {
            if watches {
                let _ = gate.wait_for(|closed| !closed).await;
            }
            Ok(Frame::data(data))
        }
    });
    Ok(Response::from_parts(
        head,
        StreamBody::new(data).boxed_unsync(),
    ))
}

#[tokio::test]
async fn of_two_live_pods_on_one_address_neither_is_answered_and_each_is_asked_about_by_one_get() {
    let scene = Scene::new("claims").await;
    let road = Road::to(scene.client.clone()).await;
    let address = "127.0.1.50";
    scene.run("old", address, &[(ROLE, "old-role")]).await;
    let agent = Agent::start(
        &scene.moto.url(),
        &[
            "--node=claims",
            &format!("--api-server=http://{}", road.address),
            "--api-token=passed-on-by-another",
            "--events=false",
        ],
    );
    agent.ready().await;
    agent.gives(address, "old-role").await;
    let get = |name: &str| format!("/api/v1/namespaces/claims/pods/{name}");
    assert_eq!(road.asked(&get("old")), 0, "nobody doubts it");

    scene.run("new", address, &[(ROLE, "new-role")]).await;
    let refusal = agent.refuses(address, 503).await;
    assert!(
        refusal.body.contains("more than one pod claims"),
        "{}",
        refusal.body
    );
    eventually("a question about each", || async {
        let asked = (road.asked(&get("old")), road.asked(&get("new")));
        if asked == (1, 1) {
            Ok(())
        } else {
            Err(format!("{asked:?}"))
        }
    })
    .await;
    assert_eq!(
        agent.ask(address, ROLES).await.status,
        503,
        "both are there"
    );

    // The older one goes, and the watch does not tell.
    road.closed.send_replace(true);
    pods::delete(&scene.client, scene.name, "old").await;
    agent.gives(address, "new-role").await;
    assert!(*road.closed.borrow(), "no watch has told anything");
    let asked = road.asked(&get("new"));
    assert!(
        (1..=3).contains(&asked),
        "{asked} questions in some seconds"
    );
    road.closed.send_replace(false);
    agent.gives(address, "new-role").await;
}
