//! A container runtime of the test's own, which says what a test wants it to say, on a real socket and by real HTTP/2.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::super::messages::{
    ListPodSandboxResponse, PodIp, PodSandbox, PodSandboxMetadata, PodSandboxNetworkStatus,
    PodSandboxState, PodSandboxStatus, PodSandboxStatusRequest, PodSandboxStatusResponse,
};

/// A sandbox: its ID, its pod's UID, its addresses, and whether it is ready.
#[derive(Clone)]
pub(super) struct Sandbox(
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) &'static [&'static str],
    pub(super) bool,
);

/// What a server says; shared with those that come after it at the same socket.
pub(super) struct State {
    pub(super) sandboxes: Mutex<Vec<Sandbox>>,
    /// Whether it has no `ListPodSandbox`.
    pub(super) foreign: bool,
    statuses: Mutex<usize>,
}

/// A runtime that runs.
pub(super) struct Server {
    pub(super) state: Arc<State>,
    folder: Arc<TempDir>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::of(false)
    }

    /// One that has nothing of CRI.
    pub(super) fn foreign() -> Self {
        Self::of(true)
    }

    fn of(foreign: bool) -> Self {
        let state = State {
            sandboxes: Mutex::default(),
            foreign,
            statuses: Mutex::default(),
        };
        Self::serve(Arc::new(state), Arc::new(tempfile::tempdir().unwrap()))
    }

    /// Ends it with all its connections and starts another at the same socket.
    pub(super) fn restart(self) -> Self {
        let (state, folder) = (Arc::clone(&self.state), Arc::clone(&self.folder));
        drop(self);
        Self::serve(state, folder)
    }

    /// Ends it, and leaves what is needed to start it again.
    pub(super) fn stop(self) -> (Arc<State>, Arc<TempDir>) {
        (Arc::clone(&self.state), Arc::clone(&self.folder))
    }

    pub(super) fn serve(state: Arc<State>, folder: Arc<TempDir>) -> Self {
        let path = socket(folder.path());
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(path).unwrap();
        let mut tasks = JoinSet::new();
        let served = Arc::clone(&state);
        tasks.spawn(async move {
            // Aborted with this one.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&served);
                connections.spawn(async move {
                    let answer = service_fn(move |request| answer(Arc::clone(&state), request));
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        });
        Self {
            state,
            folder,
            _tasks: tasks,
        }
    }

    pub(super) fn socket(&self) -> PathBuf {
        socket(self.folder.path())
    }

    /// These are all sandboxes from now on.
    pub(super) fn set(&self, sandboxes: &[Sandbox]) {
        *self.state.sandboxes.lock().unwrap() = sandboxes.to_vec();
    }

    /// How often it was asked for the status of one sandbox.
    pub(super) fn statuses(&self) -> usize {
        *self.state.statuses.lock().unwrap()
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("cri.sock")
}

type Answer = Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let sandboxes = state.sandboxes.lock().unwrap().clone();
    let ready = |ready| {
        if ready {
            PodSandboxState::Ready
        } else {
            PodSandboxState::NotReady
        }
    };
    Ok(match path.as_str() {
        "/runtime.v1.RuntimeService/ListPodSandbox" if !state.foreign => {
            let items = sandboxes.iter().map(|Sandbox(id, uid, _, is)| PodSandbox {
                id: (*id).to_owned(),
                metadata: Some(PodSandboxMetadata {
                    uid: (*uid).to_owned(),
                }),
                state: ready(*is) as i32,
            });
            one(&ListPodSandboxResponse {
                items: items.collect(),
            })
        }
        "/runtime.v1.RuntimeService/PodSandboxStatus" => {
            *state.statuses.lock().unwrap() += 1;
            let asked = PodSandboxStatusRequest::decode(&body[5..]).unwrap();
            let found = sandboxes.iter().find(|one| one.0 == asked.pod_sandbox_id);
            let Some(Sandbox(_, _, addresses, is)) = found else {
                return Ok(refused("5"));
            };
            let mut ips = addresses.iter().map(ToString::to_string);
            one(&PodSandboxStatusResponse {
                status: Some(PodSandboxStatus {
                    state: ready(*is) as i32,
                    network: Some(PodSandboxNetworkStatus {
                        ip: ips.next().unwrap_or_default(),
                        additional_ips: ips.map(|ip| PodIp { ip }).collect(),
                    }),
                }),
            })
        }
        _ => refused("12"),
    })
}

/// gRPC's length-prefixed message.
fn frame(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut bytes).unwrap();
    bytes.freeze()
}

fn one(message: &impl Message) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = [Frame::data(frame(message)), Frame::trailers(trailers)];
    respond(StreamBody::new(stream::iter(frames.map(Ok))))
}

fn refused(status: &str) -> Answer {
    let mut answer = respond(http_body_util::Empty::new());
    answer
        .headers_mut()
        .insert("grpc-status", status.parse().unwrap());
    answer
}

fn respond(body: impl Body<Data = Bytes, Error = Infallible> + Send + 'static) -> Answer {
    Response::builder()
        .header("content-type", "application/grpc")
        .body(body.boxed_unsync())
        .unwrap()
}
