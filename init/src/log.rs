//! init's own words, on its stderr.
//!
//! A reader that has stopped reading must not stop init: what cannot be written at once is lost.

use std::fmt::{Debug, Write as _};
use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Starts logging.
pub fn start() {
    // Only a second call could fail.
    let _ = tracing::subscriber::set_global_default(Words);
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

fn say(line: &[u8]) {
    let mut stderr = io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO) == Ok(1) {
        let _ = stderr.write(line);
    }
}
