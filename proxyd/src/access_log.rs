//! One line a request: in the Common format; in the Combined one, plus the time in milliseconds and the
//! target; or as a JSON object.
//!
//! A worker collects lines and hands over batches; one thread writes them. When that thread is
//! behind by the whole queue, lines are dropped and counted, and the data path goes on.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cli::LogFormat;
use crate::gauges::Gauges;
use crate::h1::syntax;
use crate::limits;
use crate::say::say;

const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
const RFC3339: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// What the writing thread is told.
enum Order {
    Write(Vec<u8>),
    Reopen,
}

/// Memory of batches that were written. Allocated anew each time it would cost more than the lines that go there: as
/// large as it is, it has the allocator tidy up all that was freed.
#[derive(Clone, Debug, Default)]
struct Blank(Arc<Mutex<Vec<Vec<u8>>>>);

impl Blank {
    fn take(&self) -> Vec<u8> {
        let blank = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        blank.unwrap_or_else(|| Vec::with_capacity(limits::LOG_BATCH + 1024))
    }

    fn put(&self, mut written: Vec<u8>) {
        let mut blank = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Of lines out of the common size none holds memory for ever.
        let is_usual = written.capacity() <= 2 * limits::LOG_BATCH;
        if is_usual && blank.len() < limits::SPARE_LOG_BATCHES {
            written.clear();
            blank.push(written);
        }
    }
}

/// What a line tells. All but the numbers is as the client sent it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) client: &'a str,
    /// Whose password was right; empty where none was asked for.
    pub(crate) user: &'a str,
    pub(crate) request: &'a [u8],
    pub(crate) status: u16,
    /// Of the body, sent to the client.
    pub(crate) bytes: u64,
    pub(crate) referer: &'a [u8],
    pub(crate) user_agent: &'a [u8],
    pub(crate) took: Duration,
    pub(crate) ended: Instant,
    pub(crate) target: &'a str,
    /// The request's number; empty where they are not numbered.
    pub(crate) id: &'a [u8],
}

/// What a line tells that is written long after its request is gone.
#[derive(Debug)]
pub(crate) struct KeptLine {
    client: Box<str>,
    user: Box<str>,
    request: Box<[u8]>,
    referer: Box<[u8]>,
    user_agent: Box<[u8]>,
    id: Box<[u8]>,
    status: u16,
    started: Instant,
}

impl KeptLine {
    pub(crate) fn of(line: &Line<'_>, started: Instant) -> KeptLine {
        KeptLine {
            client: line.client.into(),
            user: line.user.into(),
            request: line.request.into(),
            referer: line.referer.into(),
            user_agent: line.user_agent.into(),
            id: line.id.into(),
            status: line.status,
            started,
        }
    }

    /// The line, now that it is over.
    pub(crate) fn ended<'a>(&'a self, target: &'a str, bytes: u64, ended: Instant) -> Line<'a> {
        Line {
            client: &self.client,
            user: &self.user,
            request: &self.request,
            status: self.status,
            bytes,
            referer: &self.referer,
            user_agent: &self.user_agent,
            took: ended.saturating_duration_since(self.started),
            ended,
            target,
            id: &self.id,
        }
    }
}

/// A worker's end of the log.
#[derive(Debug)]
pub(crate) struct AccessLog {
    batch: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    queue: SyncSender<Order>,
    blank: Blank,
    gauges: Arc<Gauges>,
    format: LogFormat,
    /// The second that was formatted last, with what is around it in a line, and when it is over.
    date: RefCell<String>,
    date_until: Cell<Option<Instant>>,
    begun: Notify,
}

impl AccessLog {
    pub(crate) fn write(&self, line: &Line<'_>) {
        let mut batch = self.batch.borrow_mut();
        if batch.is_empty() {
            self.begun.notify_one();
        }
        self.format(line, &mut batch);
        self.lines.set(self.lines.get() + 1);
        if batch.len() >= limits::LOG_BATCH {
            self.hand_over(&mut batch);
        }
    }

