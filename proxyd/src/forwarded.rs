//! What a target is told of where a request comes from, beyond its own fields.

use std::net::IpAddr;

use crate::front::Front;
use crate::h1::field::{Field, Role};
use crate::h1::request::RequestHead;
use crate::origin::{Origin, Peer, is_for, push_field};

/// Writes the last fields of a request's head.
pub(crate) fn write(
    head: &[u8],
    request: &RequestHead,
    front: &Front,
    origin: &Origin<'_>,
    out: &mut Vec<u8>,
) {
    let host = request.host.of(head);
    let peer = origin.peer.text.as_bytes();
    if front.plain {
        out.extend_from_slice(b"X-Forwarded-For: ");
        out.extend_from_slice(peer);
        out.extend_from_slice(match &origin.peer.secured {
            None => b"\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: " as &[u8],
            Some(_) => b"\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: ",
        });
        out.extend_from_slice(host);
        out.extend_from_slice(b"\r\n");
        if let Some(secured) = &origin.peer.secured {
            out.extend_from_slice(&secured.client);
        }
        return;
    }
    // From others nothing is kept.
    let fields = if origin.trusted { request.fields.as_slice() } else { &[] };
    out.extend_from_slice(b"X-Forwarded-For: ");
    push_list(fields.iter().filter(|field| is_for(head, field)), head, out);
    out.extend_from_slice(peer);
    out.extend_from_slice(b"\r\n");
    let keeps = |suffix: &[u8]| kept(head, fields).any(|field| is_suffix(head, field, suffix));
    let client = origin.peer.secured.as_ref().map_or(&b""[..], |secured| &secured.client);
    for field in kept(head, fields) {
        if !client.is_empty() && is_suffix(head, field, b"client-cert") {
            continue;
        }
        out.extend_from_slice(field.name.of(head));
        out.extend_from_slice(b": ");
        out.extend_from_slice(field.value.of(head));
        out.extend_from_slice(b"\r\n");
    }
    if !keeps(b"proto") {
        push_field(out, "X-Forwarded-Proto", &[origin.peer.scheme().as_bytes()]);
    }
    if !keeps(b"host") {
        push_field(out, "X-Forwarded-Host", &[host]);
    }
    out.extend_from_slice(client);
    if front.wire.real_ip {
        push_field(out, "X-Real-IP", &[origin.client().text.as_bytes()]);
    }
    if front.wire.forwarded {
        write_forwarded(head, fields, origin.peer, host, out);
    }
    if let Some(via) = &front.wire.via {
        let version: &[u8] = match (request.is_translated, request.is_11) {
            (true, _) => b"2.0 ",
            (false, true) => b"1.1 ",
            (false, false) => b"1.0 ",
        };
        push_field(out, "Via", &[version, via.as_bytes()]);
    }
    if let Some(name) = &front.wire.request_id {
        push_field(out, name, &[origin.id()]);
    }
}

/// RFC 7239: behind what trusted proxies say, who the peer is and what it asked for.
fn write_forwarded(head: &[u8], fields: &[Field], peer: &Peer, host: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"Forwarded: ");
    let before = |field: &&Field| {
        field.role == Role::Forwarded && field.name.of(head).eq_ignore_ascii_case(b"forwarded")
    };
    push_list(fields.iter().filter(before), head, out);
    let node = match peer.address {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    out.extend_from_slice(node.as_bytes());
    // A host that was understood has no byte that would end a quoted string.
    out.extend_from_slice(b";host=\"");
    out.extend_from_slice(host);
    out.extend_from_slice(b"\";proto=");
    out.extend_from_slice(peer.scheme().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The values of fields as the beginning of a list that goes on.
fn push_list<'f>(fields: impl Iterator<Item = &'f Field>, head: &[u8], out: &mut Vec<u8>) {
    for value in fields.map(|field| field.value.of(head)).filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

/// X-Forwarded-* but for For, in the spelling that only a proxy writes: with `_` a client could have.
fn kept<'f>(head: &'f [u8], fields: &'f [Field]) -> impl Iterator<Item = &'f Field> {
    fields.iter().filter(move |field| {
        let name = field.name.of(head);
        field.role == Role::Forwarded
            && !name.contains(&b'_')
            && name.len() > 12
            && !is_for(head, field)
    })
}

fn is_suffix(head: &[u8], field: &Field, suffix: &[u8]) -> bool {
    field.name.of(head).get(12..).is_some_and(|rest| rest.eq_ignore_ascii_case(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_id::Ids;

    fn told(front: &str, peer: &str, fields: &str) -> String {
        let front = Front::new(serde_json::from_str(front).unwrap()).unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: app.test:80\r\n{fields}\r\n").into_bytes();
        let mut request = RequestHead::default();
        request.advance(&head).unwrap();
        let peer = Peer::new(peer.parse().unwrap());
        let origin = Origin::read(&front, &peer, &head, &mut request, &Ids::new());
        let mut out = Vec::new();
        write(&head, &request, &front, &origin, &mut out);
        String::from_utf8(out).unwrap()
    }

    const SPOOFED: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                           X-Forwarded-Host: a.test\r\nX-Forwarded-Port: 443\r\n\
                           X_Forwarded_Port: 1\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n";

    #[test]
    fn from_others_only_our_own_word() {
        let own = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: http\r\n\
                   X-Forwarded-Host: app.test:80\r\n";
        assert_eq!(told("{}", "1.1.1.1", SPOOFED), own);
        let front = r#"{"trusted":["10.0.0.0/8"],"real_ip":true,"forwarded":true}"#;
        let more = "X-Real-IP: 1.1.1.1\r\n\
                    Forwarded: for=1.1.1.1;host=\"app.test:80\";proto=http\r\n";
        assert_eq!(told(front, "1.1.1.1", SPOOFED), format!("{own}{more}"));
    }

    #[test]
    fn from_trusted_ones_it_is_appended_to_and_kept() {
        let front = r#"{"trusted":["10.0.0.0/8","fd00::/8"],"real_ip":true,"forwarded":true}"#;
        let kept = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: a.test\r\nX-Forwarded-Port: 443\r\n\
                    X-Real-IP: 6.6.6.6\r\n";
        assert_eq!(
            told(front, "10.0.0.1", SPOOFED),
            format!(
                "X-Forwarded-For: 6.6.6.6, 10.0.0.1\r\n{kept}Forwarded: for=6.6.6.6, \
                 for=10.0.0.1;host=\"app.test:80\";proto=http\r\n"
            )
        );
        assert!(told(front, "fd00::1", SPOOFED).contains(r#"for=6.6.6.6, for="[fd00::1]";"#));
        let without = told(front, "10.0.0.1", "X-Forwarded-For: \r\n");
        assert!(without.starts_with("X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: http\r\n"));
    }

    #[test]
    fn numbered_and_signed() {
        let front = r#"{"trusted":["10.0.0.0/8"],"via":"edge","request_id":"X-Request-Id"}"#;
        let fields = "x-request-id: mine\r\nVia: 1.0 fred\r\n";
        let out = told(front, "10.0.0.1", fields);
        assert!(out.ends_with("Via: 1.1 edge\r\nX-Request-Id: mine\r\n"), "{out}");
        let made = told(front, "1.1.1.1", fields);
        assert!(!made.contains("mine") && made.contains("X-Request-Id: "), "{made}");
        let twice = "X-Request-Id: a\r\nX-Request-Id: b\r\n";
        assert!(!told(front, "10.0.0.1", twice).contains("X-Request-Id: b\r\n"));
    }
}
