//! The supervisor of another machine, asked over TLS: where it is, how it is known, and with which token.
//!
//! A certificate is known by its fingerprint, not by who has signed it. One that is not known is shown to whoever
//! sits at a terminal, once; a program has to be told it. Before it is known, nothing is sent.

pub(crate) mod address;
pub(crate) mod contexts;
pub(crate) mod host;
mod known;
pub(crate) mod line;

pub(crate) use known::{RemoteError, meet, remote};