    /// Hands over what there is.
    pub(crate) fn flush(&self) {
        let mut batch = self.batch.borrow_mut();
        if !batch.is_empty() {
            self.hand_over(&mut batch);
        }
    }

    /// Returns once there is a line to hand over.
    pub(crate) async fn begun(&self) {
        self.begun.notified().await;
    }

    fn hand_over(&self, batch: &mut Vec<u8>) {
        let full = std::mem::replace(batch, self.blank.take());
        let lines = self.lines.replace(0);
        if self.queue.try_send(Order::Write(full)).is_err() {
            self.gauges.lines_lost.fetch_add(lines, Ordering::Relaxed);
        }
    }

    fn format(&self, line: &Line<'_>, out: &mut Vec<u8>) {
        if self.date_until.get().is_none_or(|until| until <= line.ended) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let left = Duration::from_secs(1)
                .saturating_sub(Duration::from_nanos(now.subsec_nanos().into()));
            self.date_until.set(Some(line.ended + left));
            let now = i64::try_from(now.as_secs()).ok();
            let date = now.and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok());
            let is_json = self.format == LogFormat::Json;
            let shape = if is_json { RFC3339 } else { DATE };
            let date = date.and_then(|date| date.format(shape).ok());
            let date = date.unwrap_or_else(|| "-".to_owned());
            *self.date.borrow_mut() = if is_json { date } else { format!(" [{date}] \"") };
        }
        if self.format == LogFormat::Json {
            return self.format_json(line, out);
        }
        out.extend_from_slice(line.client.as_bytes());
        out.extend_from_slice(b" - ");
        if line.user.is_empty() {
            out.push(b'-');
        } else {
            escape_word(line.user.as_bytes(), out);
        }
        out.extend_from_slice(self.date.borrow().as_bytes());
        escape(line.request, out);
        out.extend_from_slice(b"\" ");
        push_number(out, u64::from(line.status));
        out.push(b' ');
        push_number(out, line.bytes);
        if self.format == LogFormat::Combined {
            out.extend_from_slice(b" \"");
            escape(line.referer, out);
            out.extend_from_slice(b"\" \"");
            escape(line.user_agent, out);
            out.extend_from_slice(b"\" ");
            push_millis(out, line.took);
            out.push(b' ');
            out.extend_from_slice(if line.target.is_empty() {
                b"-"
            } else {
                line.target.as_bytes()
            });
            if !line.id.is_empty() {
                out.push(b' ');
                out.extend_from_slice(line.id);
            }
        }
        out.push(b'\n');
    }

    fn format_json(&self, line: &Line<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(self.date.borrow().as_bytes());
        for (name, text) in [
            ("client", line.client.as_bytes()),
            ("request", line.request),
            ("referer", line.referer),
            ("user_agent", line.user_agent),
            ("target", line.target.as_bytes()),
        ] {
            out.extend_from_slice(b"\",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":\"");
            escape_json(text, out);
        }
        for (name, text) in [("user", line.user.as_bytes()), ("id", line.id)] {
            if !text.is_empty() {
                out.extend_from_slice(b"\",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":\"");
                escape_json(text, out);
            }
        }
        out.extend_from_slice(b"\",\"status\":");
        push_number(out, u64::from(line.status));
        out.extend_from_slice(b",\"bytes\":");
        push_number(out, line.bytes);
        out.extend_from_slice(b",\"ms\":");
        push_millis(out, line.took);
        out.extend_from_slice(b"}\n");
    }
}

/// Appends the inside of a JSON string. A byte that is no printable ASCII is the character with its
/// number: whatever a client sends, the line is JSON.
fn escape_json(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..0x7f => out.push(byte),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
}

/// Appends milliseconds with three digits behind the point.
fn push_millis(out: &mut Vec<u8>, took: Duration) {
    push_number(out, took.as_secs().saturating_mul(1000) + u64::from(took.subsec_millis()));
    let rest = took.subsec_micros() % 1000;
    let digit = |value: u32| b'0' + u8::try_from(value % 10).unwrap_or(0);
    out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
}

