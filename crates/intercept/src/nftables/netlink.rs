//! A conversation with the kernel's nfnetlink: queries, and transactions in which all or nothing is done.
//!
//! nfnetlink works inside `send`: when that returns, every answer is already in the socket (of a listing, the next part
//! is made while the one before is read). So nothing here waits, and an answer that is not there was not given.

use std::{collections::HashMap, io};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    nftables::{GenAttribute, GenMessage, NfTablesMessage},
    none::ControlMessage,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::error::{Error, Feature, Place, explain};

/// `NFNL_SUBSYS_NFTABLES`: whom a batch is for.
const NFTABLES: u16 = 10;
/// The kernel fills at most 32 KiB per part of a listing.
const RECEIVE_BUFFER: usize = 64 * 1024;
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

/// A netlink socket in the network namespace of the thread that opened it.
pub(super) struct Connection {
    socket: Socket,
    sequence: u32,
}

/// What the kernel says to one request.
struct Answer {
    sequence: u32,
    flags: u16,
    payload: NetlinkPayload<NetfilterMessage>,
}

impl Connection {
    pub(super) fn open() -> Result<Self, Error> {
        let refused = |error: io::Error| match error.raw_os_error() {
            Some(errno) => explain(errno, Place::Opening, "open a socket", Feature::NETLINK),
            None => Error::Netlink(error),
        };
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(refused)?;
        socket.bind_auto().map_err(refused)?;
        // An error then brings the header of the request it is about and not the whole of it.
        socket.set_cap_ack(true).map_err(Error::Netlink)?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Does all `steps` or none.
    pub(super) fn transact(&mut self, steps: Vec<Step>) -> Result<(), Error> {
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
            let sequence = self.push(&mut buffer, message, NLM_F_ACK | flags);
            waiting.insert(sequence, (what, needs));
            order.push(sequence);
        }
        self.push_control(&mut buffer, ControlMessage::BatchEnd);
        self.send(&buffer)?;

        let mut answers = HashMap::new();
        let mut begun = None;
        while let Some(received) = self.receive()? {
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
        let mut buffer = Vec::new();
        let sequence = self.push(&mut buffer, message, flags);
        self.send(&buffer)?;
        let is_list = flags & NLM_F_DUMP != 0;
        let mut found = Vec::new();
        let mut is_complete = false;
        let mut is_interrupted = false;
        while let Some(answers) = self.receive()? {
            for answer in answers {
                if answer.sequence != sequence {
                    continue;
                }
                is_interrupted |= answer.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::Done(_) => is_complete = true,
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        let errno = -error.raw_code();
                        return Err(explain(errno, Place::Query, what, Feature::TABLES));
                    }
                    NetlinkPayload::InnerMessage(NetfilterMessage {
                        inner: NetfilterMessageInner::NfTables(message),
                        ..
                    }) => {
                        is_complete |= !is_list;
                        found.push(message);
                    }
                    _ => {}
                }
            }
        }
        if is_interrupted {
            return Err(Error::Unsettled);
        }
        if !is_complete {
            return Err(Error::Unacknowledged {
                step: what.to_owned(),
            });
        }
        Ok(found)
    }

    fn push(&mut self, buffer: &mut Vec<u8>, message: NfTablesMessage, flags: u16) -> u32 {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0);
        self.push_any(buffer, NetfilterMessage::new(header, message), flags)
    }

    fn push_control(&mut self, buffer: &mut Vec<u8>, message: ControlMessage) -> u32 {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES);
        self.push_any(buffer, NetfilterMessage::new(header, message), 0)
    }

    /// Appends a request and returns the number that its answers bear.
    fn push_any(&mut self, buffer: &mut Vec<u8>, message: NetfilterMessage, flags: u16) -> u32 {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let start = buffer.len();
        buffer.resize(start + message.buffer_len(), 0);
        message.serialize(&mut buffer[start..]);
        self.sequence
    }

    fn send(&self, buffer: &[u8]) -> Result<(), Error> {
        let kernel = SocketAddr::new(0, 0);
        let sent = self.socket.send_to(buffer, &kernel, 0).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EPERM) => Error::NotPermitted(error),
                _ => Error::Netlink(error),
            }
        })?;
        if sent == buffer.len() {
            Ok(())
        } else {
            Err(Error::Netlink(io::ErrorKind::WriteZero.into()))
        }
    }

    /// The messages of the next datagram; `None` where there is no other.
    fn receive(&self) -> Result<Option<Vec<Answer>>, Error> {
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        let length = match self.socket.recv(&mut buffer, flags) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(Error::Netlink(error)),
        };
        if length > buffer.len() {
            return Err(Error::Netlink(io::ErrorKind::InvalidData.into()));
        }
        let mut answers = Vec::new();
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<NetfilterMessage>::deserialize(rest).map_err(Error::Answer)?;
            // Messages are padded to four bytes.
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length.max(1)..).unwrap_or_default();
            answers.push(Answer {
                sequence: message.header.sequence_number,
                flags: message.header.flags,
                payload: message.payload,
            });
        }
        Ok(Some(answers))
    }
}
