//! An explanation for people: what it comes to first, then why, within the width of a terminal.

use std::fmt::Write;

use jiff::{Timestamp, Unit};

use super::session::{CredentialsState, Failure, NextCall, Session};
use super::{Cause, Explanation, Guard, Owner, Pod, Refusal, Source, Teller, Verdict};

/// The columns that text is wrapped to, 40 or more; ARNs and commands stay whole.
#[derive(Clone, Copy, Debug)]
pub struct Width(pub usize);

/// Where values begin.
const VALUES: usize = 17;
/// The same for guards, whose names are longer.
const GUARDS: usize = 23;

impl Explanation {
    /// All of it as text, which ends with a line end.
    pub fn text(&self, width: Width) -> String {
        let mut page = Page {
            out: String::new(),
            width: width.0.max(40),
        };
        page.headline(self);
        page.pod(&self.pod);
        page.title("Role: the first source that speaks wins");
        for source in &self.sources {
            page.source(source);
        }
        page.title("Guards");
        for guard in &self.guards {
            page.guard(guard);
        }
        if let Some(session) = &self.session {
            page.session(session);
        }
        if let Some(credentials) = &self.credentials {
            page.credentials(credentials, &self.told_at);
        }
        if !self.notes.is_empty() {
            page.title("Notes");
            for sentence in &self.notes {
                page.wrap(2, sentence);
            }
        }
        page.out
    }
}

struct Page {
    out: String,
    width: usize,
}

impl Page {
    fn headline(&mut self, all: &Explanation) {
        let Pod {
            namespace, name, ..
        } = &all.pod;
        let role = all.session.as_ref().map(|session| &session.role_arn);
        match (&all.refusal, role) {
            (None, Some(role)) if all.told_by == Teller::Kubernetes => {
                self.wrap(0, &format!("{namespace}/{name} may have {role}."));
            }
            (None, Some(role)) => self.wrap(0, &format!("{namespace}/{name} has {role}.")),
            (None, None) => self.wrap(0, &format!("{namespace}/{name} has no role.")),
            (Some(refusal), _) => {
                let Refusal { code, status, .. } = refusal;
                self.wrap(
                    0,
                    &format!("{namespace}/{name} gets no credentials: {code} (HTTP {status})."),
                );
                self.refusal(refusal, 2);
            }
        }
    }

    fn refusal(&mut self, refusal: &Refusal, indent: usize) {
        self.labelled(indent, "told", &refusal.text);
        self.labelled(indent, "likely cause", &refusal.cause);
        self.labelled(indent, "what to do", &refusal.fix);
    }

    fn pod(&mut self, pod: &Pod) {
        self.title("Who");
        self.value("pod", &format!("{}/{}", pod.namespace, pod.name));
        self.value("UID", &pod.uid);
        if let Some(node) = &pod.node {
            self.value("node", node);
        }
        self.value(
            "service account",
            pod.service_account.as_deref().unwrap_or("none"),
        );
        if pod.host_network {
            self.value(
                "network",
                "the node's own (hostNetwork): it cannot be told from the node",
            );
        }
        if pod.finished {
            self.value(
                "phase",
                "finished (Succeeded or Failed): it owns no address any more",
            );
        }
        if pod.addresses.is_empty() {
            self.value("address", "none yet");
        }
        for address in &pod.addresses {
            let owner = match address.owner {
                Owner::ThisPod => "this pod's".to_owned(),
                Owner::Node => "the node's".to_owned(),
                Owner::Nobody => "nobody's".to_owned(),
                Owner::AnotherPod => format!("belongs to {}", address.others.join(", ")),
                Owner::Disputed => {
                    format!("refused: also claimed by {}", address.others.join(", "))
                }
            };
            self.value("address", &format!("{}, {owner}", address.ip));
        }
        let token = if pod.token_required {
            "required"
        } else {
            "optional"
        };
        self.value("IMDSv2 token", token);
    }

    fn source(&mut self, source: &Source) {
        let mut text = match (source.says.as_str(), &source.value) {
            ("role", Some(value)) => format!("names {value:?}"),
            ("no-role", _) => "is empty: no role".to_owned(),
            ("silent", _) => "says nothing".to_owned(),
            ("unknown", _) => "is not known yet".to_owned(),
            (other, _) => other.to_owned(),
        };
        if let Some(key) = &source.key {
            let _ = write!(text, " ({key})");
        }
        if source.wins {
            text.push_str(" <- this one");
        }
        self.value(&source.source, &text);
    }

    fn guard(&mut self, guard: &Guard) {
        let verdict = match guard.verdict {
            Verdict::Off => "",
            Verdict::NotAsked => ": not asked, for no role is named",
            Verdict::Exempt => ": does not hold for the default role",
            Verdict::Allows => ": allows the role",
            Verdict::Refuses => ": REFUSES",
            Verdict::WouldRefuse => ": would refuse, and only tells (audit)",
        };
        let label = format!("  {:GUARDS$} ", guard.guard);
        self.hanging(&label, &format!("{}{verdict}", guard.mode));
        if let (Some(key), Some(reads)) = (&guard.key, &guard.reads) {
            self.wrap(6, &format!("{key} = {reads}"));
        }
        if let Some(refusal) = &guard.refusal {
            self.wrap(6, &format!("{}: {}", refusal.code, refusal.text));
        }
    }

