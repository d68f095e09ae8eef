//! TLS towards clients: which certificate is shown to whom, the handshake, and what moves through it.
//!
//! ```text
//!   Certificate ─┐                            ┌─ resolve: name ─▶ certificate
//!   Settings ────┼▶ Keyring (wanted) ─▶ Tls ──┤
//!   Tickets ─────┘                   (picture)└─ handshake ─▶ Session, Secured ─▶ connection
//! ```
//!
//! The record layer and all of cryptography are rustls'. It is driven without buffers of its own: what
//! comes is decrypted where a worker has read it, and what goes is sealed into memory that a worker
//! has once. A connection that waits holds neither.

mod certificate;
mod challenge;
mod client;
mod handshake;
mod keyring;
mod lookout;
mod provider;
mod scratch;
mod session;
mod settings;
mod shelf;
mod strict;
mod tickets;

pub(crate) use certificate::{Certificate, Material, NotACertificate};
pub(crate) use challenge::{Challenges, proof};
pub(crate) use handshake::handshake;
pub(crate) use keyring::{Keyring, Tls};
pub(crate) use lookout::start as watch_files;
pub(crate) use provider::provider;
pub(crate) use scratch::Scratch;
pub(crate) use session::Session;
pub(crate) use settings::{NotATls, Settings};
pub(crate) use strict::{NotAnHsts, line as hsts};
pub(crate) use tickets::{NotATicketSecret, Secret};

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// What a connection says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// What a handshake has found out, for as long as the connection lives.
#[derive(Debug)]
pub(crate) struct Secured {
    /// What the client has chosen to speak.
    pub(crate) protocol: Protocol,
    /// The field that tells targets of the client's certificate; empty if it has shown none.
    pub(crate) client: Vec<u8>,
    /// The field that answers get; empty if there is none.
    pub(crate) hsts: std::sync::Arc<[u8]>,
}

/// What is spoken within TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    /// Nothing: the certificate that was shown was all that was asked for (RFC 8737).
    Challenge,
}

impl Protocol {
    fn of(alpn: Option<&[u8]>) -> Protocol {
        match alpn {
            Some(b"h2") => Protocol::Http2,
            Some(challenge::ALPN) => Protocol::Challenge,
            Some(_) | None => Protocol::Http1,
        }
    }
}
