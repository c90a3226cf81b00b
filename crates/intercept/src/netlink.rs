//! A conversation with one of netfilter's parts in the kernel over a netlink socket. [`crate::nftables`] and
//! [`crate::conntrack`] speak through it; what an answer means is theirs to say.
//!
//! nfnetlink works inside `send`: when that returns, every answer is already in the socket (of a listing, the next part
//! is made while the one before is read). So nothing here waits, and an answer that is not there was not given.

use std::io;

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

/// The kernel fills at most 32 KiB per part of a listing.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// A netlink socket in the network namespace of the thread that opened it.
pub(crate) struct Conversation {
    socket: Socket,
    port: u32,
    sequence: u32,
}

/// What the kernel says to one request.
pub(crate) struct Answer {
    pub(crate) sequence: u32,
    pub(crate) payload: NetlinkPayload<NetfilterMessage>,
    flags: u16,
}

/// Why a question was not answered.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The kernel's answer is this error number.
    Refused(i32),
    /// What was being listed changed meanwhile.
    Interrupted,
    /// There was no answer, or not the whole of it.
    Unanswered,
    /// The socket itself.
    Socket(io::Error),
    /// An answer that is not netlink.
    Unreadable(DecodeError),
}

impl Conversation {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        // An error then brings the header of the request it is about and not the whole of it.
        socket.set_cap_ack(true)?;
        Ok(Self {
            socket,
            port,
            sequence: 0,
        })
    }

    /// By which the kernel knows this socket.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// What the kernel has to say to one question. With `NLM_F_DUMP` that may be any number of messages, else one.
    pub(crate) fn ask(
        &mut self,
        message: NetfilterMessage,
        flags: u16,
    ) -> Result<Vec<NetfilterMessageInner>, Failure> {
        let mut buffer = Vec::new();
        let sequence = self.push(&mut buffer, message, flags);
        self.send(&buffer).map_err(Failure::Socket)?;
        // With an acknowledgement asked for, that is the answer.
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
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(Failure::Refused(-error.raw_code()));
                    }
                    NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => is_complete = true,
                    NetlinkPayload::InnerMessage(message) => {
                        is_complete |= !is_list;
                        found.push(message.inner);
                    }
                    _ => {}
                }
            }
        }
        if is_interrupted {
            return Err(Failure::Interrupted);
        }
        if !is_complete {
            return Err(Failure::Unanswered);
        }
        Ok(found)
    }

    /// Appends a request and returns the number that its answers bear.
    pub(crate) fn push(
        &mut self,
        buffer: &mut Vec<u8>,
        message: NetfilterMessage,
        flags: u16,
    ) -> u32 {
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

    pub(crate) fn send(&self, buffer: &[u8]) -> io::Result<()> {
        let kernel = SocketAddr::new(0, 0);
        if self.socket.send_to(buffer, &kernel, 0)? == buffer.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// The messages of the next datagram; `None` where there is no other.
    pub(crate) fn receive(&self) -> Result<Option<Vec<Answer>>, Failure> {
        let Some(datagram) = receive(&self.socket).map_err(Failure::Socket)? else {
            return Ok(None);
        };
        let mut answers = Vec::new();
        for message in Messages(&datagram) {
            let message = NetlinkMessage::<NetfilterMessage>::deserialize(message)
                .map_err(Failure::Unreadable)?;
            answers.push(Answer {
                sequence: message.header.sequence_number,
                flags: message.header.flags,
                payload: message.payload,
            });
        }
        Ok(Some(answers))
    }
}

/// The next datagram at `socket`; `None` where there is no other.
pub(crate) fn receive(socket: &Socket) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    match socket.recv(&mut buffer, flags) {
        Ok(length) if length > buffer.len() => Err(io::ErrorKind::InvalidData.into()),
        Ok(_) => Ok(Some(buffer)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// The netlink messages of one datagram, each with its header. Of a message that claims to be longer than the datagram,
/// what there is; of one shorter than its length field, nothing more.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_ne_bytes(*self.0.first_chunk()?) as usize;
        let message = &self.0[..length.clamp(1, self.0.len())];
        // Messages are padded to four bytes.
        let padded = length.max(1).next_multiple_of(4);
        self.0 = self.0.get(padded..).unwrap_or_default();
        Some(message)
    }
}
