//! Answering with a file: which of it, and how it gets to the client.
//!
//! A small one goes with its head in one write. Of a larger one the kernel sends what is behind the head by itself, where
//! nobody has to look at the bytes; within TLS and HTTP/2, and into an encoder, it is read piece by piece.

use std::future::poll_fn;
use std::io::IoSlice;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::task::{Poll, ready};
use std::time::SystemTime;

use tokio::task::yield_now;
use tokio::time::Instant;

use super::{End, Exchange};
use crate::access_log::push_number;
use crate::buffer::Buffer;
use crate::compression::{self, Accepted, Coding, Encoder};
use crate::crowd::Place as Descriptor;
use crate::files::{Folder, Found, Missing, NoPlace, Opened, Part, Place, Verdict, encode, judge};
use crate::flow::{self, Stop, Wait};
use crate::h1::malformed::Malformed;
use crate::headers;
use crate::limits;
use crate::origin::push_field;
use crate::pace::Pace;
use crate::path;
use crate::refusal::{Refusal, reason};
use crate::rules::Rules;
use crate::worker::Worker;

/// A file, and how it is shown.
struct Shown {
    status: u16,
    opened: Box<Opened>,
    part: Option<Part>,
    /// It is compressed on its way, in this coding.
    coding: Option<Coding>,
}

/// A body that does not go at once, counted: a proxy that drains waits for it for as long as for a stream.
struct Long<'a> {
    worker: &'a Worker,
    until: Option<Instant>,
}

impl<'a> Long<'a> {
    fn of(worker: &'a Worker) -> Long<'a> {
        worker.begin_stream();
        Long { worker, until: None }
    }

    /// Lets others have their turn before the next piece, unless it has to end.
    async fn pause(&mut self) -> Result<(), Stop> {
        yield_now().await;
        if !self.worker.draining.get() {
            return Ok(());
        }
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + self.worker.stream_grace);
        if until <= now { Err(Stop::TimedOut) } else { Ok(()) }
    }
}

impl Drop for Long<'_> {
    fn drop(&mut self) {
        self.worker.end_stream();
    }
}

