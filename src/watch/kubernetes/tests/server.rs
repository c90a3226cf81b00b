//! An API server played by hand: each request is handed to the test, which answers it. No socket, so that time can be paused.

use std::io;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use hyper::header::ACCEPT;
use hyper::{Request, Response};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::watch::kubernetes::connect::reply_limit;

type Frames = StreamBody<UnboundedReceiver<io::Result<Frame<Bytes>>>>;
type Answer = io::Result<Response<Frames>>;

/// The server's side: requests as they come in.
pub(super) struct Server {
    requests: mpsc::UnboundedReceiver<Received>,
    sender: mpsc::UnboundedSender<Received>,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) path: String,
    pub(super) query: String,
    pub(super) accept: String,
    answer: oneshot::Sender<Answer>,
}

impl Server {
    pub(super) fn new() -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        Self { requests, sender }
    }

    /// A client with the limits of the real one.
    pub(super) fn client(&self) -> Client {
        let sender = self.sender.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (answer, answered) = oneshot::channel();
            let accept = request
                .headers()
                .get(ACCEPT)
                .and_then(|value| value.to_str().ok());
            let received = Received {
                path: request.uri().path().to_owned(),
                query: request.uri().query().unwrap_or_default().to_owned(),
                accept: accept.unwrap_or_default().to_owned(),
                answer,
            };
            let sent = sender.send(received);
            async move {
                sent.map_err(io::Error::other)?;
                answered.await.map_err(io::Error::other)?
            }
        });
        ClientBuilder::new(service, "default")
            .with_layer(&reply_limit())
            .build()
    }

    pub(super) async fn request(&mut self) -> Received {
        self.requests
            .recv()
            .await
            .expect("the server holds a sender itself")
    }
}

impl Received {
    fn respond(self, status: u16) -> Stream {
        let (frames, body) = unbounded();
        let response = Response::builder()
            .status(status)
            .body(StreamBody::new(body))
            .unwrap();
        self.answer
            .send(Ok(response))
            .expect("the client waits for it");
        Stream(frames)
    }

    /// Answers with a stream that stays open until it is dropped.
    pub(super) fn stream(self) -> Stream {
        self.respond(200)
    }

    pub(super) fn json(self, status: u16, body: &Value) {
        self.respond(status).send(body);
    }

    /// Answers with a `Status` of failure.
    pub(super) fn refuse(self, code: u16, message: &str) {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "code": code, "reason": "", "message": message
        });
        self.json(code, &status);
    }

    /// Does not answer: the connection fails.
    pub(super) fn fail(self, kind: io::ErrorKind) {
        self.answer
            .send(Err(kind.into()))
            .expect("the client waits for it");
    }
}

/// The body of an answer.
pub(super) struct Stream(UnboundedSender<io::Result<Frame<Bytes>>>);

impl Stream {
    /// Sends one line.
    pub(super) fn send(&self, line: &Value) {
        let frame = Frame::data(Bytes::from(format!("{line}\n")));
        self.0
            .unbounded_send(Ok(frame))
            .expect("the client reads it");
    }

    /// Ends in the middle.
    pub(super) fn fail(self, kind: io::ErrorKind) {
        self.0
            .unbounded_send(Err(kind.into()))
            .expect("the client reads it");
    }
}

/// One event of a watch, as the API server writes it: the type first.
pub(super) fn event(kind: &str, object: &Value) -> Value {
    json!({ "type": kind, "object": object })
}

/// The bookmark that ends a streaming list.
pub(super) fn end_of_list(version: &str) -> Value {
    let annotations = json!({"k8s.io/initial-events-end": "true"});
    let metadata = json!({"resourceVersion": version, "annotations": annotations});
    event(
        "BOOKMARK",
        &json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata}),
    )
}

/// A pod whose UID is its name after `uid-`.
pub(super) fn pod(name: &str, version: &str) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("uid-{name}"),
            "resourceVersion": version
        },
        "status": {"phase": "Running", "podIP": "10.0.0.1"}
    })
}
