//! The PROXY protocol's header, versions 1 and 2: who a load balancer's connection is from.
//!
//! Read strictly, because it stands before all rules about addresses: what is not a header to the
//! letter ends the connection. Of version 2 the additional fields are checked and skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, with its CR LF.
const LINE: usize = 107;

/// What a header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Client(IpAddr),
    /// The load balancer's own connection, or one from where there are no addresses.
    Itself,
}

/// What there is of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Partial,
    Complete { told: Told, len: usize },
}

/// It is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAHeader;

/// Looks at all that came so far.
pub(crate) fn read(bytes: &[u8]) -> Result<Progress, NotAHeader> {
    let common = bytes.len().min(SIGNATURE.len());
    if bytes.get(..common) == SIGNATURE.get(..common) {
        return if common < SIGNATURE.len() { Ok(Progress::Partial) } else { version_2(bytes) };
    }
    version_1(bytes)
}

fn version_1(bytes: &[u8]) -> Result<Progress, NotAHeader> {
    let seen = bytes.get(..bytes.len().min(LINE)).unwrap_or_default();
    let Some(end) = seen.iter().position(|&byte| byte == b'\n') else {
        let start = b"PROXY ";
        let common = seen.len().min(start.len());
        let may_be = seen.get(..common) == start.get(..common) && seen.len() < LINE;
        return if may_be { Ok(Progress::Partial) } else { Err(NotAHeader) };
    };
    let line = seen.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(NotAHeader)?;
    let line = std::str::from_utf8(line).map_err(|_| NotAHeader)?;
    let rest = line.strip_prefix("PROXY ").ok_or(NotAHeader)?;
    let words: Vec<&str> = rest.split(' ').collect();
    let told = match words.as_slice() {
        ["UNKNOWN", ..] => Told::Itself,
        ["TCP4", source, destination, from, to] => {
            check_ports(from, to)?;
            destination.parse::<Ipv4Addr>().map_err(|_| NotAHeader)?;
            Told::Client(source.parse::<Ipv4Addr>().map_err(|_| NotAHeader)?.into())
        }
        ["TCP6", source, destination, from, to] => {
            check_ports(from, to)?;
            destination.parse::<Ipv6Addr>().map_err(|_| NotAHeader)?;
            let source = source.parse::<Ipv6Addr>().map_err(|_| NotAHeader)?;
            Told::Client(source.to_canonical())
        }
        _ => return Err(NotAHeader),
    };
    Ok(Progress::Complete { told, len: end + 1 })
}

fn check_ports(from: &str, to: &str) -> Result<(), NotAHeader> {
    let is_port = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        plain && (text == "0" || !text.starts_with('0')) && text.parse::<u16>().is_ok()
    };
    if is_port(from) && is_port(to) { Ok(()) } else { Err(NotAHeader) }
}

fn version_2(bytes: &[u8]) -> Result<Progress, NotAHeader> {
    let Some(([version_and_command, family, high, low], _)) =
        bytes.get(SIGNATURE.len()..).and_then(|rest| rest.split_first_chunk())
    else {
        // As soon as it is there: whoever sends nonsense is not waited for.
        return match bytes.get(SIGNATURE.len()) {
            Some(0x20 | 0x21) | None => Ok(Progress::Partial),
            Some(_) => Err(NotAHeader),
        };
    };
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(NotAHeader),
    };
    let start = SIGNATURE.len() + 4;
    let len = start + usize::from(u16::from_be_bytes([*high, *low]));
    if len > limits::PROXY_HEADER {
        return Err(NotAHeader);
    }
    let Some(rest) = bytes.get(start..len) else { return Ok(Progress::Partial) };
    if is_local {
        return Ok(Progress::Complete { told: Told::Itself, len });
    }
    // Of datagrams and unix sockets there is no address that would say something here.
    let (size, is_stream) = match family {
        0x00 => (0, false),
        0x11 => (12, true),
        0x12 => (12, false),
        0x21 => (36, true),
        0x22 => (36, false),
        0x31 | 0x32 => (216, false),
        _ => return Err(NotAHeader),
    };
    let (addresses, more) = rest.split_at_checked(size).ok_or(NotAHeader)?;
    // Without addresses the rest has no form that could be wrong.
    if size > 0 {
        check_more(more)?;
    }
    let four = || addresses.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes));
    let six = || addresses.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes).to_canonical());
    let client = match (is_stream, size) {
        (true, 12) => four(),
        (true, _) => six(),
        (false, _) => None,
    };
    Ok(Progress::Complete { told: client.map_or(Told::Itself, Told::Client), len })
}

