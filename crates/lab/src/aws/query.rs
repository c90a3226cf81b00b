//! The Query API's outer form: a call out of an HTTP form and its signature, results and errors as XML.

use std::collections::BTreeMap;

use super::journal::StsCall;
use super::server::Received;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// Every answer's request ID.
pub(super) const REQUEST_ID: &str = "00000000-1ab0-1ab0-1ab0-000000000000";

/// Reads a call out of its form and its signature.
pub(super) fn read(request: &Received) -> StsCall {
    let query = request
        .target
        .split_once('?')
        .map_or("", |(_, query)| query);
    let pairs =
        form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(&request.body));
    let parameters: BTreeMap<String, String> = pairs
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    let get = |name: &str| parameters.get(name).cloned();
    // AWS4-HMAC-SHA256 Credential=AKID/20261124/us-east-1/sts/aws4_request, SignedHeaders=..., Signature=...
    let authorization = request.header("authorization").unwrap_or_default();
    let scope = authorization
        .split_once("Credential=")
        .map_or("", |(_, rest)| rest);
    let mut scope = scope
        .split([',', ' '])
        .next()
        .unwrap_or_default()
        .split('/');
    let access_key_id = scope
        .next()
        .filter(|key| !key.is_empty())
        .map(str::to_owned);
    let signing_region = scope.nth(1).map(str::to_owned);
    StsCall {
        peer: request.peer,
        action: get("Action").unwrap_or_default(),
        role_arn: get("RoleArn"),
        role_session_name: get("RoleSessionName"),
        external_id: get("ExternalId"),
        duration_seconds: get("DurationSeconds").and_then(|seconds| seconds.parse().ok()),
        parameters,
        access_key_id,
        signing_region,
        status: None,
        error: None,
        issued: None,
    }
}

/// An error answer.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    /// The error as XML.
    pub(super) fn to_xml(&self) -> String {
        let side = if self.status < 500 {
            "Sender"
        } else {
            "Receiver"
        };
        format!(
            "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{side}</Type><Code>{}</Code><Message>{}</Message></Error>\
             <RequestId>{REQUEST_ID}</RequestId></ErrorResponse>",
            self.code,
            escape(&self.message),
        )
    }
}

/// A result as XML.
pub(super) fn envelope(action: &str, result: &str) -> String {
    format!(
        "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result><ResponseMetadata>\
         <RequestId>{REQUEST_ID}</RequestId></ResponseMetadata></{action}Response>"
    )
}

/// Text as XML has it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
