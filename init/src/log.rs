//! init's own words, on its stderr.
//!
//! A reader that has stopped reading must not stop init: what cannot be written at once is lost.

use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::Level;

/// Starts logging.
pub fn start() {
    tracing_subscriber::fmt()
        .with_max_level(Level::INFO)
        .with_writer(|| Patient(io::stderr()))
        .with_ansi(false)
        .with_target(false)
        .event_format(Plain)
        .init();
}

/// `init: the message`, with the level if it is worth a look.
struct Plain;

impl<S, N> tracing_subscriber::fmt::FormatEvent<S, N> for Plain
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    N: for<'a> tracing_subscriber::fmt::FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &tracing_subscriber::fmt::FmtContext<'_, S, N>,
        mut writer: tracing_subscriber::fmt::format::Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let level = *event.metadata().level();
        let word = if level == Level::ERROR {
            "error: "
        } else if level == Level::WARN {
            "warning: "
        } else {
            ""
        };
        write!(writer, "init: {word}")?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// What a pipe that is ready takes without blocking.
const AT_ONCE: usize = 4096;

/// One line and no more, whatever a client has put into a name.
fn line(text: &[u8]) -> Vec<u8> {
    let shown = text.strip_suffix(b"\n").unwrap_or(text).iter().take(AT_ONCE - 1);
    let plain = |byte: &u8| if byte.is_ascii_control() { b'?' } else { *byte };
    shown.map(plain).chain([b'\n']).collect()
}

struct Patient(io::Stderr);

impl Write for Patient {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut ready = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut ready, PollTimeout::ZERO) {
            Ok(1) => {
                let _ = self.0.write(&line(text));
                Ok(text.len())
            }
            _ => Ok(text.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
