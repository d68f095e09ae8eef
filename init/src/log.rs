//! init's own words, on its stderr.
//!
//! A reader that has stopped reading must not stop init: what cannot be written at once is lost, on a terminal after
//! a twentieth of a second in each.

use std::fmt::{Debug, Write as _};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::sys;

/// Starts logging. A panic is a line of it, too.
pub fn start() {
    // Only a second call could fail.
    let _ = tracing::subscriber::set_global_default(Words);
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

/// Writes `init: the message`, with the level if it is worth a look. There are no spans in init, so
/// they are not kept.
struct Words;

impl Subscriber for Words {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn event(&self, event: &Event<'_>) {
        let word = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            _ => "",
        };
        let mut text = format!("init: {word}");
        event.record(&mut Text(&mut text));
        say(&line(text.as_bytes()));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // A text takes all that is written to it.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// What a pipe that is ready takes without blocking.
const AT_ONCE: usize = 4096;

/// One line and no more, whatever a client has put into a name.
fn line(text: &[u8]) -> Vec<u8> {
    let shown = text.iter().take(AT_ONCE - 1);
    let plain = |byte: &u8| if byte.is_ascii_control() { b'?' } else { *byte };
    shown.map(plain).chain([b'\n']).collect()
}

/// stderr once more, as a file of our own that does not block, where a terminal needs that.
static OWN: OnceLock<File> = OnceLock::new();

/// Writes what can be written at once. Others share stderr: they may fill a pipe between asking for
/// room and writing, and a terminal can be stopped in the middle of a line.
fn say(line: &[u8]) {
    let mut stderr = io::stderr();
    let is_file = || Some(fstat(&stderr).ok()?.st_mode & libc::S_IFMT == libc::S_IFREG);
    if is_file().unwrap_or_default() {
        let _ = stderr.write(line);
        return;
    }
    match sys::write_now(&stderr, line) {
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => {}
        // What does not fit is lost.
        Ok(_) | Err(_) => return,
    }
    if let Some(own) = own() {
        write_soon(own, line);
        return;
    }
    // Without /proc there is no other way.
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO) == Ok(1) {
        let _ = stderr.write(line);
    }
}

/// How long terminals on which others write at the moment are waited for, in each second: on one that takes little, many
/// lines do not keep init from its work.
const PATIENCE: Duration = Duration::from_millis(50);

/// Writes as soon as those are done that write to the same terminal, which while a machine boots
/// are many: a serial line takes 11 bytes a millisecond.
fn write_soon(mut terminal: &File, mut line: &[u8]) {
    /// When a second began, and how long was waited in it.
    static WAITED: Mutex<Option<(Instant, Duration)>> = Mutex::new(None);
    let mut waited = WAITED.lock().unwrap_or_else(PoisonError::into_inner);
    let (begun, waited) = waited.get_or_insert_with(|| (Instant::now(), Duration::ZERO));
    if begun.elapsed() >= Duration::from_secs(1) {
        (*begun, *waited) = (Instant::now(), Duration::ZERO);
    }
    while !line.is_empty() {
        match terminal.write(line) {
            Ok(0) => return,
            Ok(written) => line = line.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock && *waited < PATIENCE => {
                let now = Instant::now();
                thread::sleep(Duration::from_millis(1));
                *waited = waited.saturating_add(now.elapsed());
            }
            Err(_) => return,
        }
    }
}

/// The descriptor of that, if there is one.
#[must_use]
pub fn descriptor() -> Option<RawFd> {
    OWN.get().map(AsRawFd::as_raw_fd)
}

fn own() -> Option<&'static File> {
    if OWN.get().is_none() {
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mut options = File::options();
        let opened = options.write(true).custom_flags(flags.bits()).open("/proc/self/fd/2");
        let _ = OWN.set(opened.ok()?);
    }
    OWN.get()
}
