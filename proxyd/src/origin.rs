//! Where a request is from: the other end of its connection, or the client that trusted proxies tell;
//! and what is said of that to targets and clients.
//!
//! Nothing that a client says of itself is believed. A trusted proxy is believed as to who is before
//! it, and whoever is trusted there as to who is before that one: the client is the last address in
//! X-Forwarded-For that is not a trusted proxy's.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use arrayvec::ArrayString;

use crate::front::Front;
use crate::h1::field::{Field, Role, alike};
use crate::h1::request::RequestHead;
use crate::h1::syntax;
use crate::request_id::{Ids, is_fit};
use crate::tls::Secured;

/// Somebody with an address, and how it is written.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// Beside the rest: it is written to each request and to the log.
    pub(crate) text: ArrayString<39>,
    /// What is known of its connection, where that is TLS.
    pub(crate) secured: Option<Box<Secured>>,
}

impl Peer {
    /// An IPv4 address in IPv6 clothes is undressed.
    pub(crate) fn new(address: IpAddr) -> Peer {
        let address = address.to_canonical();
        let mut text = ArrayString::new();
        // There is room for the longest.
        let _ = match address {
            IpAddr::V4(address) => write_v4(&mut text, address),
            IpAddr::V6(address) => write!(text, "{address}"),
        };
        Peer { address, text, secured: None }
    }
}

impl Peer {
    /// Whether it speaks TLS with us.
    pub(crate) fn is_secured(&self) -> bool {
        self.secured.is_some()
    }

    /// How it speaks.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.is_secured() { "https" } else { "http" }
    }

    /// The field that its answers get, with its CR LF.
    fn hsts(&self) -> &[u8] {
        self.secured.as_ref().map_or(b"", |secured| &secured.hsts)
    }
}

/// Each new connection has its address written: formatting has more to it.
fn write_v4(text: &mut impl Write, address: Ipv4Addr) -> fmt::Result {
    for (at, part) in address.octets().into_iter().enumerate() {
        if at > 0 {
            text.write_char('.')?;
        }
        text.write_str(itoa::Buffer::new().format(part))?;
    }
    Ok(())
}

/// Where one request is from.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) peer: &'a Peer,
    /// What the peer says of others is believed.
    pub(crate) trusted: bool,
    /// Where the front wants nothing particular there is nothing more to say.
    more: Option<Box<More>>,
}

#[derive(Debug, Default)]
struct More {
    /// The client, if that is another than the peer.
    told: Option<Peer>,
    /// The request's number; empty if they are not numbered.
    id: Vec<u8>,
    /// Fields that its answer gets from the proxy.
    lines: Vec<u8>,
}

/// Fields that an answer gets from the proxy, each with its CR LF.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added<'a> {
    pub(crate) lines: &'a [u8],
    /// The field that is not passed on because it is among them.
    pub(crate) replaced: Option<&'a str>,
    /// Strict-Transport-Security is among them, too.
    pub(crate) has_hsts: bool,
    /// It goes over TLS.
    pub(crate) is_secured: bool,
}

impl<'a> Origin<'a> {
    /// All that there is to say where the front wants nothing particular.
    pub(crate) fn of(peer: &'a Peer) -> Origin<'a> {
        Origin { peer, trusted: false, more: None }
    }

    /// Reads a head for what its sender may say, and takes out of it what is said anew.
    pub(crate) fn read(
        front: &Front,
        peer: &'a Peer,
        head: &[u8],
        request: &mut RequestHead,
        ids: &Ids,
    ) -> Origin<'a> {
        let trusted = front.trusts(peer.address);
        let mut more = More::default();
        more.lines.extend_from_slice(peer.hsts());
        if trusted {
            let client = client_before(front, head, &request.fields);
            more.told = client.filter(|client| *client != peer.address).map(Peer::new);
        }
        if let Some(via) = &front.wire.via {
            push_field(&mut more.lines, "Via", &[b"1.1 ", via.as_bytes()]);
        }
        if let Some(name) = front.wire.request_id.as_deref() {
            let said = take(name, head, &mut request.fields);
            more.id = match said {
                Some(said) if trusted && is_fit(said) => said.to_vec(),
                _ => ids.next(),
            };
            push_field(&mut more.lines, name, &[&more.id]);
        }
        Origin { peer, trusted, more: Some(Box::new(more)) }
    }

    pub(crate) fn client(&self) -> &Peer {
        self.more.as_ref().and_then(|more| more.told.as_ref()).unwrap_or(self.peer)
    }

    /// Whether the peer speaks TLS with us.
    pub(crate) fn is_secured(&self) -> bool {
        self.peer.is_secured()
    }