/// Between quotes, nothing may look like the end of them or of the line.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_empty() {
        out.push(b'-');
    } else if syntax::is_quotable(bytes) {
        out.extend_from_slice(bytes);
    } else {
        for &byte in bytes {
            if syntax::is_quotable(&[byte]) {
                out.push(byte);
            } else {
                out.extend_from_slice(format!("\\x{byte:02X}").as_bytes());
            }
        }
    }
}

/// The same where a space would be the end, too.
fn escape_word(bytes: &[u8], out: &mut Vec<u8>) {
    for (at, word) in bytes.split(|byte| *byte == b' ').enumerate() {
        if at > 0 {
            out.extend_from_slice(b"\\x20");
        }
        if !word.is_empty() || bytes.is_empty() {
            escape(word, out);
        }
    }
}

/// Appends a number in decimal.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The writing thread, and what workers' ends are made from.
#[derive(Debug)]
pub(crate) struct LogWriter {
    queue: Arc<SyncSender<Order>>,
    blank: Blank,
    gauges: Arc<Gauges>,
    format: LogFormat,
    /// It is to be opened anew, and the queue had no place for that.
    overdue: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Asks for the log to be opened anew.
#[derive(Clone, Debug)]
pub(crate) struct Reopener {
    queue: Weak<SyncSender<Order>>,
    overdue: Arc<AtomicBool>,
}

impl Reopener {
    /// Lines that have been handed over before go to the old file. Where the writer is behind by the
    /// whole queue he is not waited for: then some of them go to the new one.
    pub(crate) fn reopen(&self) {
        let told = self.queue.upgrade().map(|queue| queue.try_send(Order::Reopen));
        // A writer that has gone has no file either.
        if let Some(Err(TrySendError::Full(_))) = told {
            self.overdue.store(true, Ordering::Release);
        }
    }
}

/// Where lines go.
enum Out {
    Stdout,
    File(PathBuf, File),
}

impl Out {
    fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        // To open a pipe for writing only is to wait until somebody reads it.
        let is_pipe = std::fs::metadata(path).is_ok_and(|there| there.file_type().is_fifo());
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).read(is_pipe).mode(0o640).open(path)?;
        Ok(Self::File(path.to_owned(), file))
    }

    /// Writes as much as can be written; how much that is, and why it is not all.
    fn write(&mut self, batch: &[u8]) -> (usize, io::Result<()>) {
        let mut taken = 0;
        while let Some(rest) = batch.get(taken..).filter(|rest| !rest.is_empty()) {
            let written = match self {
                Self::Stdout => write_out(rest),
                Self::File(_, file) => file.write(rest),
            };
            match written {
                Ok(0) => return (taken, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => taken += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (taken, Err(error)),
            }
        }
        (taken, Ok(()))
    }

    /// Goes on with the old file if there can be no new one. Whether it is a new one.
    fn reopen(&mut self) -> bool {
        let Self::File(path, _) = self else { return false };
        match Self::open(path) {
            Ok(new) => {
                *self = new;
                true
            }
            Err(error) => {
                say!(
                    "proxyd: the access log {} cannot be opened anew, and goes on where it is: \
                     {error}",
                    path.display()
                );
                false
            }
        }
    }
}

fn write_out(bytes: &[u8]) -> io::Result<usize> {
    let mut out = io::stdout();
    out.write_all(bytes).and_then(|()| out.flush()).map(|()| bytes.len())
}

