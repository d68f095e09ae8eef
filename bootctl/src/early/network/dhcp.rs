//! DHCP's messages (RFC 2131, 2132), as far as one interface needs them: what is asked, what is answered. Pure.
//!
//! Our own, because the libraries that there are bring a DNS library with them for options that nobody here reads.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::setting::Address;

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const ETHERNET: u8 = 1;
/// Answers are to be told to all: no address of ours hears them yet.
const BROADCAST: u16 = 0x8000;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Where options begin, behind names that nobody boots from any more.
const OPTIONS: usize = 240;
/// What servers want to see at least.
const SHORTEST: usize = 300;
/// A lease without an end is renewed as one of a day.
const LONGEST: u32 = 86_400;
/// A shorter one would keep two machines busy.
const BRIEFEST: u32 = 60;

const NETMASK: u8 = 1;
const ROUTERS: u8 = 3;
const RESOLVERS: u8 = 6;
const HOST_NAME: u8 = 12;
const WANTED_ADDRESS: u8 = 50;
const LEASE_TIME: u8 = 51;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const WANTED_OPTIONS: u8 = 55;
const PAD: u8 = 0;
const END: u8 = 255;

/// The address of a network card.
pub(super) type Card = [u8; 6];

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Who has an address?
    Discover,
    /// That one, of that server.
    Take(Ipv4Addr, Ipv4Addr),
    /// May it be kept? Asked of everybody, so that it is good for a server that was replaced, too.
    Renew(Ipv4Addr),
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Offer(Lease),
    Yes(Lease),
    No,
}

/// An address that is lent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) ip: Ipv4Addr,
    pub(super) server: Ipv4Addr,
    prefix: u8,
    gateway: Option<Ipv4Addr>,
    pub(super) resolvers: Vec<IpAddr>,
    pub(super) hostname: Option<String>,
    pub(super) time: Duration,
}

impl Lease {
    /// What the interface is given.
    pub(super) fn address(&self) -> Option<Address> {
        Address::checked(self.ip.into(), self.prefix, self.gateway.map(IpAddr::V4))
    }
}

impl Question {
    /// The bytes of it; `number` is what the answer will be known by.
    pub(super) fn bytes(self, number: u32, card: Card) -> Vec<u8> {
        let (kind, holds) = match self {
            Self::Discover => (1, Ipv4Addr::UNSPECIFIED),
            Self::Take(..) => (3, Ipv4Addr::UNSPECIFIED),
            Self::Renew(ip) => (3, ip),
        };
        let mut bytes = vec![REQUEST, ETHERNET, 6, 0];
        bytes.extend(number.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(BROADCAST.to_be_bytes());
        bytes.extend(holds.octets());
        bytes.extend([0; 12]);
        bytes.extend(card);
        bytes.resize(OPTIONS - MAGIC.len(), 0);
        bytes.extend(MAGIC);
        bytes.extend([KIND, 1, kind]);
        if let Self::Take(ip, server) = self {
            bytes.extend([WANTED_ADDRESS, 4]);
            bytes.extend(ip.octets());
            bytes.extend([SERVER, 4]);
            bytes.extend(server.octets());
        }
        let wanted = [NETMASK, ROUTERS, RESOLVERS, HOST_NAME, LEASE_TIME];
        bytes.extend([WANTED_OPTIONS, 5]);
        bytes.extend(wanted);
        bytes.push(END);
        bytes.resize(SHORTEST.max(bytes.len()), PAD);
        bytes
    }
}

impl Answer {
    /// What a message says, if it is an answer to `number`.
    pub(super) fn parse(bytes: &[u8], number: u32, card: Card) -> Option<Self> {
        let part = |at: usize, length: usize| bytes.get(at..at.checked_add(length)?);
        let is_ours = part(0, 1)? == [REPLY]
            && part(4, 4)? == number.to_be_bytes()
            && part(28, 6)? == card
            && part(236, 4)? == MAGIC;
        if !is_ours {
            return None;
        }
        let mut lease = Lease {
            ip: ip(part(16, 4)?)?,
            server: Ipv4Addr::UNSPECIFIED,
            prefix: 24,
            gateway: None,
            resolvers: Vec::new(),
            hostname: None,
            time: Duration::from_secs(LONGEST.into()),
        };
        let mut kind = None;
        let mut rest = bytes.get(OPTIONS..)?;
        while let [code, tail @ ..] = rest {
            match (*code, tail) {
                (PAD, _) => rest = tail,
                (END, _) | (_, []) => break,
                (code, [length, tail @ ..]) => {
                    let (value, tail) = tail.split_at_checked(usize::from(*length))?;
                    rest = tail;
                    if code == KIND {
                        kind = value.first().copied();
                    } else {
                        lease.take(code, value)?;
                    }
                }
            }
        }
        match kind? {
            2 => Some(Self::Offer(lease)),
            5 => Some(Self::Yes(lease)),
            6 => Some(Self::No),
            _ => None,
        }
        .filter(|answer| match answer {
            Self::Offer(lease) | Self::Yes(lease) => lease.address().is_some(),
            Self::No => true,
        })
    }
}

impl Lease {
    fn take(&mut self, code: u8, value: &[u8]) -> Option<()> {
        match code {
            NETMASK => {
                let bits = ip(value)?.to_bits();
                self.prefix = u8::try_from(bits.leading_ones()).ok()?;
            }
            ROUTERS => self.gateway = ip(value).filter(|it| !it.is_unspecified()),
            RESOLVERS => {
                self.resolvers = value.chunks(4).filter_map(ip).map(IpAddr::V4).take(3).collect();
            }
            HOST_NAME => {
                let name = String::from_utf8_lossy(value);
                self.hostname = Some(name.trim_end_matches('\0').to_owned());
            }
            SERVER => self.server = ip(value)?,
            LEASE_TIME => {
                let seconds = u32::from_be_bytes(value.try_into().ok()?);
                self.time = Duration::from_secs(seconds.clamp(BRIEFEST, LONGEST).into());
            }
            _ => {}
        }
        Some(())
    }
}

/// The first of a list.
fn ip(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CARD: Card = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
    const SERVER_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

    fn answer(kind: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; OPTIONS];
        bytes[0] = REPLY;
        bytes[4..8].copy_from_slice(&7_u32.to_be_bytes());
        bytes[16..20].copy_from_slice(&IP.octets());
        bytes[28..34].copy_from_slice(&CARD);
        bytes[236..240].copy_from_slice(&MAGIC);
        bytes.extend([KIND, 1, kind]);
        bytes.extend(options);
        bytes.push(END);
        bytes
    }

