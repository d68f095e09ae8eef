//! One line a request, in the Combined format plus the time in milliseconds and the target.
//!
//! A worker collects lines and hands over batches; one thread writes them. When that thread is
//! behind by the whole queue, lines are dropped and counted, and the data path goes on.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::sync::Notify;

use crate::limits;

const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");

/// What a line tells. All but the numbers is as the client sent it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) client: &'a str,
    pub(crate) request: &'a [u8],
    pub(crate) status: u16,
    /// Of the body, sent to the client.
    pub(crate) bytes: u64,
    pub(crate) referer: &'a [u8],
    pub(crate) user_agent: &'a [u8],
    pub(crate) took: Duration,
    pub(crate) target: &'a str,
}

/// A worker's end of the log.
#[derive(Debug)]
pub(crate) struct AccessLog {
    batch: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
    /// The second that was formatted last.
    second: Cell<u64>,
    date: RefCell<String>,
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
        let full = std::mem::replace(batch, Vec::with_capacity(limits::LOG_BATCH + 1024));
        let lines = self.lines.replace(0);
        if self.queue.try_send(full).is_err() {
            self.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }

    fn format(&self, line: &Line<'_>, out: &mut Vec<u8>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second.replace(now) != now {
            let now = i64::try_from(now).ok();
            let date = now.and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok());
            let date = date.and_then(|date| date.format(DATE).ok());
            *self.date.borrow_mut() = date.unwrap_or_else(|| "-".to_owned());
        }
        out.extend_from_slice(line.client.as_bytes());
        out.extend_from_slice(b" - - [");
        out.extend_from_slice(self.date.borrow().as_bytes());
        out.extend_from_slice(b"] \"");
        escape(line.request, out);
        out.extend_from_slice(b"\" ");
        push_number(out, u64::from(line.status));
        out.push(b' ');
        push_number(out, line.bytes);
        out.extend_from_slice(b" \"");
        escape(line.referer, out);
        out.extend_from_slice(b"\" \"");
        escape(line.user_agent, out);
        out.extend_from_slice(b"\" ");
        let micros = u64::try_from(line.took.as_micros()).unwrap_or(u64::MAX);
        push_number(out, micros / 1000);
        out.push(b'.');
        let rest = micros % 1000;
        for digit in [rest / 100, rest / 10 % 10, rest % 10] {
            push_number(out, digit);
        }
        out.push(b' ');
        out.extend_from_slice(if line.target.is_empty() { b"-" } else { line.target.as_bytes() });
        out.push(b'\n');
    }
}

/// Between quotes, nothing may look like the end of them or of the line.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let harmless = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    if bytes.is_empty() {
        out.push(b'-');
    } else if !bytes.iter().fold(false, |bad, &byte| bad | !harmless(byte)) {
        out.extend_from_slice(bytes);
    } else {
        for &byte in bytes {
            if harmless(byte) {
                out.push(byte);
            } else {
                out.extend_from_slice(format!("\\x{byte:02X}").as_bytes());
            }
        }
    }
}

/// Appends a number in decimal.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0_u8; 20];
    let mut rest = number;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// The writing thread, and what workers' ends are made from.
#[derive(Debug)]
pub(crate) struct LogWriter {
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl LogWriter {
    /// Opens the log, `-` for standard output, and starts its thread.
    pub(crate) fn start(path: &Path) -> io::Result<LogWriter> {
        let mut out: Box<dyn Write + Send> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            let file: File = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
            Box::new(file)
        };
        let (queue, batches) = sync_channel(limits::LOG_QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_batches(&batches, &mut *out, &lost))?;
        Ok(LogWriter { queue, dropped, thread })
    }

    pub(crate) fn end(&self) -> AccessLog {
        AccessLog {
            batch: RefCell::default(),
            lines: Cell::new(0),
            queue: self.queue.clone(),
            dropped: Arc::clone(&self.dropped),
            second: Cell::new(0),
            date: RefCell::default(),
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

fn write_batches(batches: &Receiver<Vec<u8>>, out: &mut dyn Write, dropped: &AtomicU64) {
    let mut failing = false;
    for batch in batches {
        let written = out.write_all(&batch).and_then(|()| out.flush());
        match written {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                eprintln!("proxyd: the access log cannot be written, lines are lost: {error}");
            }
            Err(_) => {}
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            eprintln!("proxyd: {lost} access log lines were dropped: its writer is too slow");
        }
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
    fn nothing_breaks_out_of_a_line() {
        let mut out = Vec::new();
        escape(b"a\"b\\c\nd\x00\xff", &mut out);
        assert_eq!(out, b"a\\x22b\\x5Cc\\x0Ad\\x00\\xFF");
    }
}