    fn session(&mut self, session: &Session) {
        self.title("What is asked of AWS STS");
        self.value("role", &session.role_arn);
        self.value("session name", &session.session_name);
        self.value(
            "external ID",
            session.external_id.as_deref().unwrap_or("none"),
        );
        self.value("duration", &format!("{} s", session.duration_seconds));
        for (key, value) in &session.tags {
            let transitive = if session.tags_transitive {
                " (transitive)"
            } else {
                ""
            };
            self.value("tag", &format!("{key}={value}{transitive}"));
        }
        if let Some(identity) = &session.source_identity {
            self.value("source identity", identity);
        }
        if let Some(policy) = &session.policy {
            self.value("session policy", policy);
        }
        for arn in &session.policy_arns {
            self.value("session policy", arn);
        }
    }

    fn credentials(&mut self, credentials: &CredentialsState, now: &str) {
        self.title("Credentials");
        let valid = if credentials.valid {
            "there are valid ones"
        } else {
            "there are none"
        };
        self.value("state", &format!("{}: {valid}", credentials.state));
        if let Some(at) = &credentials.obtained_at {
            self.value("obtained", &relative(at, now));
        }
        if let Some(at) = &credentials.expires_at {
            self.value("expire", &relative(at, now));
        }
        let next = match &credentials.next_call {
            NextCall::Now => "now".to_owned(),
            NextCall::At(at) => relative(at, now),
            NextCall::OnDemandAfter(at) => {
                format!("when the pod asks after {}", relative(at, now))
            }
        };
        self.value("STS asked next", &next);
        if let Some(failure) = &credentials.failure {
            self.failure(failure, now);
        }
    }

    fn failure(&mut self, failure: &Failure, now: &str) {
        self.title("What AWS STS said last");
        self.value("when", &relative(&failure.at, now));
        if failure.in_a_row > 1 {
            self.value("failures", &format!("{} in a row", failure.in_a_row));
        }
        self.value("error", &format!("{} ({})", failure.code, failure.kind));
        self.wrap(4, &failure.message);
        let Failure { diagnosis, .. } = failure;
        self.title(match (diagnosis.told, diagnosis.causes.len()) {
            (true, _) => "What that means",
            (false, 1) => "The likely cause",
            (false, _) => "Likely causes: STS does not say which of these it is",
        });
        for cause in &diagnosis.causes {
            self.cause(cause);
        }
    }

    fn cause(&mut self, cause: &Cause) {
        self.hanging("  - ", cause.cause.trim_end());
        self.wrap(4, &cause.fix);
        if let Some(command) = &cause.command {
            // Whole, to be copied.
            let _ = writeln!(self.out, "      $ {command}");
        }
    }

    fn title(&mut self, title: &str) {
        let _ = writeln!(self.out, "\n{title}");
    }

    fn value(&mut self, label: &str, value: &str) {
        let label = format!("  {label:VALUES$} ");
        self.hanging(&label, value);
    }

    fn labelled(&mut self, indent: usize, label: &str, text: &str) {
        let label = format!("{:indent$}{label}: ", "");
        self.hanging_at(&label, indent + 2, text);
    }

    fn wrap(&mut self, indent: usize, text: &str) {
        self.hanging_at(&" ".repeat(indent), indent, text);
    }

    fn hanging(&mut self, first: &str, text: &str) {
        self.hanging_at(first, first.len(), text);
    }

    /// Words after `first`, wrapped; further lines begin at column `rest`. What came over the network makes no lines, and
    /// no control characters, of its own.
    fn hanging_at(&mut self, first: &str, rest: usize, text: &str) {
        let mut column = first.chars().count();
        self.out.push_str(first);
        let mut at_start = true;
        for word in text
            .split(char::is_whitespace)
            .filter(|word| !word.is_empty())
        {
            let word = word.replace(char::is_control, "?");
            let length = word.chars().count();
            if !at_start && column + 1 + length > self.width {
                let _ = write!(self.out, "\n{:rest$}", "");
                column = rest;
                at_start = true;
            }
            if !at_start {
                self.out.push(' ');
                column += 1;
            }
            self.out.push_str(&word);
            column += length;
            at_start = false;
        }
        self.out.push('\n');
    }
}

/// `2026-01-01T00:00:00Z (in 12m)`, or `(3s ago)`.
fn relative(at: &str, now: &str) -> String {
    let (Ok(then), Ok(now)) = (at.parse::<Timestamp>(), now.parse::<Timestamp>()) else {
        return at.to_owned();
    };
    let span = |from: Timestamp, to: Timestamp| {
        from.until((Unit::Hour, to))
            .map(|span| format!("{span:#}"))
            .unwrap_or_default()
    };
    if then > now {
        format!("{at} (in {})", span(now, then))
    } else {
        format!("{at} ({} ago)", span(then, now))
    }
}
