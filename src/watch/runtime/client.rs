//! gRPC over the runtime's socket: tonic's framing on one HTTP/2 connection of hyper's. No TLS and no load balancing: a
//! Unix socket needs neither, so tonic's transport, and all that it would bring, is left out.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use super::messages::{
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxState,
    PodSandboxStatusRequest, PodSandboxStatusResponse,
};

/// The longest wait for an answer. The kubelet waits two minutes; ours are about what is in the runtime's memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer, as the kubelet's (`maxMsgSize`).
const LARGEST: usize = 16 * 1024 * 1024;

/// Why the runtime cannot be asked.
#[derive(Debug, Error)]
pub(super) enum RuntimeError {
    #[error("cannot connect to {0}: check --cri-socket, and that the agent may use it")]
    Connect(PathBuf, #[source] io::Error),
    #[error("what answers at the socket does not speak HTTP/2")]
    Handshake(#[source] hyper::Error),
    #[error("the runtime has closed the connection")]
    Closed(#[source] hyper::Error),
    #[error(
        "the runtime has no {0} of runtime.v1: check --cri-socket; CRI v1 came with containerd 1.6"
    )]
    NoCri(&'static str),
    #[error("the runtime refuses {0}")]
    Refused(&'static str, #[source] Box<Status>),
    #[error("the runtime has not answered {0} within {PATIENCE:?}")]
    Silent(&'static str),
    #[error("the runtime names an address that is none: {0:?}")]
    Address(String),
}

/// One connection.
pub(super) struct Client(Grpc<Http2>);

impl Client {
    pub(super) async fn connect(socket: &Path) -> Result<Self, RuntimeError> {
        let connecting = timeout(PATIENCE, UnixStream::connect(socket));
        let stream = connecting
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| RuntimeError::Connect(socket.to_owned(), error))?;
        let (requests, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(RuntimeError::Handshake)?;
        // Ends with the last of the requests' handles.
        tokio::spawn(connection);
        let origin = Uri::from_static("http://localhost");
        let grpc = Grpc::with_origin(Http2(requests), origin).max_decoding_message_size(LARGEST);
        Ok(Self(grpc))
    }

    pub(super) async fn sandboxes(&mut self) -> Result<Vec<PodSandbox>, RuntimeError> {
        let answer: ListPodSandboxResponse = self
            .ask(
                "ListPodSandbox",
                "/runtime.v1.RuntimeService/ListPodSandbox",
                ListPodSandboxRequest {},
            )
            .await?;
        Ok(answer.items)
    }

    /// The addresses of a sandbox; `None` where it is not ready or gone, or has no address yet.
    pub(super) async fn addresses(
        &mut self,
        id: &str,
    ) -> Result<Option<Vec<IpAddr>>, RuntimeError> {
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let answer = self
            .ask(
                "PodSandboxStatus",
                "/runtime.v1.RuntimeService/PodSandboxStatus",
                request,
            )
            .await;
        let answer: PodSandboxStatusResponse = match answer {
            Err(RuntimeError::Refused(_, status)) if status.code() == Code::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
        let ready = answer
            .status
            .filter(|status| status.state == PodSandboxState::Ready as i32);
        let Some(network) = ready.and_then(|status| status.network) else {
            return Ok(None);
        };
        let further = network.additional_ips.into_iter().map(|more| more.ip);
        let addresses: Vec<IpAddr> = [network.ip]
            .into_iter()
            .chain(further)
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().map_err(|_| RuntimeError::Address(text)))
            .collect::<Result<_, _>>()?;
        Ok((!addresses.is_empty()).then_some(addresses))
    }

    async fn ask<Q, A>(
        &mut self,
        name: &'static str,
        path: &'static str,
        request: Q,
    ) -> Result<A, RuntimeError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.0.ready().await.map_err(RuntimeError::Closed)?;
        let asking = self.0.unary(
            tonic::Request::new(request),
            PathAndQuery::from_static(path),
            ProstCodec::default(),
        );
        match timeout(PATIENCE, asking).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) if status.code() == Code::Unimplemented => {
                Err(RuntimeError::NoCri(name))
            }
            Ok(Err(status)) => Err(RuntimeError::Refused(name, Box::new(status))),
            Err(_) => Err(RuntimeError::Silent(name)),
        }
    }
}

/// hyper's connection as the service that tonic asks for.
#[derive(Clone)]
struct Http2(SendRequest<Body>);

impl Service<Request<Body>> for Http2 {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
