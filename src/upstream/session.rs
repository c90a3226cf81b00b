//! Our own `IMDSv2` session with the real metadata service: one token for all requests, renewed before it ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Upstream, UpstreamError, read};

/// Carries the token of a request.
pub(super) const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");

const TTL_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// The longest life that AWS allows, in seconds.
const TTL: HeaderValue = HeaderValue::from_static("21600");

/// A token is renewed at this age, five minutes before its end.
const RENEWAL_AGE: Duration = Duration::from_mins(355);

const TOKEN_PATH: &str = "/latest/api/token";

/// The session. The lock is held while a token is fetched: whoever comes meanwhile needs that same token, so that
/// waiting for it is the single flight.
#[derive(Default)]
pub(super) struct Session(Mutex<Option<Arc<Token>>>);

/// A token of the real metadata service. It must never reach a pod: its header is marked sensitive.
pub(super) struct Token {
    header: HeaderValue,
    renew_at: Instant,
}

impl Token {
    /// The value of [`TOKEN_HEADER`].
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

impl Session {
    /// The token at hand, or a new one.
    pub(super) async fn token(&self, upstream: &Upstream) -> Result<Arc<Token>, UpstreamError> {
        let mut current = self.0.lock().await;
        if let Some(token) = &*current
            && Instant::now() < token.renew_at
        {
            return Ok(Arc::clone(token));
        }
        let token = Arc::new(fetch(upstream).await?);
        *current = Some(Arc::clone(&token));
        Ok(token)
    }

    /// Drops `refused`, unless someone else has replaced it already.
    pub(super) async fn forget(&self, refused: &Arc<Token>) {
        let mut current = self.0.lock().await;
        if current
            .as_ref()
            .is_some_and(|token| Arc::ptr_eq(token, refused))
        {
            *current = None;
        }
    }
}

async fn fetch(upstream: &Upstream) -> Result<Token, UpstreamError> {
    let asked_at = Instant::now();
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::PUT;
    *request.uri_mut() = upstream.uri(TOKEN_PATH)?;
    request.headers_mut().insert(TTL_HEADER, TTL);
    let response = upstream.send(request).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::FORBIDDEN => return Err(UpstreamError::Disabled),
        status => return Err(UpstreamError::Status { status }),
    }
    let body = read(response).await?;
    if body.is_empty() {
        return Err(UpstreamError::MalformedToken);
    }
    let mut header =
        HeaderValue::from_maybe_shared(body).map_err(|_| UpstreamError::MalformedToken)?;
    header.set_sensitive(true);
    Ok(Token {
        header,
        renew_at: asked_at + RENEWAL_AGE,
    })
}
