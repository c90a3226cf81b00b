//! The real metadata service (IMDS) as a typed client: the pass-through and the discovery at the start ask it here.
//!
//! A request is built from a path that has been judged already and from our own `IMDSv2` session token, and from nothing
//! else: no byte of a pod's headers reaches it, and `X-Forwarded-For` is never sent. It follows no redirect, falls back
//! to no `IMDSv1`, and never decides what a pod may see.

mod discovery;
mod session;

#[cfg(test)]
pub(crate) mod responder;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error;
use tokio::sync::{OnceCell, Semaphore};

use self::session::{Session, TOKEN_HEADER};

/// The time one [`Upstream::get`] may take, with everything it has to do. SDKs wait 1 s themselves.
pub const TIME_LIMIT: Duration = Duration::from_secs(1);

/// The largest document that is read; the largest that AWS serves is user-data with 16 KiB (22 KiB in base64).
pub const BODY_LIMIT: usize = 256 * 1024;

/// Requests in flight at once. AWS allows 1024 packets per second and interface, shared with DNS and NTP.
const CONCURRENCY: usize = 16;

/// Connections kept open between requests, and for how long.
const IDLE_CONNECTIONS: usize = 4;
const IDLE_TIME: Duration = Duration::from_secs(30);

/// Documents that cannot change while the instance runs: a change needs a stop, and a stop ends this process. They are
/// asked for once. Absent documents are not remembered.
const IMMUTABLE: &[&str] = &[
    "/latest/dynamic/instance-identity/document",
    "/latest/meta-data/ami-id",
    "/latest/meta-data/ami-launch-index",
    "/latest/meta-data/hostname",
    "/latest/meta-data/instance-id",
    "/latest/meta-data/instance-type",
    "/latest/meta-data/local-hostname",
    "/latest/meta-data/local-ipv4",
    "/latest/meta-data/mac",
    "/latest/meta-data/placement/availability-zone",
    "/latest/meta-data/placement/availability-zone-id",
    "/latest/meta-data/placement/region",
    "/latest/meta-data/reservation-id",
    "/latest/meta-data/services/domain",
    "/latest/meta-data/services/partition",
];

/// What the metadata service answered. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Document {
    /// The body, at most [`BODY_LIMIT`] bytes.
    pub body: Bytes,
    /// `Content-Type`, if there was one.
    pub content_type: Option<HeaderValue>,
}

