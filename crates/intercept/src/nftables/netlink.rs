//! What nftables is told and asked: transactions in which all or nothing is done, and readings of one state.

use std::collections::HashMap;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NetlinkPayload};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    nftables::{GenAttribute, GenMessage, NfTablesMessage},
    none::ControlMessage,
};

use super::error::{Error, Feature, Place, explain};
use crate::netlink::{Conversation, Failure};

/// `NFNL_SUBSYS_NFTABLES`: whom a batch is for.
const NFTABLES: u16 = 10;
/// How often a reading is begun again because others changed nftables meanwhile.
const READINGS: usize = 20;

/// One request of a transaction.
pub(super) struct Step {
    /// In words that fit "refused to ...".
    pub(super) what: String,
    /// What the kernel must have for it.
    pub(super) needs: Feature,
    pub(super) message: NfTablesMessage,
    /// `NLM_F_*` beyond those that every request has.
    pub(super) flags: u16,
}

/// A conversation about nftables. The tables that it owns stay closed to others until it is dropped.
pub(super) struct Connection(Conversation);

impl Connection {
    pub(super) fn open() -> Result<Self, Error> {
        let conversation = Conversation::open().map_err(|error| match error.raw_os_error() {
            Some(errno) => explain(errno, Place::Opening, "open a socket", Feature::NETLINK),
            None => Error::Netlink(error),
        })?;
        Ok(Self(conversation))
    }

    /// What the kernel calls the owner of this connection's tables.
    pub(super) fn port(&self) -> u32 {
        self.0.port()
    }

    /// Does all `steps` or none.
    pub(super) fn transact(&mut self, steps: Vec<Step>) -> Result<(), Error> {
        if steps.is_empty() {
            return Ok(());
        }
        let mut buffer = Vec::new();
        let opening = self.push_control(&mut buffer, ControlMessage::BatchBegin);
        let mut waiting = HashMap::new();
        let mut order = Vec::new();
        for Step {
            what,
            needs,
            message,
            flags,
        } in steps
        {
            let sequence = self
                .0
                .push(&mut buffer, request(message), NLM_F_ACK | flags);
            waiting.insert(sequence, (what, needs));
            order.push(sequence);
        }
        self.push_control(&mut buffer, ControlMessage::BatchEnd);
        self.0
            .send(&buffer)
            .map_err(|error| failed(Failure::Socket(error), "commit the rules"))?;

        let mut answers = HashMap::new();
        let mut begun = None;
        while let Some(received) = self
            .0
            .receive()
            .map_err(|failure| failed(failure, "commit the rules"))?
        {
            for answer in received {
                let NetlinkPayload::Error(error) = answer.payload else {
                    continue;
                };
                let errno = -error.raw_code();
                if answer.sequence == opening {
                    begun = Some(errno);
                } else {
                    answers.insert(answer.sequence, errno);
                }
            }
        }
        // An answer to the opening is about the transaction as a whole: not begun, or not committed.
        if let Some(errno) = begun.filter(|errno| *errno != 0) {
            let step = "commit the rules";
            return Err(explain(errno, Place::Opening, step, Feature::TABLES));
        }
        // The first failure is the cause; those after it may be its consequences.
        for sequence in &order {
            let (Some((what, needs)), Some(errno)) = (waiting.get(sequence), answers.get(sequence))
            else {
                continue;
            };
            if *errno != 0 {
                return Err(explain(*errno, Place::Step, what, *needs));
            }
        }
        for sequence in order {
            if let Some((what, _)) = waiting.remove(&sequence)
                && !answers.contains_key(&sequence)
            {
                return Err(Error::Unacknowledged { step: what });
            }
        }
        Ok(())
    }

    /// What `read` gets to see of one unchanged state of nftables.
    pub(super) fn consistent<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..READINGS {
            let before = self.generation()?;
            let seen = match read(self) {
                Err(Error::Unsettled) => continue,
                seen => seen?,
            };
            if self.generation()? == before {
                return Ok(seen);
            }
        }
        Err(Error::Unsettled)
    }

    /// One object, or `None` where the kernel has none such.
    pub(super) fn get(
        &mut self,
        what: &str,
        message: NfTablesMessage,
    ) -> Result<Option<NfTablesMessage>, Error> {
        match self.query(what, message, 0) {
            Ok(found) => Ok(found.into_iter().next()),
            Err(Error::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind.
    pub(super) fn list(
        &mut self,
        what: &str,
        message: NfTablesMessage,
    ) -> Result<Vec<NfTablesMessage>, Error> {
        self.query(what, message, NLM_F_DUMP)
    }

    /// The number of transactions so far, whoever made them.
    fn generation(&mut self) -> Result<Option<u32>, Error> {
        let message = NfTablesMessage::GetGen(GenMessage {
            attributes: Vec::new(),
        });
        let Some(NfTablesMessage::NewGen(found)) = self.get("tell its generation", message)? else {
            return Ok(None);
        };
        Ok(found
            .attributes
            .into_iter()
            .find_map(|attribute| match attribute {
                GenAttribute::Id(id) => Some(id),
                _ => None,
            }))
    }

    fn query(
        &mut self,
        what: &str,
        message: NfTablesMessage,
        flags: u16,
    ) -> Result<Vec<NfTablesMessage>, Error> {
        let found = self
            .0
            .ask(request(message), flags)
            .map_err(|failure| failed(failure, what))?;
        let ours = found.into_iter().filter_map(|message| match message {
            NetfilterMessageInner::NfTables(message) => Some(message),
            _ => None,
        });
        Ok(ours.collect())
    }

    fn push_control(&mut self, buffer: &mut Vec<u8>, message: ControlMessage) -> u32 {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES);
        self.0
            .push(buffer, NetfilterMessage::new(header, message), 0)
    }
}

fn request(message: NfTablesMessage) -> NetfilterMessage {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0);
    NetfilterMessage::new(header, message)
}

/// Names the cause of what became of the request to `what`.
fn failed(failure: Failure, what: &str) -> Error {
    match failure {
        Failure::Refused(errno) => explain(errno, Place::Query, what, Feature::TABLES),
        Failure::Interrupted => Error::Unsettled,
        Failure::Unanswered => Error::Unacknowledged {
            step: what.to_owned(),
        },
        Failure::Socket(error) if error.raw_os_error() == Some(libc::EPERM) => {
            Error::NotPermitted(error)
        }
        Failure::Socket(error) => Error::Netlink(error),
        Failure::Unreadable(error) => Error::Answer(error),
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connection").field(&self.port()).finish()
    }
}
