//! What a session becomes: the body that pods read, written once, and what may be told of it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::sts::Session;

/// A session as it is handed out. Its secrets are in the body alone.
pub struct Issued {
    body: Bytes,
    /// `AccessKeyId`: no secret, and what `CloudTrail` shows.
    pub access_key_id: String,
    /// When it was asked for.
    pub obtained_at: Timestamp,
    /// `Expiration`, as AWS says it.
    pub expires_at: Timestamp,
    /// Counts the sessions of this process from 1.
    pub serial: u64,
}

impl Issued {
    /// Renders a session. The session itself is not needed afterwards.
    pub(super) fn new(session: &Session) -> Result<Self, serde_json::Error> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        Ok(Self {
            body: render(session)?,
            access_key_id: session.access_key_id.clone(),
            obtained_at: session.obtained_at,
            expires_at: session.expires_at,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// The bytes that every request of the session's life is answered with.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("access_key_id", &self.access_key_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Issued {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Issued {}

/// More than all that stands around the values.
const FRAME: usize = 256;

/// The document of `security-credentials/ROLE`, as the metadata service writes it: these keys in this order.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'a> {
    access_key_id: &'a str,
    code: &'static str,
    expiration: String,
    last_updated: String,
    secret_access_key: &'a str,
    token: &'a str,
    r#type: &'static str,
}

/// Writes a session as one line of JSON. The bytes are wiped when the last clone is dropped.
fn render(session: &Session) -> Result<Bytes, serde_json::Error> {
    let document = Document {
        access_key_id: &session.access_key_id,
        code: "Success",
        expiration: seconds(session.expires_at),
        last_updated: seconds(session.obtained_at),
        secret_access_key: session.secret_access_key.expose(),
        token: session.token.expose(),
        r#type: "AWS-HMAC",
    };
    // Large enough from the start: a buffer that grows leaves a copy of the secret behind.
    let size = FRAME
        + document.access_key_id.len()
        + document.secret_access_key.len()
        + document.token.len();
    let mut buffer = Zeroizing::new(Vec::with_capacity(size));
    serde_json::to_writer(&mut *buffer, &document)?;
    Ok(Bytes::from_owner(buffer))
}

/// `YYYY-MM-DDTHH:MM:SSZ`: the one form that every SDK reads. A fraction is cut, which never raises the time.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn session(secret: &str) -> Session {
        Session {
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: Secret::new(secret),
            token: Secret::new("to+ken/="),
            expires_at: "2026-01-01T01:00:00Z".parse().unwrap(),
            obtained_at: "2026-01-01T00:00:00.999Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_body_is_the_one_line_that_kube2iam_wrote() {
        assert_eq!(
            render(&session("se/cr+et")).unwrap(),
            concat!(
                r#"{"AccessKeyId":"ASIAEXAMPLE","Code":"Success","Expiration":"2026-01-01T01:00:00Z","#,
                r#""LastUpdated":"2026-01-01T00:00:00Z","SecretAccessKey":"se/cr+et","Token":"to+ken/=","Type":"AWS-HMAC"}"#
            )
        );
    }

    #[test]
    fn whatever_the_secret_holds_the_body_is_json() {
        let body = render(&session("a\"b\\c\n")).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(read["SecretAccessKey"], "a\"b\\c\n");
    }
}