    /// The request's number; empty if they are not numbered.
    pub(crate) fn id(&self) -> &[u8] {
        self.more.as_ref().map_or(b"", |more| &more.id)
    }

    pub(crate) fn added<'b>(&'b self, front: &'b Front) -> Added<'b> {
        let hsts = self.peer.hsts();
        let (has_hsts, is_secured) = (!hsts.is_empty(), self.is_secured());
        let Some(more) = &self.more else {
            return Added { lines: hsts, replaced: None, has_hsts, is_secured };
        };
        let replaced = front.wire.request_id.as_deref();
        Added { lines: &more.lines, replaced, has_hsts, is_secured }
    }
}

/// Appends a field of which the value is in pieces.
pub(crate) fn push_field(out: &mut Vec<u8>, name: &str, value: &[&[u8]]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    for piece in value {
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(b"\r\n");
}

/// Takes the fields of a name out of those that pass on. Its value, if there is exactly one.
fn take<'h>(name: &str, head: &'h [u8], fields: &mut [Field]) -> Option<&'h [u8]> {
    let mut value = None;
    let mut count = 0;
    for field in fields {
        if alike(field.name.of(head), name.as_bytes()) {
            field.role = Role::Hop;
            value = Some(field.value.of(head));
            count += 1;
        }
    }
    value.filter(|_| count == 1)
}

/// Takes the fields of a name out of those of an answer that pass on.
pub(crate) fn drop_field(name: &str, head: &[u8], fields: &mut [Field]) {
    take(name, head, fields);
}

/// The client as trusted proxies tell it; `None` if they tell none.
fn client_before(front: &Front, head: &[u8], fields: &[Field]) -> Option<IpAddr> {
    let mut client = None;
    let values = fields.iter().rev().filter(|field| is_for(head, field));
    for element in values.flat_map(|field| field.value.of(head).rsplit(|&byte| byte == b',')) {
        let element = syntax::trim(element);
        if element.is_empty() {
            continue;
        }
        // Whoever writes no address here may know more, but we do not.
        let Some(address) = address(element) else { break };
        client = Some(address);
        if !front.trusts(address) {
            break;
        }
    }
    client
}

/// Whether it is X-Forwarded-For, and not a name that some take for it.
pub(crate) fn is_for(head: &[u8], field: &Field) -> bool {
    field.role == Role::Forwarded && field.name.of(head).eq_ignore_ascii_case(b"x-forwarded-for")
}

/// An address, with a port or not.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxyd_wire as wire;

    use super::*;

    fn front() -> Front {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(str::to_owned).to_vec();
        Front::new(wire::Front { trusted, ..wire::Front::default() }).unwrap()
    }

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut head = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        for value in forwarded {
            push_field(&mut head, "X-Forwarded-For", &[value.as_bytes()]);
        }
        head.extend_from_slice(b"\r\n");
        let mut request = RequestHead::default();
        request.advance(&head).unwrap();
        let peer = Peer::new(peer.parse().unwrap());
        let origin = Origin::read(&front(), &peer, &head, &mut request, &Ids::new());
        origin.client().text.to_string()
    }

    #[test]
    fn the_last_that_is_not_trusted() {
        for (peer, forwarded, expected) in [
            ("1.1.1.1", &["2.2.2.2"][..], "1.1.1.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["2.2.2.2"], "2.2.2.2"),
            ("10.0.0.1", &["6.6.6.6, 2.2.2.2"], "2.2.2.2"),
            ("10.0.0.1", &["6.6.6.6, 2.2.2.2, 10.9.9.9,10.8.8.8"], "2.2.2.2"),
            ("10.0.0.1", &["6.6.6.6", "2.2.2.2", "10.9.9.9"], "2.2.2.2"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["6.6.6.6, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["", " , ,"], "10.0.0.1"),
            ("10.0.0.1", &["2.2.2.2:4711"], "2.2.2.2"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("fd00::1", &["2001:db8::1, ::ffff:10.0.0.2"], "2001:db8::1"),
            ("::ffff:10.0.0.1", &["2.2.2.2"], "2.2.2.2"),
        ] {
            assert_eq!(client(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    proptest! {
        #[test]
        fn addresses_are_written_as_ever(address: IpAddr) {
            let text = address.to_canonical().to_string();
            prop_assert_eq!(&*Peer::new(address).text, text);
        }

        /// Whatever a client puts before it, the address that a trusted proxy adds is what counts.
        #[test]
        fn nobody_is_somebody_else(spoofed in "[0-9a-f.:, \\[\\]unkow]{0,60}") {
            let told = format!("{spoofed}, 2.2.2.2");
            prop_assert_eq!(client("10.0.0.1", &[&spoofed, &told, "10.0.0.9"]), "2.2.2.2");
        }
    }
}
