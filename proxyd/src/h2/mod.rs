//! HTTP/2: in front each stream of a connection becomes one request like any other, behind each request a stream.
//!
//! ```text
//!   connection ─▶ session (frames, floods, draining) ─▶ strand ─▶ exchange ─▶ …
//!                    │                                    │
//!            sifted, watched ─▶ census, patience   request, inbound, outbound, answer
//!
//!   attempt ─▶ strand (ask, outbound, inbound, answer) ─▶ trunk ─▶ target
//! ```
//!
//! What a client says is written anew as the head and the body of an HTTP/1 request, and then read by
//! the one strict parser; what it is answered is read as HTTP/1 and told in frames. So routes, rules,
//! retries, limits and the log know nothing of it. A target that is asked over a stream is so by the same way back. There is no push and no priority here.

mod answer;
mod ask;
mod census;
mod inbound;
mod outbound;
mod patience;
mod request;
mod session;
mod sieve;
mod sifted;
mod strand;
mod trunk;
mod watched;

pub(crate) use session::serve;
pub(crate) use strand::Strand;
pub(crate) use trunk::Trunks;

/// What a connection begins with on which HTTP/2 is spoken.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a connection begins with HTTP/2, as far as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    Yes,
    No,
    /// It may.
    Perhaps,
}

/// Looks at what came first.
pub(crate) fn begins(bytes: &[u8]) -> Begins {
    if bytes.starts_with(PREFACE) {
        Begins::Yes
    } else if PREFACE.starts_with(bytes) {
        Begins::Perhaps
    } else {
        Begins::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_told_from_a_request() {
        assert_eq!(begins(b""), Begins::Perhaps);
        assert_eq!(begins(b"P"), Begins::Perhaps);
        assert_eq!(begins(b"POST / HTTP/1.1\r\n"), Begins::No);
        assert_eq!(begins(&PREFACE[..23]), Begins::Perhaps);
        assert_eq!(begins(PREFACE), Begins::Yes);
        assert_eq!(begins(&[PREFACE, b"\0\0"].concat()), Begins::Yes);
        assert_eq!(begins(b"PRI * HTTP/2.0\r\n\r\nXX"), Begins::No);
    }
}
