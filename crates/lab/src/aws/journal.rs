//! The log of everything that the lab's AWS was asked. The two faces write it; tests and `/lab/log` read it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;
use tokio::sync::watch;

/// One request to one of the services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "service", rename_all = "lowercase")]
pub enum Record {
    /// To IMDS.
    Imds(ImdsRequest),
    /// To STS.
    Sts(Box<StsCall>),
}

impl Record {
    /// The IMDS request, if it is one.
    pub fn into_imds(self) -> Option<ImdsRequest> {
        if let Self::Imds(request) = self {
            Some(request)
        } else {
            None
        }
    }

    /// The STS call, if it is one.
    pub fn into_sts(self) -> Option<StsCall> {
        if let Self::Sts(call) = self {
            Some(*call)
        } else {
            None
        }
    }
}

/// A request to IMDS, as it came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImdsRequest {
    /// Who asked.
    pub peer: SocketAddr,
    /// The method.
    pub method: String,
    /// The request target, byte for byte: neither decoded nor normalised.
    pub target: String,
    /// The headers in their order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Status of the answer; `None`: not answered (yet).
    pub status: Option<u16>,
}

/// A call to STS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StsCall {
    /// Who asked.
    pub peer: SocketAddr,
    /// `Action`.
    pub action: String,
    /// `RoleArn`.
    pub role_arn: Option<String>,
    /// `RoleSessionName`.
    pub role_session_name: Option<String>,
    /// `ExternalId`.
    pub external_id: Option<String>,
    /// `DurationSeconds`, if it is a number.
    pub duration_seconds: Option<u32>,
    /// Every parameter of the form, those above too.
    pub parameters: BTreeMap<String, String>,
    /// Access key ID of the caller, from the signature.
    pub access_key_id: Option<String>,
    /// Region that the request was signed for.
    pub signing_region: Option<String>,
    /// Status of the answer; `None`: not answered (yet).
    pub status: Option<u16>,
    /// Error code of the answer.
    pub error: Option<String>,
    /// The credentials that were handed out.
    pub issued: Option<Issued>,
}

/// Credentials that STS handed out; each call's are its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issued {
    /// `ASIALAB` and 13 digits that count the calls.
    pub access_key_id: String,
    /// `labsecret`, the same digits, and filling up to 40 characters.
    pub secret_access_key: String,
    /// `labtoken`, the same digits, and filling.
    pub session_token: String,
    /// `YYYY-MM-DDTHH:MM:SSZ`.
    pub expiration: String,
}

/// The log itself. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal(watch::Sender<Vec<Record>>);

impl Journal {
    /// Writes down a request that has just come in, and returns where: the answer is added with [`Journal::amend`].
    pub(super) fn arrived(&self, record: Record) -> usize {
        let mut place = 0;
        self.0.send_modify(|records| {
            place = records.len();
            records.push(record);
        });
        place
    }

    /// Completes a record.
    pub(super) fn amend(&self, place: usize, change: impl FnOnce(&mut Record)) {
        self.0.send_modify(|records| {
            if let Some(record) = records.get_mut(place) {
                change(record);
            }
        });
    }

    pub(super) fn snapshot(&self) -> Vec<Record> {
        self.0.borrow().clone()
    }

    pub(super) async fn wait_until(
        &self,
        mut condition: impl FnMut(&[Record]) -> bool,
    ) -> Vec<Record> {
        let mut reader = self.0.subscribe();
        match reader.wait_for(|records| condition(records)).await {
            Ok(records) => records.clone(),
            // The sender is `self`, so it cannot be gone; if it were, what is there is all there will be.
            Err(_) => self.snapshot(),
        }
    }
}
