//! The host that a request is for, in the one spelling that routes are kept under.

use std::net::Ipv6Addr;

use crate::h1::syntax;

/// The longest host that is looked at; a DNS name has at most 253 characters.
const MAX: usize = 255;

/// A host without port and trailing dot, in lower case; an IPv6 address in brackets.
///
/// It lives on the stack: the data path makes one a request.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    bytes: [u8; MAX],
    len: usize,
}

impl Host {
    /// Reads the value of a `Host` field or an authority. `None` for what is no host.
    pub(crate) fn parse(value: &[u8]) -> Option<Host> {
        let (name, port) = match value {
            [b'[', ..] => value.split_at_checked(value.iter().position(|&b| b == b']')? + 1)?,
            _ => value
                .split_at_checked(value.iter().position(|&b| b == b':').unwrap_or(value.len()))?,
        };
        match port {
            [] | [b':'] => {}
            [b':', digits @ ..] if is_port(digits) => {}
            _ => return None,
        }
        if let [b'[', address @ .., b']'] = name {
            let address: Ipv6Addr = std::str::from_utf8(address).ok()?.parse().ok()?;
            return Host::lower(format!("[{address}]").as_bytes());
        }
        let name = name.strip_suffix(b".").unwrap_or(name);
        // A label without a character is in no name: a dot follows neither a dot nor nothing.
        let mut before = b'.';
        let allowed = |&byte: &u8| {
            let is_dot = byte == b'.';
            let empty = is_dot && before == b'.';
            before = byte;
            !empty && (is_dot || byte.is_ascii_alphanumeric() || b"-_~".contains(&byte))
        };
        if !name.iter().all(allowed) || before == b'.' {
            return None;
        }
        Host::lower(name)
    }

    fn lower(name: &[u8]) -> Option<Host> {
        let mut bytes = [0; MAX];
        let place = bytes.get_mut(..name.len())?;
        place.copy_from_slice(name);
        place.make_ascii_lowercase();
        Some(Host { bytes, len: name.len() })
    }

    pub(crate) fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or("")
    }
}

fn is_port(digits: &[u8]) -> bool {
    digits.len() <= 5 && syntax::decimal(digits).is_some_and(|port| u16::try_from(port).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        for (value, host) in [
            ("Shop.Example", Some("shop.example")),
            ("shop.example:8080", Some("shop.example")),
            ("shop.example.:80", Some("shop.example")),
            ("shop.example:", Some("shop.example")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("[::1]:80", Some("[::1]")),
            ("[0:0:0:0:0:0:0:1]", Some("[::1]")),
            ("[2001:DB8::1]", Some("[2001:db8::1]")),
            ("", None),
            (".", None),
            ("..", None),
            (".a", None),
            ("a..b", None),
            ("a..", None),
            ("a..:80", None),
            (":80", None),
            ("a b", None),
            ("a/b", None),
            ("user@shop.example", None),
            ("shop.example:80:80", None),
            ("shop.example:http", None),
            ("shop.example:65535", Some("shop.example")),
            ("shop.example:65536", None),
            ("shop.example:123456", None),
            ("shop.example:-1", None),
            ("::1", None),
            ("[::1", None),
            ("[shop]", None),
            ("a,b", None),
        ] {
            let parsed = Host::parse(value.as_bytes());
            assert_eq!(parsed.as_ref().map(Host::as_str), host, "{value:?}");
        }
        assert!(Host::parse(&[b'a'; 256]).is_none());
    }
}
