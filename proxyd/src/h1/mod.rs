//! HTTP/1 as bytes: heads, framing and chunks. No I/O, no clock.
//!
//! It reads what RFC 9112 allows and refuses whatever two readers could understand differently:
//! a message that passes is written anew from its parts, never copied through.

pub(crate) mod body;
pub(crate) mod chunked;
pub(crate) mod field;
pub(crate) mod malformed;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod syntax;
pub(crate) mod trailer;
mod words;

#[cfg(test)]
mod vectors;
