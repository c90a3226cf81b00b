//! Just enough of TCP to ask one question in another's name.

use std::net::{IpAddr, SocketAddr};

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const TCP: u8 = 6;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const PUSH: u8 = 8;
pub(super) const ACK: u8 = 16;

/// Our end of a TCP connection.
pub(super) struct Talk {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
}

impl Talk {
    /// An IP packet with one TCP segment.
    pub(super) fn segment(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
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
        let pseudo = pseudo_header(self.from.ip(), self.to.ip(), TCP, &tcp);
        tcp[16..18].copy_from_slice(&checksum(&pseudo));
        let length = u16::try_from(tcp.len()).unwrap_or(u16::MAX);
        let (from, to) = (octets(self.from.ip()), octets(self.to.ip()));
        if self.from.is_ipv6() {
            let [high, low] = length.to_be_bytes();
            return [&[0x60, 0, 0, 0, high, low, TCP, 64], &from[..], &to, &tcp].concat();
        }
        let total = (length + 20).to_be_bytes();
        let mut ip = [
            &[0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, TCP, 0, 0][..],
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
pub(super) struct Segment<'a> {
    pub(super) sequence: u32,
    pub(super) flags: u8,
    pub(super) payload: &'a [u8],
}

impl<'a> Segment<'a> {
    pub(super) fn read(frame: &'a [u8], talk: &Talk) -> Option<Self> {
        let packet = frame.get(14..)?;
        let word = |at: usize| {
            Some(usize::from(u16::from_be_bytes(
                *packet.get(at..)?.first_chunk()?,
            )))
        };
        let (protocol, addresses, tcp) = match frame.get(12..14)?.try_into().ok()? {
            ETHERTYPE_IPV4 if talk.from.is_ipv4() => {
                let header = usize::from(packet.first()? & 0xf) * 4;
                (
                    packet.get(9)?,
                    packet.get(12..20)?,
                    packet.get(header..word(2)?)?,
                )
            }
            ETHERTYPE_IPV6 if talk.from.is_ipv6() => (
                packet.get(6)?,
                packet.get(8..40)?,
                packet.get(40..40 + word(4)?)?,
            ),
            _ => return None,
        };
        let ports = [talk.to.port().to_be_bytes(), talk.from.port().to_be_bytes()].concat();
        let ours = [octets(talk.to.ip()), octets(talk.from.ip())].concat();
        let is_ours = *protocol == TCP && addresses == ours && tcp.get(..4)? == ports;
        is_ours.then_some(())?;
        Some(Self {
            sequence: u32::from_be_bytes(*tcp.get(4..)?.first_chunk()?),
            flags: *tcp.get(13)?,
            payload: tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?,
        })
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// What the checksums of TCP and of ICMP for version 6 are over, with the payload behind it.
pub(super) fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    // For the sum, IPv6's wider fields make no difference.
    [
        &octets(from)[..],
        &octets(to),
        &[0, protocol],
        &length,
        payload,
    ]
    .concat()
}

/// The internet checksum (RFC 1071).
pub(super) fn checksum(bytes: &[u8]) -> [u8; 2] {
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