/// The additional fields: a type, two bytes of length, a value.
fn check_more(mut rest: &[u8]) -> Result<(), NotAHeader> {
    while !rest.is_empty() {
        let ([_, high, low], value) = rest.split_first_chunk().ok_or(NotAHeader)?;
        let size = usize::from(u16::from_be_bytes([*high, *low]));
        rest = value.get(size..).ok_or(NotAHeader)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(address: &str) -> Told {
        Told::Client(address.parse().unwrap())
    }

    /// A header of version 2.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    /// Headers as they should be, and what they tell.
    fn good() -> Vec<(Vec<u8>, Told)> {
        let mut six = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets().to_vec();
        six.extend([0; 20]);
        let mut dressed = "::ffff:1.2.3.4".parse::<Ipv6Addr>().unwrap().octets().to_vec();
        dressed.extend([0; 20]);
        let four = [1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 1, 187];
        let with_more = [&four[..], &[0x04, 0, 0], &[0x20, 0, 2, 9, 9]].concat();
        let line = |text: &str| text.as_bytes().to_vec();
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LINE - 16));
        vec![
            (line("PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n"), client("1.2.3.4")),
            (line("PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\n"), client("1.2.3.4")),
            (line("PROXY TCP6 2001:db8::7 ::1 1 2\r\n"), client("2001:db8::7")),
            (line("PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n"), client("1.2.3.4")),
            (line("PROXY UNKNOWN\r\n"), Told::Itself),
            (line("PROXY UNKNOWN ffff::1 what ever\r\n"), Told::Itself),
            (line(&longest), Told::Itself),
            (v2(0x21, 0x11, &four), client("1.2.3.4")),
            (v2(0x21, 0x11, &with_more), client("1.2.3.4")),
            (v2(0x21, 0x21, &six), client("2001:db8::7")),
            (v2(0x21, 0x21, &dressed), client("1.2.3.4")),
            (v2(0x21, 0x00, b""), Told::Itself),
            (v2(0x21, 0x00, b"any"), Told::Itself),
            (v2(0x21, 0x12, &four), Told::Itself),
            (v2(0x21, 0x31, &[0; 216]), Told::Itself),
            (v2(0x20, 0x00, b""), Told::Itself),
            (v2(0x20, 0x11, &four), Told::Itself),
        ]
    }

    #[test]
    fn whole_in_pieces_and_with_more_behind() {
        for (bytes, told) in good() {
            let complete = Progress::Complete { told, len: bytes.len() };
            assert_eq!(read(&bytes), Ok(complete), "{bytes:?}");
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Ok(Progress::Partial), "{:?}", &bytes[..end]);
            }
            let more = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(read(&more), Ok(complete), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_header() {
        let four = [1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 1, 187];
        let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LINE - 15));
        let mut vectors: Vec<Vec<u8>> = [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 1.2.3.4 5.6.7.8 80 443\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 80 443\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 80\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 80 443 1\r\n",
            "PROXY TCP4  1.2.3.4 5.6.7.8 80 443\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 80 443 \r\n",
            "PROXY\tTCP4 1.2.3.4 5.6.7.8 80 443\r\n",
            "PROXY TCP4 01.2.3.4 5.6.7.8 80 443\r\n",
            "PROXY TCP4 1.2.3 5.6.7.8 80 443\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 080 443\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +80 443\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 80 65536\r\n",
            "PROXY TCP4 ::1 ::1 80 443\r\n",
            "PROXY TCP6 1.2.3.4 5.6.7.8 80 443\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 80 443\r\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 80 443\r\n",
            "PROXY \r\n",
            "PROXY\r\n",
            &long,
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec();
        vectors.extend([
            v2(0x11, 0x11, &four),
            v2(0x22, 0x11, &four),
            v2(0x21, 0x41, &four),
            v2(0x21, 0x13, &four),
            v2(0x21, 0x01, &four),
            v2(0x21, 0x11, &four[..11]),
            v2(0x21, 0x21, &four),
            v2(0x21, 0x11, &[&four[..], &[4]].concat()),
            v2(0x21, 0x11, &[&four[..], &[4, 0, 2, 0]].concat()),
            v2(0x20, 0x00, &vec![0; limits::PROXY_HEADER]),
        ]);
        for bytes in vectors {
            assert_eq!(read(&bytes), Err(NotAHeader), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_an_answer(
            which in any::<prop::sample::Index>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let good = good();
            let mut bytes = good[which.index(good.len())].0.clone();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let mut answer = Ok(Progress::Partial);
            for end in 0..=bytes.len() {
                let now = read(&bytes[..end]);
                if answer != Ok(Progress::Partial) {
                    prop_assert_eq!(now, answer);
                }
                answer = now;
                if let Ok(Progress::Complete { len, .. }) = answer {
                    prop_assert!(len <= end);
                }
            }
        }

        #[test]
        fn anything_is_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
            let _ = read(&[SIGNATURE, &bytes[..]].concat());
        }
    }
}
