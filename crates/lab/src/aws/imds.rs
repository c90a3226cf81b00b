//! The instance metadata service: IMDSv1 and IMDSv2 with their checks, over the node's [`Tree`].
//!
//! Answers are those of AWS's user guide: 400 for a token without a right lifetime, 403 for one asked for through a
//! proxy, 401 for a bad token, 404 for an unknown path, 405 for other methods.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use tokio::time::Instant;

use super::config::{CANARY, Config, TokenPolicy};
use super::faults::{Fault, Faults, Service};
use super::journal::{ImdsRequest, Journal, Record};
use super::server::{Face, Outcome, Received};
use super::tree::{self, Tree};

const TOKEN: &str = "x-aws-ec2-metadata-token";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_PATH: &str = "/latest/api/token";
const SERVER: (&str, &str) = ("server", "EC2ws");

/// The face of IMDS.
#[derive(Debug)]
pub(super) struct Imds {
    config: Arc<Config>,
    tree: Tree,
    faults: Faults,
    journal: Journal,
    /// The number of the credentials that the node's role has now.
    node_credentials: AtomicU8,
    /// Tokens and when they end. A lock: many connections write, each for the time of one insertion.
    tokens: Mutex<HashMap<String, Instant>>,
}

impl Imds {
    pub(super) fn new(config: Arc<Config>, faults: Faults, journal: Journal) -> Self {
        let tree = Tree::new(&config, config.now.get());
        Self {
            config,
            tree,
            faults,
            journal,
            node_credentials: AtomicU8::new(tree::NODE_CREDENTIALS),
            tokens: Mutex::default(),
        }
    }

    /// Gives the node's role its next credentials and tells both numbers: the old and the new one.
    pub(super) fn rotate_node_credentials(&self) -> (u8, u8) {
        let old = self.node_credentials.fetch_add(1, Ordering::SeqCst);
        (old, old + 1)
    }

    fn respond(&self, request: &Received) -> Outcome {
        if request.target == TOKEN_PATH {
            return match request.method {
                Method::PUT => self.issue_token(request),
                _ => error(405, "Method Not Allowed"),
            };
        }
        if request.method != Method::GET && request.method != Method::HEAD {
            return error(405, "Method Not Allowed");
        }
        let authorised = match request.header(TOKEN) {
            Some(token) => self.is_valid(token),
            None => self.config.tokens == TokenPolicy::Optional,
        };
        if !authorised {
            return error(401, "Unauthorized");
        }
        let node = self.node_credentials.load(Ordering::SeqCst);
        match self.tree.find(&request.target, self.config.now.get(), node) {
            Some(body) => Outcome::answer(
                200,
                "text/plain",
                &[SERVER, ("accept-ranges", "none")],
                body,
            ),
            None => error(404, "Not Found"),
        }
    }

    fn issue_token(&self, request: &Received) -> Outcome {
        if request.headers.contains_key("x-forwarded-for") {
            return error(403, "Forbidden");
        }
        let ttl = request.header(TTL).and_then(|ttl| ttl.parse::<u32>().ok());
        let Some(ttl) = ttl.filter(|ttl| (1..=21600).contains(ttl)) else {
            return error(400, "Bad Request");
        };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let token = format!(
            "{CANARY}-imds-token-{:010}-AAAAAAAAAAAAAAAAAA==",
            tokens.len() + 1
        );
        tokens.insert(
            token.clone(),
            Instant::now() + Duration::from_secs(ttl.into()),
        );
        Outcome::answer(200, "text/plain", &[SERVER, (TTL, &ttl.to_string())], token)
    }

    fn is_valid(&self, token: &str) -> bool {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).is_some_and(|end| Instant::now() < *end)
    }
}

impl Face for Imds {
    async fn answer(&self, request: Received) -> Outcome {
        let headers = request.headers.iter();
        let place = self.journal.arrived(Record::Imds(ImdsRequest {
            peer: request.peer,
            method: request.method.to_string(),
            target: request.target.clone(),
            headers: headers
                .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into()))
                .collect(),
            status: None,
        }));
        let outcome = match self.faults.strike(Service::Imds, &request.target).await {
            None | Some(Fault::Hang) => self.respond(&request),
            Some(Fault::Status(status)) => error(status, "Injected"),
            Some(Fault::Throttling) => error(429, "Too Many Requests"),
            Some(Fault::AccessDenied) => error(403, "Forbidden"),
            Some(Fault::Garbage) => {
                Outcome::answer(200, "text/plain", &[SERVER], "\u{1f}not what you asked for")
            }
            Some(Fault::Reset) => Outcome::Reset,
        };
        self.journal.amend(place, |record| {
            if let Record::Imds(request) = record {
                request.status = outcome.status();
            }
        });
        outcome
    }
}

/// An error page of the form that IMDS sends.
fn error(status: u16, title: &str) -> Outcome {
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<html xmlns=\"http://www.w3.org/1999/xhtml\">\n <head>\n  \
         <title>{status} - {title}</title>\n </head>\n <body>\n  <h1>{status} - {title}</h1>\n </body>\n</html>\n"
    );
    Outcome::answer(status, "text/html", &[SERVER], page)
}
