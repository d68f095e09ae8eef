//! What arrived behind the proxy, read by many: they must all have read the same.

use std::net::Ipv6Addr;

use super::lenient::{self, Habits};
use super::strict::{self, Hand, Outcome, Request};

/// The requests in the bytes of one connection from the proxy. A last one that was given up on the
/// way is none; it panics at what one reader could understand otherwise than another.
pub fn judge(bytes: &[u8], readers: impl IntoIterator<Item = Habits>) -> Vec<Request> {
    let show = || String::from_utf8_lossy(bytes).into_owned();
    let mut requests = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match strict::read(&bytes[at..], Hand::Proxy) {
            Outcome::Whole { request, used } => {
                requests.push(*request);
                at += used;
            }
            Outcome::Partial => break,
            Outcome::Refused(why) => panic!("{why}, from byte {at} on, in {:?}", show()),
        }
    }
    for habits in readers {
        let read = lenient::read(bytes, habits);
        assert_eq!(read.len(), requests.len(), "{habits:?} reads {read:?} in {:?}", show());
        for (one, other) in requests.iter().zip(&read) {
            let same = plain(one) == plain(other);
            assert!(same, "{habits:?} reads {other:?} for {one:?} in {:?}", show());
        }
    }
    let framing = ["host", "content-length", "transfer-encoding", "connection", "set-cookie"];
    for (name, _) in requests.iter().flat_map(|request| plain(request).trailers) {
        assert!(!framing.contains(&name.as_str()), "{name} is behind a body in {:?}", show());
    }
    requests
}

/// A request without what each reader is free to see in his own way: whether it is the last, how
/// an address is shortened, and how names are spelled that mean nothing.
fn plain(request: &Request) -> Request {
    let mut plain = Request { last: false, ..request.clone() };
    let address = plain.host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Some(address) = address.and_then(|host| host.parse::<Ipv6Addr>().ok()) {
        plain.host = format!("[{address}]");
    }
    for (name, _) in &mut plain.trailers {
        *name = name.replace('_', "-");
    }
    plain
}