impl Exchange<'_> {
    /// Answers with what the path names of a folder.
    pub(super) async fn serve_file(&mut self, rules: &Rules, folder: &Folder) -> End {
        let head = self.desk.incoming.data();
        let to_head = match self.desk.request.method.of(head) {
            b"GET" => false,
            b"HEAD" => true,
            _ => return End::Refused(Refusal::OnlyFiles),
        };
        let accepted = Accepted::read(head, &self.desk.request.fields);
        let descriptor = match self.descriptor() {
            Ok(descriptor) => descriptor,
            Err(refusal) => return End::Refused(refusal),
        };
        let (status, opened) = match self.look_up(folder, accepted) {
            Ok(found) => found,
            Err(end) => return end,
        };
        let mut shown = Shown { status, opened, part: None, coding: None };
        // A page in place of another says nothing of what the client has.
        if status == 200 {
            match self.judge(&shown.opened, to_head) {
                Verdict::Whole => {}
                Verdict::Part(part) => (shown.status, shown.part) = (206, Some(part)),
                Verdict::Unchanged => shown.status = 304,
                Verdict::Failed => return End::Refused(Refusal::OtherFile),
                Verdict::Beyond => return End::Refused(Refusal::NoPart(shown.opened.size)),
            }
        }
        let mut encoder = None;
        if let Some(coding) = shown.coding_for(rules, accepted) {
            encoder = self.worker.spare.encoders.take(coding);
            shown.coding = encoder.as_ref().map(|_| coding);
        }
        let end = self.show(rules, &shown, encoder, to_head).await;
        drop(descriptor);
        end
    }

    /// A place for the file among the descriptors of the process.
    fn descriptor(&self) -> Result<Descriptor, Refusal> {
        let place = self.worker.crowd.place();
        place
            .or_else(
                |error| {
                    if self.worker.make_room() { self.worker.crowd.place() } else { Err(error) }
                },
            )
            .map_err(|_| Refusal::Exhausted)
    }

    /// The file that is shown, and with which status.
    fn look_up(&self, folder: &Folder, accepted: Accepted) -> Result<(u16, Box<Opened>), End> {
        let target = self.desk.request.target.of(self.desk.incoming.data());
        let (path, query) = path::split(target);
        let steps = self.found.as_ref().map_or(0, super::Found::steps);
        let found = match Place::parse(path, steps) {
            Ok(place) => folder.find(&place, accepted).map_err(|missing| (missing, place)),
            Err(NoPlace::Malformed) => {
                return Err(End::Refused(Refusal::BadRequest(Malformed::Target)));
            }
            Err(NoPlace::Hidden) => {
                Err((Missing::NotThere, Place { name: Vec::new(), is_open: true }))
            }
        };
        match found {
            Ok(Found::File(opened)) => Ok((200, opened)),
            Ok(Found::Folder) => Err(End::Elsewhere(with_slash(path, query))),
            Err((Missing::NotThere, _)) => {
                folder.instead(accepted).ok_or(End::Refused(Refusal::NoFile))
            }
            Err((Missing::Forbidden, _)) => Err(End::Refused(Refusal::ClosedFile)),
            Err((Missing::Exhausted, _)) => Err(End::Refused(Refusal::Exhausted)),
            Err((Missing::Unreadable, _)) => Err(End::Refused(Refusal::UnreadableFile)),
        }
    }

    fn judge(&self, opened: &Opened, to_head: bool) -> Verdict {
        let head = self.desk.incoming.data();
        judge(head, &self.desk.request, &opened.validator, opened.size, to_head)
    }

    /// Sends the head, and what is to go behind it.
    async fn show(
        &mut self,
        rules: &Rules,
        shown: &Shown,
        encoder: Option<Encoder>,
        to_head: bool,
    ) -> End {
        let received = self.upload.as_ref().is_none_or(|upload| upload.is_through());
        let is_framed = shown.coding.is_none() || self.desk.request.is_11 || to_head;
        let (reuse_client, connection) = self.afterwards(received && is_framed);
        let added = self.origin.added(self.front).lines;
        let is_11 = self.desk.request.is_11;
        let reply = &mut self.desk.outgoing;
        reply.clear();
        shown.write_head(is_11, to_head, &[connection, added], reply);
        rules.edit_response(self.origin.is_secured(), reply);
        self.sent.status.set(shown.status);
        let sent = match encoder {
            _ if to_head || shown.status == 304 => self.send_reply().await,
            Some(encoder) => self.send_encoded(shown, encoder, is_11).await,
            None => self.send_part(shown).await,
        };
        self.ended = Some(Instant::now());
        match sent {
            Ok(()) => End::Whole { reuse_client },
            Err(Stop::TimedOut | Stop::Failed) => End::Cut,
        }
    }

    async fn send_reply(&mut self) -> Result<(), Stop> {
        self.timer.set_after(self.own_bounds.as_deref().unwrap_or(&self.front.bounds).write);
        flow::send(&mut self.stream, &self.desk.outgoing, self.timer, &mut 0).await
    }

    async fn send_part(&mut self, shown: &Shown) -> Result<(), Stop> {
        let size = shown.part.map_or(shown.opened.size, Part::len);
        let first = shown.part.map_or(0, |part| part.first);
        match usize::try_from(size) {
            Ok(size) if size <= limits::SMALL_FILE => {
                let reply = &mut self.desk.outgoing;
                let head = reply.len();
                reply.resize(head + size, 0);
                let room = reply.get_mut(head..).unwrap_or_default();
                shown.opened.file.read_exact_at(room, first).map_err(|_| Stop::Failed)?;
                self.send_reply().await?;
                self.sent.bytes.set(size as u64);
                Ok(())
            }
            _ if self.stream.splices() => self.send_file(&shown.opened, first, size).await,
            _ => self.send_read(&shown.opened, first, size).await,
        }
    }

    /// Has the kernel send it. A file that has become shorter is a cut, as it is whenever less comes than was said.
    async fn send_file(&mut self, opened: &Opened, first: u64, size: u64) -> Result<(), Stop> {
        let mut long = Long::of(self.worker);
        let bounds = self.own_bounds.as_deref().unwrap_or(&self.front.bounds);
        let (time, mut pace) = (bounds.write, Pace::new(bounds));
        let reply = self.desk.outgoing.as_slice();
        let mut begun = 0;
        let mut at = i64::try_from(first).map_err(|_| Stop::Failed)?;
        let mut left = size;
        while left > 0 {
            let mut wait = Wait { timer: &mut *self.timer, time, pace: &mut pace };
            let mut held = None;
            let sent = poll_fn(|cx| {
                loop {
                    let rest = reply.get(begun..).unwrap_or_default();
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(limits::FILE_PIECE);
                    let moved = if rest.is_empty() {
                        self.stream.poll_send_file(cx, &opened.file, &mut at, most)
                    } else {
                        self.stream.poll_begin(cx, rest)
                    };
                    let count = match moved {
                        Poll::Ready(Ok(count @ 1..)) => count,
                        Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Stop::Failed)),
                        Poll::Pending => {
                            ready!(wait.poll(&mut held, cx));
                            return Poll::Ready(Err(Stop::TimedOut));
                        }
                    };
                    wait.over(held.take(), count)?;
                    if rest.is_empty() {
                        return Poll::Ready(Ok(count as u64));
                    }
                    begun += count;
                }
            })
            .await?;
            left = left.saturating_sub(sent);
            self.sent.bytes.set(self.sent.bytes.get() + sent);
            if left > 0 {
                long.pause().await?;
            }
        }
        Ok(())
    }

    /// The same where it has to be read.
    async fn send_read(&mut self, opened: &Opened, first: u64, size: u64) -> Result<(), Stop> {
        let mut long = Long::of(self.worker);
        let bounds = self.own_bounds.as_deref().unwrap_or(&self.front.bounds);
        let (time, mut pace) = (bounds.write, Pace::new(bounds));
        let mut buffer = self.worker.spare.large();
        let mut at = first;
        let end = first.saturating_add(size);
        let mut sent = Ok(());
        while at < end && sent.is_ok() {
            let count = read(opened, at..end, limits::BODY_BUFFER, &mut buffer)?;
            let wait = Wait { timer: &mut *self.timer, time, pace: &mut pace };
            let mut parts = [IoSlice::new(&self.desk.outgoing), IoSlice::new(buffer.data())];
            sent = flow::give(&mut self.stream, &mut parts, wait).await;
            self.sent.bytes.set(self.sent.bytes.get() + count as u64);
            self.desk.outgoing.clear();
            buffer.consume(count);
            at += count as u64;
            if at < end {
                long.pause().await?;
            }
        }
        self.worker.spare.put_large(buffer);
        sent
    }

    /// The same through an encoder, whose end nobody knows before.
    async fn send_encoded(
        &mut self,
        shown: &Shown,
        mut encoder: Encoder,
        chunked: bool,
    ) -> Result<(), Stop> {
        let mut long = Long::of(self.worker);
        let mut buffer = self.worker.spare.large();
        let (mut at, end) = (0, shown.opened.size);
        while at < end {
            let count = read(&shown.opened, at..end, limits::ANSWER_FIRST, &mut buffer)?;
            encoder.write(buffer.data()).map_err(|_| Stop::Failed)?;
            buffer.consume(count);
            at += count as u64;
            if at < end {
                if encoder.out().len() >= limits::ENCODED {
                    let piece = std::mem::take(encoder.out());
                    self.send_piece(&piece, chunked, false).await?;
                }
                long.pause().await?;
            }
        }
        self.worker.spare.put_large(buffer);
        let last = encoder.finish().map_err(|_| Stop::Failed)?;
        self.send_piece(&last, chunked, true).await
    }

    async fn send_piece(&mut self, piece: &[u8], chunked: bool, last: bool) -> Result<(), Stop> {
        let bounds = self.own_bounds.as_deref().unwrap_or(&self.front.bounds);
        let reply = &mut self.desk.outgoing;
        let tail = headers::write_frame(chunked, piece.len(), last, reply);
        let mut parts = [IoSlice::new(reply), IoSlice::new(piece), IoSlice::new(tail)];
        let wait = Wait { timer: self.timer, time: bounds.write, pace: &mut Pace::new(bounds) };
        let given = flow::give(&mut self.stream, &mut parts, wait).await;
        self.sent.bytes.set(self.sent.bytes.get() + piece.len() as u64);
        reply.clear();
        given
    }
}