/// Why the metadata service could not be asked, or what was wrong with its answer.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// The address is not `host` or `host:port`.
    #[error("the metadata address {address:?} is not a host with an optional port")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        source: hyper::http::uri::InvalidUri,
    },
    /// The path cannot stand in a request line.
    #[error("the metadata path {path:?} cannot be sent")]
    Path {
        /// The path that was asked for.
        path: String,
    },
    /// No answer within [`TIME_LIMIT`].
    #[error("the metadata service did not answer within {TIME_LIMIT:?}")]
    Timeout,
    /// No connection, or it broke before the answer began.
    #[error("the metadata service cannot be reached")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    /// The answer broke off.
    #[error("the metadata service's answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is larger than [`BODY_LIMIT`].
    #[error("the metadata service's answer is larger than {BODY_LIMIT} bytes")]
    TooLarge,
    /// 403: the service is switched off for this instance, or someone else answers in its place.
    #[error("the metadata service refuses requests (403): is it enabled for this instance?")]
    Disabled,
    /// A token is refused right after it was issued.
    #[error("the metadata service refuses the token that it has just issued")]
    Unauthorized,
    /// The answer to the token request is not a token.
    #[error("the metadata service's session token is not one")]
    MalformedToken,
    /// A status that says nothing about the document.
    #[error("the metadata service answered {status}")]
    Status {
        /// The status.
        status: StatusCode,
    },
    /// A document that we read ourselves is not what AWS documents.
    #[error("the metadata document {path} is malformed: {problem}")]
    Malformed {
        /// The document's path.
        path: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// A client of the real metadata service.
pub struct Upstream {
    authority: Authority,
    client: Client<HttpConnector, Empty<Bytes>>,
    session: Session,
    immutable: HashMap<&'static str, OnceCell<Document>>,
    permits: Semaphore,
}

impl Upstream {
    /// A client of the metadata service at `address`, `host` or `host:port`. Nothing is sent before it is asked.
    pub fn new(address: &str) -> Result<Self, UpstreamError> {
        let authority = address.parse().map_err(|source| UpstreamError::Address {
            address: address.to_owned(),
            source,
        })?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build_http();
        Ok(Self {
            authority,
            client,
            session: Session::default(),
            immutable: IMMUTABLE
                .iter()
                .map(|path| (*path, OnceCell::new()))
                .collect(),
            permits: Semaphore::new(CONCURRENCY),
        })
    }

    /// The document at `path` (such as `/latest/meta-data/instance-id`), or `None` where the service says 404. The
    /// caller has judged the path: it is sent as it is. Answers within [`TIME_LIMIT`].
    pub async fn get(&self, path: &str) -> Result<Option<Document>, UpstreamError> {
        tokio::time::timeout(TIME_LIMIT, self.get_remembered(path))
            .await
            .unwrap_or(Err(UpstreamError::Timeout))
    }

    async fn get_remembered(&self, path: &str) -> Result<Option<Document>, UpstreamError> {
        let Some(cell) = self.immutable.get(path) else {
            return self.fetch(path).await;
        };
        // The cell lets one caller ask while the others wait for its answer.
        let document = cell
            .get_or_try_init(|| async {
                match self.fetch(path).await {
                    Ok(Some(document)) => Ok(document),
                    Ok(None) => Err(None),
                    Err(error) => Err(Some(error)),
                }
            })
            .await;
        match document {
            Ok(document) => Ok(Some(document.clone())),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    /// Asks with the token at hand, and once more with a new one where the service says 401: it forgets its tokens
    /// when it is switched off and on again.
    async fn fetch(&self, path: &str) -> Result<Option<Document>, UpstreamError> {
        // The semaphore is never closed, so that the permit is there whenever this returns.
        let _permit = self.permits.acquire().await;
        let uri = self.uri(path)?;
        let token = self.session.token(self).await?;
        let mut response = self.send(document_request(&uri, token.header())).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.session.forget(&token).await;
            let token = self.session.token(self).await?;
            response = self.send(document_request(&uri, token.header())).await?;
        }
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::UNAUTHORIZED => return Err(UpstreamError::Unauthorized),
            StatusCode::FORBIDDEN => return Err(UpstreamError::Disabled),
            status => return Err(UpstreamError::Status { status }),
        }
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let body = read(response).await?;
        Ok(Some(Document { body, content_type }))
    }

    fn uri(&self, path: &str) -> Result<Uri, UpstreamError> {
        let refused = || UpstreamError::Path {
            path: path.to_owned(),
        };
        let path = PathAndQuery::try_from(path).map_err(|_| refused())?;
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|_| refused())
    }

    async fn send(
        &self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<hyper::body::Incoming>, UpstreamError> {
        self.client
            .request(request)
            .await
            .map_err(UpstreamError::Unreachable)
    }
}

fn document_request(uri: &Uri, token: HeaderValue) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri.clone();
    request.headers_mut().insert(TOKEN_HEADER, token);
    request
}

/// Reads a whole answer, up to [`BODY_LIMIT`].
async fn read(response: Response<hyper::body::Incoming>) -> Result<Bytes, UpstreamError> {
    match Limited::new(response.into_body(), BODY_LIMIT)
        .collect()
        .await
    {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(UpstreamError::TooLarge),
        Err(error) => Err(UpstreamError::Body(error)),
    }
}

#[cfg(test)]
mod tests;
