//! The readers of HTTP/1 for whoever feeds them with anything, which is `proxyd/fuzz`: bytes go in,
//! in pieces; what they mean comes out, and how it is written for the other side. Built for that
//! and for tests only.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use proxyd_wire as wire;

use crate::front::Front;
use crate::h1::body::{Body, Framing};
use crate::h1::malformed::Malformed;
use crate::h1::request::{Progress, RequestHead};
use crate::h1::response::ResponseHead;
use crate::h1::trailer::Passing;
use crate::headers;
use crate::host::Host;
use crate::origin::{Origin, Peer};
use crate::request_id::Ids;

/// What some bytes are, from their beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading<M> {
    /// Nothing yet.
    Partial,
    /// Nothing, whatever comes. `bound`: it may be well formed, but is too much.
    Refused {
        /// Only a bound was met.
        bound: bool,
    },
    /// A message with its body.
    Whole(Box<M>),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As it came.
    pub method: Vec<u8>,
    /// A path, or `*`.
    pub target: Vec<u8>,
    /// In the one spelling; empty for an old client that names none.
    pub host: String,
    /// The connection ends with it.
    pub last: bool,
    /// What is behind the head.
    pub body: Payload,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its code.
    pub status: u16,
    /// Only the end of the connection ends it.
    pub until_close: bool,
    /// The connection ends with it.
    pub last: bool,
    /// What is behind the head.
    pub body: Payload,
}

/// What is behind a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The body without framing.
    pub bytes: Vec<u8>,
    /// The fields behind it, as they came.
    pub trailers: Vec<u8>,
    /// How many bytes the message has, with its head.
    pub used: usize,
    /// All of it as the other side gets it. How a body is cut into chunks depends on the pieces.
    pub written: Vec<u8>,
}

/// Of the networks that are kept for documents.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Settings under which all is said that can be.
static TALKATIVE: LazyLock<Front> = LazyLock::new(|| {
    let wire = wire::Front {
        trusted: vec![PEER.to_string()],
        real_ip: true,
        forwarded: true,
        via: Some("proxyd".to_owned()),
        request_id: Some("X-Request-Id".to_owned()),
        ..wire::Front::default()
    };
    Front::new(wire).unwrap_or_default()
});

/// Reads a request that comes in pieces, which end at `ends` and at the end of `bytes`. `trusted`:
/// whoever sends it is believed as to where it comes from.
#[must_use]
pub fn request(bytes: &[u8], ends: &[usize], trusted: bool) -> Reading<Request> {
    let plain = Front::default();
    let front = if trusted { &*TALKATIVE } else { &plain };
    let peer = Peer::new(PEER);
    let mut head = RequestHead::default();
    let mut flow = None;
    for end in ends.iter().copied().chain([bytes.len()]) {
        let there = bytes.get(..end).unwrap_or(bytes);
        if flow.is_none() {
            match head.advance(there) {
                Err(malformed) => return refused(malformed),
                Ok(Progress::Partial) => continue,
                Ok(Progress::Complete) => {}
            }
            let named = head.host.of(there);
            if Host::parse(named).is_none() && (head.is_11 || !named.is_empty()) {
                return refused(Malformed::Host);
            }
            let mut written = Vec::new();
            let origin = Origin::read(front, &peer, there, &mut head, &Ids::new());
            headers::write_request(there, &head, front, &origin, &mut written);
            let passing = Passing::new(&head.connection, there);
            flow = Some(Flow::new(head.framing, head.framing, head.len, passing, written));
        }
        if let Some(flow) = &mut flow {
            if let Err(malformed) = flow.take(there) {
                return refused(malformed);
            }
            if flow.body.is_done() {
                let host = Host::parse(head.host.of(there));
                return Reading::Whole(Box::new(Request {
                    method: head.method.of(there).to_vec(),
                    target: head.target.of(there).to_vec(),
                    host: host.map_or(String::new(), |host| host.to_string()),
                    last: !head.keeps_alive(),
                    body: flow.payload(),
                }));
            }
        }
    }
    Reading::Partial
}

