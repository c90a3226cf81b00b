//! STS as its Query API has it: `AssumeRole` and `GetCallerIdentity`, XML out, parameters checked as AWS checks them.
//!
//! The caller is told by the access key ID and the session token of the request; its signature is not verified.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::config::{Config, Trust, after};
use super::control;
use super::faults::{Fault, Faults, Service};
use super::journal::{Issued, Journal, Record, StsCall};
use super::query::{REQUEST_ID, Refusal, envelope, escape, read};
use super::server::{Face, Outcome, Received};
use super::tree;

const VERSION: &str = "2011-06-15";
/// The cap of a session whose caller has an assumed role itself (role chaining), in seconds.
const CHAINED: u32 = 3600;

/// The face of STS.
#[derive(Debug)]
pub(super) struct Sts {
    config: Arc<Config>,
    faults: Faults,
    journal: Journal,
    calls: AtomicU64,
    /// Sessions by access key ID. A lock: many connections write, each for the time of one insertion.
    sessions: Mutex<HashMap<String, Caller>>,
}

/// Who may call: the owner of a session.
#[derive(Clone, Debug)]
struct Caller {
    arn: String,
    user_id: String,
    token: String,
    expires_at: Timestamp,
}

/// What became of credentials that no longer work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `ExpiredToken`: their time is over.
    Expired,
    /// `InvalidClientTokenId`: they are not known any more.
    Revoked,
}

/// The node's credentials of this number, as a session: the access key ID, and whose it is.
fn node(config: &Config, number: u8) -> (String, Caller) {
    let caller = Caller {
        arn: format!(
            "arn:aws:sts::{}:assumed-role/{}/i-0aab1ab1ab1ab1ab1",
            config.account, config.node_role
        ),
        user_id: "AROALABNODE000000001:i-0aab1ab1ab1ab1ab1".into(),
        token: tree::node_session_token(number),
        expires_at: Timestamp::MAX,
    };
    (tree::node_access_key_id(number), caller)
}

impl Sts {
    pub(super) fn new(config: Arc<Config>, faults: Faults, journal: Journal) -> Self {
        let sessions = [tree::NODE_CREDENTIALS, tree::INSTANCE_CREDENTIALS]
            .map(|number| node(&config, number))
            .into();
        Self {
            config,
            faults,
            journal,
            calls: AtomicU64::new(0),
            sessions: Mutex::new(sessions),
        }
    }

    /// From now on the node's credentials of number `new` are good, and those of `old` are of no use.
    pub(super) fn replace_node_credentials(&self, old: u8, new: u8, end: End) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.extend([node(&self.config, new)]);
        if let Some(caller) = sessions.get_mut(&tree::node_access_key_id(old)) {
            match end {
                End::Expired => caller.expires_at = Timestamp::MIN,
                End::Revoked => caller.token.clear(),
            }
        }
    }

    fn respond(&self, call: &mut StsCall, token: Option<&str>) -> Result<String, Refusal> {
        let parameters = &call.parameters;
        if parameters.get("Version").map(String::as_str) != Some(VERSION) {
            return Err(Refusal::new(
                400,
                "InvalidAction",
                format!("no such action in this version: {}", call.action),
            ));
        }
        let caller = self.caller(call.access_key_id.as_deref(), token)?;
        match call.action.as_str() {
            "AssumeRole" => self.assume_role(call, &caller),
            "GetCallerIdentity" => Ok(envelope(
                &call.action,
                &format!(
                    "<Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>",
                    escape(&caller.arn),
                    escape(&caller.user_id),
                    caller.arn.split(':').nth(4).unwrap_or_default(),
                ),
            )),
            other => Err(Refusal::new(
                400,
                "InvalidAction",
                format!("could not find operation {other}"),
            )),
        }
    }

    /// Names the caller. A key that the lab did not issue is taken for an IAM user's of the account.
    fn caller(&self, key: Option<&str>, token: Option<&str>) -> Result<Caller, Refusal> {
        let Some(key) = key else {
            return Err(Refusal::new(
                403,
                "MissingAuthenticationToken",
                "Request is missing Authentication Token",
            ));
        };
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        match sessions.get(key) {
            Some(caller) if token != Some(&caller.token) => Err(Refusal::new(
                403,
                "InvalidClientTokenId",
                "The security token included in the request is invalid.",
            )),
            Some(caller) if caller.expires_at <= self.config.now.get() => Err(Refusal::new(
                403,
                "ExpiredToken",
                "The security token included in the request is expired",
            )),
            Some(caller) => Ok(caller.clone()),
            None => Ok(Caller {
                arn: format!("arn:aws:iam::{}:user/lab", self.config.account),
                user_id: "AIDALABUSER000000001".into(),
                token: String::new(),
                expires_at: Timestamp::MAX,
            }),
        }
    }

    fn assume_role(&self, call: &mut StsCall, caller: &Caller) -> Result<String, Refusal> {
        let invalid = |message: String| Refusal::new(400, "ValidationError", message);
        let role_arn = call.role_arn.clone().unwrap_or_default();
        let session = call.role_session_name.clone().unwrap_or_default();
        let Some(role) = Role::parse(&role_arn) else {
            return Err(invalid(format!("{role_arn} is invalid")));
        };
        if !matches_class(&session, "_+=,.@-", 2..=64) {
            return Err(invalid(format!(
                "Value '{session}' at 'roleSessionName' failed to satisfy constraint"
            )));
        }
        if call
            .external_id
            .as_ref()
            .is_some_and(|id| !matches_class(id, "_+=,.@:/-", 2..=1224))
        {
            return Err(invalid(
                "Value at 'externalId' failed to satisfy constraint".into(),
            ));
        }
        let duration = match call.parameters.get("DurationSeconds") {
            None => CHAINED,
            Some(_) => call
                .duration_seconds
                .filter(|seconds| (900..=43200).contains(seconds))
                .ok_or_else(|| {
                    invalid(
                        "Value at 'durationSeconds' failed to satisfy constraint: 900..43200"
                            .into(),
                    )
                })?,
        };
        if caller.arn.contains(":assumed-role/") && duration > CHAINED {
            return Err(invalid(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining".into(),
            ));
        }
        let trusted = match self.config.trusts.get(&role_arn) {
            None => true,
            Some(Trust::Nobody) => false,
            Some(Trust::ExternalId(id)) => call.external_id.as_ref() == Some(id),
        };
        if !trusted {
            return Err(access_denied(&caller.arn, &role_arn));
        }
        let lifetime = self
            .config
            .session_lifetime
            .unwrap_or(Duration::from_secs(duration.into()));
        let arn = format!(
            "arn:{}:sts::{}:assumed-role/{}/{session}",
            role.partition, role.account, role.name
        );
        let (issued, id) = self.issue(&arn, &session, lifetime);
        let xml = format!(
            "<AssumedRoleUser><AssumedRoleId>{}</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser><Credentials>\
             <AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
             <Expiration>{}</Expiration></Credentials>",
            escape(&id),
            escape(&arn),
            issued.access_key_id,
            issued.secret_access_key,
            issued.session_token,
            issued.expiration,
        );
        call.issued = Some(issued);
        Ok(envelope("AssumeRole", &xml))
    }

    /// Makes credentials that no other call gets, and remembers whose they are.
    fn issue(&self, arn: &str, session: &str, lifetime: Duration) -> (Issued, String) {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let expires_at = after(self.config.now.get(), lifetime);
        let issued = Issued {
            access_key_id: format!("ASIALAB{number:013}"),
            secret_access_key: format!("labsecret{number:013}/abcdefghijklmnopq"),
            session_token: format!("labtoken{number:013}//////////{}==", "A".repeat(300)),
            expiration: expires_at.to_string(),
        };
        let user_id = format!("AROALAB00000000000001:{session}");
        let token = issued.session_token.clone();
        let caller = Caller {
            arn: arn.into(),
            user_id: user_id.clone(),
            token,
            expires_at,
        };
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(issued.access_key_id.clone(), caller);
        (issued, user_id)
    }
}