impl LogWriter {
    /// Opens the log, `-` for standard output, and starts its thread.
    pub(crate) fn start(
        path: &Path,
        format: LogFormat,
        gauges: Arc<Gauges>,
    ) -> io::Result<LogWriter> {
        let mut out = Out::open(path)?;
        let (queue, orders) = sync_channel(limits::LOG_QUEUE);
        let (lost, overdue) = (Arc::clone(&gauges), Arc::new(AtomicBool::new(false)));
        let late = Arc::clone(&overdue);
        let blank = Blank::default();
        let written = blank.clone();
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || obey(&orders, &mut out, &late, &lost.lines_lost, &written))?;
        Ok(LogWriter { queue: Arc::new(queue), blank, gauges, format, overdue, thread })
    }

    /// What lets it be opened anew, as long as it lasts.
    pub(crate) fn reopener(&self) -> Reopener {
        Reopener { queue: Arc::downgrade(&self.queue), overdue: Arc::clone(&self.overdue) }
    }

    pub(crate) fn end(&self) -> AccessLog {
        AccessLog {
            batch: RefCell::default(),
            lines: Cell::new(0),
            queue: SyncSender::clone(&self.queue),
            blank: self.blank.clone(),
            gauges: Arc::clone(&self.gauges),
            format: self.format,
            date: RefCell::default(),
            date_until: Cell::new(None),
            begun: Notify::new(),
        }
    }

    /// Waits until all is written, once the workers' ends are gone.
    pub(crate) fn finish(self) {
        drop(self.queue);
        // A log that panicked has nothing more to say.
        let _ = self.thread.join();
    }
}

fn obey(
    orders: &Receiver<Order>,
    out: &mut Out,
    overdue: &AtomicBool,
    lost: &AtomicU64,
    blank: &Blank,
) {
    let mut failing = false;
    // What has been written ends within a line.
    let mut torn = false;
    let mut told = 0;
    for order in orders {
        let batch = match order {
            Order::Write(batch) => batch,
            Order::Reopen => {
                torn &= !out.reopen();
                continue;
            }
        };
        if overdue.swap(false, Ordering::AcqRel) {
            torn &= !out.reopen();
        }
        if torn {
            torn = out.write(b"\n").1.is_err();
        }
        let (taken, written) = if torn { (0, Ok(())) } else { out.write(&batch) };
        let (before, behind) = batch.split_at_checked(taken).unwrap_or((&batch, b""));
        torn |= before.last().is_some_and(|last| *last != b'\n');
        let unwritten = behind.split(|byte| *byte == b'\n').skip(1).count() as u64;
        let dropped = lost.fetch_add(unwritten, Ordering::Relaxed);
        match written {
            Ok(()) => failing &= unwritten > 0,
            Err(error) if !failing => {
                failing = true;
                say!("proxyd: the access log cannot be written, lines are lost: {error}");
            }
            Err(_) => {}
        }
        if dropped > told {
            let more = dropped - told;
            say!("proxyd: {more} access log lines were dropped: its writer is too slow");
        }
        told = dropped + unwritten;
        blank.put(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for number in [0, 7, 10, 999, 1000, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn memory_that_was_written_comes_back_empty_unless_there_is_too_much_of_it() {
        let blank = Blank::default();
        let mut batch = blank.take();
        batch.extend_from_slice(b"line");
        let place = batch.as_ptr();
        blank.put(batch);
        let batch = blank.take();
        assert_eq!((batch.as_ptr(), batch.len()), (place, 0));
        blank.put(Vec::with_capacity(limits::LOG_BATCH * 3));
        assert!(blank.take().capacity() < limits::LOG_BATCH * 2);
        for _ in 0..limits::SPARE_LOG_BATCHES * 2 {
            blank.put(Vec::new());
        }
        assert_eq!(blank.0.lock().unwrap().len(), limits::SPARE_LOG_BATCHES);
    }

    #[test]
    fn nothing_breaks_out_of_a_line() {
        let mut out = Vec::new();
        escape(b"a\"b\\c\nd\x00\xff", &mut out);
        assert_eq!(out, b"a\\x22b\\x5Cc\\x0Ad\\x00\\xFF");
        for (name, word) in [("", "-"), ("ann", "ann"), ("a b ", "a\\x20b\\x20"), ("\"", "\\x22")] {
            let mut out = Vec::new();
            escape_word(name.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), word);
        }
    }

    #[test]
    fn whatever_is_sent_is_json() {
        let all: Vec<u8> = (0..=255).collect();
        let mut out = b"\"".to_vec();
        escape_json(&all, &mut out);
        out.push(b'"');
        let text: String = serde_json::from_slice(&out).unwrap();
        assert_eq!(text.chars().map(u32::from).collect::<Vec<_>>(), (0..=255).collect::<Vec<_>>());
    }
}
