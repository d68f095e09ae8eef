//! What a stream brings, as the bytes that HTTP/1 would be: a request's body, or an answer with its head.
//!
//! Room for more is granted as it is taken, so that no more of it is held than the windows allow. A stream that was
//! reset is an error here, never an end.

use std::future::Future;
use std::io::{Error, ErrorKind, Result, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use tokio::io::ReadBuf;

use super::answer;

/// The size of a chunk in digits, and both its line ends; with some to spare.
const CHUNK_FRAME: usize = 24;

#[derive(Debug)]
enum At {
    /// Nothing was asked yet.
    Unasked,
    Head(ResponseFuture),
    Body(RecvStream),
    /// Behind the body, where fields may be.
    Trailers(RecvStream),
    Ended,
    Broken,
}

/// One direction of a stream: to us.
#[derive(Debug)]
pub(super) struct Inbound {
    at: At,
    chunked: bool,
    /// What comes answers a HEAD.
    to_head: bool,
    /// The other side has said that it has done nothing with what it was asked.
    unprocessed: bool,
    /// Taken off the stream, and not passed on yet.
    data: Bytes,
    /// The same of what goes around it.
    frame: Bytes,
}

impl Inbound {
    fn new(at: At, chunked: bool) -> Inbound {
        let (data, frame) = (Bytes::new(), Bytes::new());
        Inbound { at, chunked, to_head: false, unprocessed: false, data, frame }
    }

    /// Of a request. `chunked`: where it ends is told behind it, and not before.
    pub(super) fn body(stream: RecvStream, chunked: bool) -> Inbound {
        Inbound::new(At::Body(stream), chunked)
    }

    /// Of an answer that nobody has asked for yet.
    pub(super) fn unasked() -> Inbound {
        Inbound::new(At::Unasked, false)
    }

    /// It was asked for.
    pub(super) fn expect(&mut self, answer: ResponseFuture, to_head: bool) {
        self.at = At::Head(answer);
        self.to_head = to_head;
    }

    /// Whether what was asked can be asked again, whatever it is.
    pub(super) fn is_unprocessed(&self) -> bool {
        self.unprocessed
    }

    /// Ready when there is something to read, or the end.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.data.is_empty() && self.frame.is_empty() {
            let next = match &mut self.at {
                At::Head(answer) => {
                    if let Poll::Ready(Some(Ok(interim))) = answer.poll_informational(cx) {
                        self.frame = answer::written(&interim, answer::Behind::Nothing);
                        continue;
                    }
                    match ready!(Pin::new(answer).poll(cx)) {
                        Ok(answer) => self.begin(answer),
                        Err(error) => {
                            self.unprocessed = says_unprocessed(&error);
                            At::Broken
                        }
                    }
                }
                At::Body(stream) => match ready!(stream.poll_data(cx)) {
                    Some(Ok(data)) => {
                        self.data = data;
                        continue;
                    }
                    Some(Err(_)) => At::Broken,
                    None => match std::mem::replace(&mut self.at, At::Ended) {
                        At::Body(stream) if self.chunked => At::Trailers(stream),
                        _ => At::Ended,
                    },
                },
                At::Trailers(stream) => match ready!(stream.poll_trailers(cx)) {
                    Ok(fields) => {
                        self.frame = last_chunk(fields.as_ref());
                        At::Ended
                    }
                    Err(_) => At::Broken,
                },
                At::Unasked => return Poll::Pending,
                At::Ended | At::Broken => break,
            };
            self.at = next;
        }
        Poll::Ready(())
    }

    /// Has the head of an answer read, and what is behind it next.
    fn begin(&mut self, answer: http::Response<RecvStream>) -> At {
        let (parts, stream) = answer.into_parts();
        let behind = if self.to_head || matches!(parts.status.as_u16(), 204 | 304) {
            answer::Behind::Nothing
        } else if parts.headers.contains_key(http::header::CONTENT_LENGTH) {
            answer::Behind::Measured
        } else if stream.is_end_stream() {
            answer::Behind::Empty
        } else {
            answer::Behind::Open
        };
        self.chunked = behind == answer::Behind::Open;
        self.frame = answer::written(&http::Response::from_parts(parts, ()), behind);
        At::Body(stream)
    }

    /// Reads as much as there is; nothing is the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = to.filled().len();
        while to.remaining() > 0 {
            if self.poll_readable(cx).is_pending() {
                return if to.filled().len() > before {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            }
            if !self.frame.is_empty() {
                pour(&mut self.frame, to);
            } else if !self.data.is_empty() {
                if !self.chunked {
                    let count = pour(&mut self.data, to);
                    self.grant(count);
                } else if to.remaining() > CHUNK_FRAME {
                    self.read_chunk(to);
                } else if to.filled().len() > before {
                    break;
                } else {
                    self.stage_chunk();
                }
            } else if to.filled().len() > before || matches!(self.at, At::Ended) {
                break;
            } else {
                return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// One chunk of as much as there is room for.
    fn read_chunk(&mut self, to: &mut ReadBuf<'_>) {
        let size = self.data.len().min(to.remaining().saturating_sub(CHUNK_FRAME));
        let mut chunk = self.data.split_to(size);
        let written = write!(Room(to), "{size:x}\r\n");
        pour(&mut chunk, to);
        // There is room: it was made above.
        let _ = written.and_then(|()| Room(to).write_all(b"\r\n"));
        self.grant(size);
    }

    /// The same where there is room for next to nothing.
    fn stage_chunk(&mut self) {
        let size = self.data.len().min(1024);
        let chunk = self.data.split_to(size);
        self.frame = Bytes::from([format!("{size:x}\r\n").as_bytes(), &chunk, b"\r\n"].concat());
        self.grant(size);
    }

    fn grant(&mut self, count: usize) {
        if let At::Body(stream) = &mut self.at {
            // It fails only where the stream has come to its end, and nothing more is sent.
            let _ = stream.flow_control().release_capacity(count);
        }
    }
}

/// RFC 9113, 8.7: what is refused, or behind the last stream that a side which goes away names, has not been
/// looked at.
fn says_unprocessed(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.reason() == Some(Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.reason() == Some(Reason::NO_ERROR)))
}

fn pour(from: &mut Bytes, to: &mut ReadBuf<'_>) -> usize {
    let count = from.len().min(to.remaining());
    to.put_slice(from.get(..count).unwrap_or_default());
    from.advance(count);
    count
}

/// What goes behind the last chunk of a body: its fields were checked as frames were.
fn last_chunk(fields: Option<&http::HeaderMap>) -> Bytes {
    let mut out = b"0\r\n".to_vec();
    for (name, value) in fields.into_iter().flatten() {
        answer::push_line(name, value, &mut out);
    }
    out.extend_from_slice(b"\r\n");
    Bytes::from(out)
}

/// The free part of what is read into.
struct Room<'a, 'b>(&'a mut ReadBuf<'b>);

impl Write for Room<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if bytes.len() > self.0.remaining() {
            return Err(Error::from(ErrorKind::WriteZero));
        }
        self.0.put_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
