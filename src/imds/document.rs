//! The bodies and headers of replies, exactly as clients of IMDS expect them: no newline after a role's name (a second
//! line panics the Rust SDK), `Server: EC2ws`, text/plain.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use podiam_iam::RoleArn;

/// A reply to a pod.
pub type Reply = Response<Full<Bytes>>;

/// `X-Aws-Ec2-Metadata-Token-Ttl-Seconds`, in the request for a token and in its reply.
pub const TOKEN_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
/// `X-Aws-Ec2-Metadata-Token`.
pub const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
/// `X-Forwarded-For`: a request for a token that carries it came through a proxy.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

const SERVER: HeaderValue = HeaderValue::from_static("EC2ws");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 200 with a text.
pub fn text(body: impl Into<Bytes>) -> Reply {
    reply(StatusCode::OK, TEXT, body.into())
}

/// 200 with a JSON document.
pub fn json(body: impl Into<Bytes>) -> Reply {
    reply(StatusCode::OK, JSON, body.into())
}

/// 200 with a document of the real metadata service.
pub fn passed_on(body: Bytes, content_type: Option<HeaderValue>) -> Reply {
    reply(StatusCode::OK, content_type.unwrap_or(TEXT), body)
}

/// 200 with a token; its TTL is repeated, without which the Rust SDK gives up.
pub fn token(token: String, ttl_seconds: u32) -> Reply {
    let mut reply = text(token);
    reply
        .headers_mut()
        .insert(TOKEN_TTL, HeaderValue::from(ttl_seconds));
    reply
}

/// A refusal: one line that says why.
pub fn refusal(status: u16, why: &str) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply(status, TEXT, Bytes::from(format!("{why}\n")))
}

/// 405 with the methods that are allowed.
pub fn method_not_allowed(why: &str, allowed: &'static str) -> Reply {
    let mut reply = refusal(405, why);
    reply
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allowed));
    reply
}

/// The same reply, with which the connection ends.
pub fn closing(mut reply: Reply) -> Reply {
    reply
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// `iam/info` as it would be if the pod were an instance with this role's profile.
pub fn iam_info(role: &RoleArn, now: Timestamp) -> Bytes {
    let profile = role.as_str().replacen(":role/", ":instance-profile/", 1);
    let document = serde_json::json!({
        "Code": "Success",
        "LastUpdated": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "InstanceProfileArn": profile,
        // Instance profiles have IDs, the pod has none; nobody is told one that might belong to somebody.
        "InstanceProfileId": "podiam",
    });
    Bytes::from(document.to_string())
}

fn reply(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::SERVER, SERVER);
    headers.insert(header::CONTENT_TYPE, content_type);
    reply
}