impl Face for Sts {
    async fn answer(&self, request: Received) -> Outcome {
        if let Some(outcome) = control::answer(&request, &self.faults, &self.journal) {
            return outcome;
        }
        let mut call = read(&request);
        let place = self.journal.arrived(Record::Sts(Box::new(call.clone())));
        let role = call.role_arn.clone().unwrap_or_default();
        let result = match self.faults.strike(Service::Sts, &role).await {
            None | Some(Fault::Hang) => {
                self.respond(&mut call, request.header("x-amz-security-token"))
            }
            Some(Fault::Status(status)) => Err(Refusal::new(status, "InternalFailure", "injected")),
            Some(Fault::Throttling) => Err(Refusal::new(400, "Throttling", "Rate exceeded")),
            Some(Fault::AccessDenied) => Err(access_denied(
                "arn:aws:sts::000000000000:assumed-role/injected/i",
                &role,
            )),
            Some(Fault::Garbage) => Ok("<html>not what you asked for".into()),
            Some(Fault::Reset) => return Outcome::Reset,
        };
        let (status, xml) = match result {
            Ok(xml) => (200, xml),
            Err(refusal) => {
                call.error = Some(refusal.code.into());
                (refusal.status, refusal.to_xml())
            }
        };
        call.status = Some(status);
        self.journal
            .amend(place, |record| *record = Record::Sts(Box::new(call)));
        Outcome::answer(status, "text/xml", &[("x-amzn-requestid", REQUEST_ID)], xml)
    }
}

/// The parts of a role ARN that its sessions' ARN repeats (the path is not among them).
struct Role<'a> {
    partition: &'a str,
    account: &'a str,
    name: &'a str,
}

impl<'a> Role<'a> {
    fn parse(arn: &'a str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let ("arn", partition, "iam", "", account) = (
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next()?,
        ) else {
            return None;
        };
        let name = parts.next()?.strip_prefix("role/")?.rsplit('/').next()?;
        let right = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        (right && matches_class(name, "_+=,.@-", 1..=64)).then_some(Self {
            partition,
            account,
            name,
        })
    }
}

/// Whether `text` is of letters, digits and `others` alone, and of a length in `range`.
fn matches_class(text: &str, others: &str, range: std::ops::RangeInclusive<usize>) -> bool {
    range.contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

fn access_denied(caller: &str, role: &str) -> Refusal {
    let message =
        format!("User: {caller} is not authorized to perform: sts:AssumeRole on resource: {role}");
    Refusal::new(403, "AccessDenied", message)
}
