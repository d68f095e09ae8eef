//! The host that a request is for, in the one spelling that routes are kept under.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::net::Ipv6Addr;

use crate::h1::syntax::{self, Labels};

/// The longest host that is looked at; a DNS name has at most 253 characters.
const MAX: usize = 255;

/// A host without port and trailing dot, in lower case; an IPv6 address in brackets.
///
/// The data path makes one a request: nothing is copied where a client spells it so.
#[derive(Debug)]
pub(crate) struct Host<'a>(Cow<'a, [u8]>);

impl<'a> Host<'a> {
    /// Reads the value of a `Host` field or an authority. `None` for what is no host.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Host<'a>> {
        if let [b'[', ..] = value {
            let (name, port) = value.split_at_checked(syntax::find(b']', value)? + 1)?;
            let address = name.strip_prefix(b"[")?.strip_suffix(b"]")?;
            let address: Ipv6Addr = std::str::from_utf8(address).ok()?.parse().ok()?;
            return is_end(port).then(|| Host(Cow::Owned(format!("[{address}]").into_bytes())));
        }
        let labels = Labels::of(value);
        let (name, port) = value.split_at_checked(labels.len)?;
        let name = name.strip_suffix(b".").unwrap_or(name);
        if labels.has_empty || name.len() > MAX || !is_end(port) {
            return None;
        }
        Some(Host(if labels.has_upper {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        }))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// It is ASCII, one way or the other.
impl Display for Host<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

/// What may stand behind a name: nothing, or a port.
fn is_end(port: &[u8]) -> bool {
    match port {
        [] | [b':'] => true,
        [b':', digits @ ..] => is_port(digits),
        _ => false,
    }
}

fn is_port(digits: &[u8]) -> bool {
    digits.len() <= 5 && syntax::decimal(digits).is_some_and(|port| u16::try_from(port).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// One look at each byte finds what looking at labels finds.
        #[test]
        fn a_name_is_its_labels(name in "[a-cA-C0-1.~_-]{0,12}", port in "(:80|:|)") {
            let bare = name.strip_suffix('.').unwrap_or(&name);
            let is_whole = bare.split('.').all(|label| !label.is_empty());
            let host = is_whole.then(|| bare.to_ascii_lowercase());
            let value = format!("{name}{port}");
            prop_assert_eq!(Host::parse(value.as_bytes()).map(|host| host.to_string()), host);
        }
    }

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
            assert_eq!(parsed.map(|host| host.to_string()).as_deref(), host, "{value:?}");
        }
        assert!(Host::parse(&[b'a'; 256]).is_none());
    }
}