    #[test]
    fn questions_are_as_the_rfc_has_them() {
        let bytes = Question::Take(IP, SERVER_IP).bytes(7, CARD);
        assert_eq!((bytes.len(), &bytes[..8]), (300, &[1, 1, 6, 0, 0, 0, 0, 7][..]));
        assert_eq!((&bytes[10..12], &bytes[28..34]), (&[0x80, 0][..], &CARD[..]));
        let options = [99, 130, 83, 99, 53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2, 55, 5];
        assert_eq!(bytes[236..257], options);
        let renewal = Question::Renew(IP).bytes(7, CARD);
        assert_eq!(renewal[12..16], IP.octets(), "the address that it holds");
        assert_eq!(Question::Discover.bytes(7, CARD)[240..243], [53, 1, 1]);
    }

    #[test]
    fn answers_are_read() {
        let options = [
            1, 4, 255, 255, 0, 0, 0, 3, 8, 10, 0, 2, 2, 10, 0, 2, 9, 6, 4, 10, 0, 2, 3, 12, 2,
            b'v', b'm', 51, 4, 0, 0, 14, 16, 54, 4, 10, 0, 2, 2, 200, 1, 9,
        ];
        let Some(Answer::Yes(lease)) = Answer::parse(&answer(5, &options), 7, CARD) else {
            panic!("an answer")
        };
        let address = lease.address().expect("good");
        assert_eq!(
            (address.to_string().as_str(), address.gateway),
            ("10.0.2.15/16", Some(SERVER_IP.into()))
        );
        assert_eq!((lease.server, lease.time), (SERVER_IP, Duration::from_hours(1)));
        assert_eq!(lease.resolvers, [IpAddr::from([10, 0, 2, 3])]);
        assert_eq!(lease.hostname.as_deref(), Some("vm"));
        assert_eq!(Answer::parse(&answer(6, &[]), 7, CARD), Some(Answer::No));
    }

    #[test]
    fn what_is_not_for_us_is_not_heard() {
        assert_eq!(Answer::parse(&answer(5, &[]), 8, CARD), None, "another question's");
        assert_eq!(Answer::parse(&answer(5, &[]), 7, [0; 6]), None, "another machine's");
        assert_eq!(Answer::parse(&answer(3, &[]), 7, CARD), None, "no server's");
        assert_eq!(Answer::parse(&answer(5, &[1, 9, 0]), 7, CARD), None, "cut off");
        let whole = answer(5, &[51, 4, 0, 0, 0, 1]);
        let Some(Answer::Yes(lease)) = Answer::parse(&whole, 7, CARD) else { panic!("an answer") };
        assert_eq!(lease.time, Duration::from_secs(BRIEFEST.into()), "not busier than that");
        for length in 0..OPTIONS {
            assert_eq!(Answer::parse(&whole[..length], 7, CARD), None);
        }
    }

    proptest! {
        #[test]
        fn no_answer_is_too_much(kind in 0_u8..9, options in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(Answer::Offer(lease) | Answer::Yes(lease)) =
                Answer::parse(&answer(kind, &options), 7, CARD)
            {
                prop_assert!(lease.address().is_some() && lease.resolvers.len() <= 3);
            }
        }
    }
}