impl Shown {
    /// What the whole of it could be compressed by, where that is worth it.
    fn coding_for(&self, rules: &Rules, accepted: Accepted) -> Option<Coding> {
        let opened = &self.opened;
        let is_whole = self.part.is_none() && opened.coding.is_none();
        let types = rules.compressed()?;
        let is_worth_it = opened.size >= limits::COMPRESSED && types.has(opened.kind.as_bytes());
        accepted.best().filter(|_| is_whole && is_worth_it)
    }

    fn write_head(&self, is_11: bool, to_head: bool, own: &[&[u8]], out: &mut Vec<u8>) {
        let opened = &self.opened;
        out.extend_from_slice(b"HTTP/1.1 ");
        push_number(out, u64::from(self.status));
        out.push(b' ');
        out.extend_from_slice(reason(self.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        let date = httpdate::fmt_http_date(SystemTime::now());
        push_field(out, "Date", &[date.as_bytes()]);
        if self.status != 304 {
            push_field(out, "Content-Type", &[opened.kind.as_bytes()]);
            match self.coding {
                Some(_) if is_11 && !to_head => {
                    out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                }
                Some(_) => {}
                None => self.write_length(out),
            }
        }
        if let Some(coding) = self.coding.or(opened.coding).filter(|_| self.status != 304) {
            push_field(out, "Content-Encoding", &[coding.name().as_bytes()]);
        }
        if self.status != 404 {
            push_field(out, "Last-Modified", &[opened.validator.date().as_bytes()]);
            let tag = opened.validator.tag.as_bytes();
            match self.coding {
                Some(_) => out.extend_from_slice(&compression::weakened(tag)),
                None => push_field(out, "ETag", &[tag]),
            }
        }
        if self.coding.is_none() && matches!(self.status, 200 | 206) {
            out.extend_from_slice(b"Accept-Ranges: bytes\r\n");
        }
        if opened.varies || self.coding.is_some() {
            out.extend_from_slice(compression::VARY);
        }
        for lines in own {
            out.extend_from_slice(lines);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_length(&self, out: &mut Vec<u8>) {
        let size = self.opened.size;
        out.extend_from_slice(b"Content-Length: ");
        push_number(out, self.part.map_or(size, Part::len));
        out.extend_from_slice(b"\r\n");
        if let Some(Part { first, last }) = self.part {
            out.extend_from_slice(b"Content-Range: bytes ");
            push_number(out, first);
            out.push(b'-');
            push_number(out, last);
            out.push(b'/');
            push_number(out, size);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Reads a piece of a file, of at most so many bytes, into a buffer that holds nothing.
fn read(
    opened: &Opened,
    place: Range<u64>,
    most: usize,
    buffer: &mut Buffer,
) -> Result<usize, Stop> {
    let left = usize::try_from(place.end - place.start).unwrap_or(usize::MAX);
    let room = buffer.space();
    let most = most.min(left).min(room.len());
    match opened.file.read_at(room.get_mut(..most).unwrap_or_default(), place.start) {
        Ok(count @ 1..) => {
            buffer.filled(count);
            Ok(count)
        }
        Ok(0) | Err(_) => Err(Stop::Failed),
    }
}

/// The path of a folder, as it has to be asked for. It begins with one slash: two would be another host.
fn with_slash(path: &[u8], query: &[u8]) -> Vec<u8> {
    // It names a folder, so that it has a spelling, in which every `%` begins an escape.
    let spelled = path::spelling(path).unwrap_or_default();
    let mut place = Vec::with_capacity(spelled.len() + query.len() + 1);
    for (count, part) in spelled.split(|&byte| byte == b'%').enumerate() {
        if count > 0 {
            place.push(b'%');
        }
        encode(part, &mut place);
    }
    if !place.ends_with(b"/") {
        place.push(b'/');
    }
    place.extend_from_slice(query);
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_asked_for_with_a_slash() {
        let place = |path: &str, query: &str| {
            String::from_utf8(with_slash(path.as_bytes(), query.as_bytes())).unwrap()
        };
        assert_eq!(place("/docs", "?a=b"), "/docs/?a=b");
        assert_eq!(place("/.app/a%2fb\"", ""), "/.app/a%2Fb%22/");
        assert_eq!(place("//evil.example/..//docs", ""), "/");
        assert_eq!(place("//docs", ""), "/docs/");
        assert_eq!(place("/a/../d%0d%0aX:%20y", ""), "/d%0D%0AX:%20y/");
        assert_eq!(place("/\\evil.example", ""), "/%5Cevil.example/");
        assert_eq!(place("/%5cevil.example", ""), "/%5Cevil.example/");
    }
}