/// Reads an answer in the same way; the connection is closed behind the last piece.
#[must_use]
pub fn answer(bytes: &[u8], ends: &[usize], to_head: bool) -> Reading<Answer> {
    let mut head = ResponseHead::default();
    let mut flow: Option<Flow> = None;
    for end in ends.iter().copied().chain([bytes.len()]) {
        let there = bytes.get(..end).unwrap_or(bytes);
        if flow.is_none() {
            match head.advance(there, to_head) {
                Err(malformed) => return refused(malformed),
                Ok(Progress::Partial) => continue,
                Ok(Progress::Complete) => {}
            }
            let reframed = match head.framing {
                Framing::Chunked | Framing::UntilClose => Framing::Chunked,
                Framing::None | Framing::Length(_) => head.framing,
            };
            let mut written = Vec::new();
            headers::write_response(there, &head, reframed, true, (b"", &[]), &mut written);
            let passing = Passing::new(&head.connection, there);
            flow = Some(Flow::new(head.framing, reframed, head.len, passing, written));
        }
        if let Some(flow) = &mut flow
            && let Err(malformed) = flow.take(there)
        {
            return refused(malformed);
        }
    }
    let Some(mut flow) = flow else { return Reading::Partial };
    let until_close = matches!(flow.body, Body::UntilClose);
    if until_close {
        flow.close();
    } else if !flow.body.is_done() {
        return Reading::Partial;
    }
    let last = !head.keeps_alive();
    Reading::Whole(Box::new(Answer {
        status: head.status,
        until_close,
        last,
        body: flow.payload(),
    }))
}

fn refused<M>(malformed: Malformed) -> Reading<M> {
    let bound = matches!(
        malformed,
        Malformed::TargetTooLong
            | Malformed::TooManyFields
            | Malformed::HeadTooLarge
            | Malformed::ChunkExtension
            | Malformed::Trailer
    );
    Reading::Refused { bound }
}

/// A body on its way through.
struct Flow {
    body: Body,
    chunked: bool,
    passing: Passing,
    used: usize,
    bytes: Vec<u8>,
    written: Vec<u8>,
}

impl Flow {
    fn new(
        framing: Framing,
        reframed: Framing,
        used: usize,
        passing: Passing,
        written: Vec<u8>,
    ) -> Flow {
        let chunked = reframed == Framing::Chunked;
        Flow { body: Body::new(framing), chunked, passing, used, bytes: Vec::new(), written }
    }

    /// Takes what is its own of all that is there.
    fn take(&mut self, there: &[u8]) -> Result<(), Malformed> {
        if self.body.is_done() {
            return Ok(());
        }
        let mut data = there.get(self.used..).unwrap_or_default().to_vec();
        let step = self.body.step(&mut data)?;
        self.used += step.consumed;
        self.write(data.get(step.start..step.end).unwrap_or_default());
        Ok(())
    }

    fn close(&mut self) {
        self.body = Body::Done;
        self.write(b"");
    }

    fn write(&mut self, payload: &[u8]) {
        let done = self.body.is_done();
        let tail = headers::write_frame(self.chunked, payload.len(), done, &mut self.written);
        let mut room = Vec::new();
        let tail = self.passing.end(&self.body, tail, &mut room);
        self.bytes.extend_from_slice(payload);
        self.written.extend_from_slice(payload);
        self.written.extend_from_slice(tail);
    }

    fn payload(&self) -> Payload {
        Payload {
            bytes: self.bytes.clone(),
            trailers: self.body.trailers().to_vec(),
            used: self.used,
            written: self.written.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_what_it_was() {
        let bytes =
            b"PUT http://A.test/x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n\
                      3;x\r\nabc\r\n0\r\nX:y\r\nHost: c\r\n\r\nbehind";
        let Reading::Whole(first) = request(bytes, &[40, 75, 80], true) else {
            panic!("not whole")
        };
        assert_eq!((first.host.as_str(), first.target.as_slice()), ("a.test", &b"/x"[..]));
        assert_eq!((first.body.bytes.as_slice(), first.body.used), (&b"abc"[..], bytes.len() - 6));
        let Reading::Whole(again) = request(&first.body.written, &[], true) else {
            panic!("not whole")
        };
        assert_eq!((again.host, again.target), (first.host, first.target));
        assert_eq!(again.body.trailers, b"X: y\r\n");

        let bytes = b"HTTP/1.0 200 OK\r\n\r\nall there is";
        let Reading::Whole(first) = answer(bytes, &[25], false) else { panic!("not whole") };
        assert!(first.until_close);
        let Reading::Whole(again) = answer(&first.body.written, &[], false) else {
            panic!("not whole")
        };
        assert_eq!((again.until_close, again.body.bytes), (false, first.body.bytes));
    }
}
