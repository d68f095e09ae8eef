//! Why a message is refused.

use thiserror::Error;

/// What is wrong with a message. The sentences are for whoever wrote the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Malformed {
    #[error("a line does not end in CR LF")]
    LineEnding,
    #[error("the request line is not METHOD SP TARGET SP HTTP/1.1")]
    RequestLine,
    #[error("the request target is neither a path nor an http:// address")]
    Target,
    #[error("the request target is longer than 8 KiB")]
    TargetTooLong,
    #[error("only HTTP/1.1 and HTTP/1.0 are spoken here")]
    Version,
    #[error("CONNECT and TRACE are not offered")]
    Method,
    #[error("the method is not written in capitals")]
    MethodCase,
    #[error("the status line is not HTTP/1.1 SP CODE SP REASON")]
    StatusLine,
    #[error("a field name holds something else than letters, digits and hyphens")]
    FieldName,
    #[error("a field value holds a control character")]
    FieldValue,
    #[error("a field is folded over two lines")]
    Folded,
    #[error("there are more than 128 fields")]
    TooManyFields,
    #[error("the head is larger than 32 KiB")]
    HeadTooLarge,
    #[error("there is no Host field")]
    HostMissing,
    #[error("there are two Host fields")]
    HostRepeated,
    #[error("the host is not a name or an address")]
    Host,
    #[error("the authority and the Host field differ")]
    Authority,
    #[error("a field is about the connection, which HTTP/2 has no fields for")]
    ConnectionField,
    #[error("Content-Length is not a number")]
    Length,
    #[error("Content-Length is given twice")]
    LengthRepeated,
    #[error("both Content-Length and Transfer-Encoding are given")]
    LengthAndEncoding,
    #[error("Transfer-Encoding is something else than chunked, once")]
    Encoding,
    #[error("Transfer-Encoding does not exist in HTTP/1.0")]
    EncodingIn10,
    #[error("Expect is something else than 100-continue")]
    Expectation,
    #[error("a chunk size is not a hexadecimal number")]
    ChunkSize,
    #[error("a chunk does not end in CR LF")]
    ChunkEnd,
    #[error("a chunk extension holds a control character, or they are longer than 4 KiB")]
    ChunkExtension,
    #[error("a trailer field is malformed, or they are more than 128 or longer than 8 KiB")]
    Trailer,
    #[error("there are more than 16 interim answers")]
    TooManyInterim,
    #[error("the connection was switched to another protocol without being asked to")]
    Switched,
}
