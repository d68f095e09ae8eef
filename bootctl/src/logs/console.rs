//! Repeats lines on standard output and standard error, with the name of the writer before them, for
//! those who look there: the logs of a container.
//!
//! It is a copy, the files are what counts. So whoever does not read it holds nobody up: what finds no room in
//! the queue is left out, and the next page says that.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use init_wire::Channel;
use tracing::warn;

use super::line::{Kind, Line, parse};

/// Pages that may wait.
const QUEUE: usize = 16;

/// The way there.
#[derive(Debug)]
pub(crate) struct Console {
    pages: SyncSender<(Arc<str>, Vec<u8>)>,
    left_out: usize,
}

impl Console {
    /// Begins to repeat.
    pub(crate) fn open() -> Option<Self> {
        let (pages, queue) = sync_channel::<(Arc<str>, Vec<u8>)>(QUEUE);
        let spawned = thread::Builder::new().name("console".into()).spawn(move || {
            for (app, page) in queue {
                repeat(&app, &page);
            }
        });
        match spawned {
            Ok(_) => Some(Self { pages, left_out: 0 }),
            Err(error) => {
                warn!("lines are not repeated here: {error}");
                None
            }
        }
    }

    /// Repeats a page.
    pub(crate) fn show(&mut self, app: &Arc<str>, page: Vec<u8>) {
        let lines = page.split(|byte| *byte == b'\n').count().saturating_sub(1);
        let mut text = page;
        if self.left_out > 0 {
            let note =
                format!("bootctl: {} lines are left out here; see the files\n", self.left_out);
            text.splice(..0, note.into_bytes());
        }
        match self.pages.try_send((Arc::clone(app), text)) {
            Ok(()) => self.left_out = 0,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.left_out += lines,
        }
    }
}

fn repeat(app: &str, page: &[u8]) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    for text in page.split_inclusive(|byte| *byte == b'\n') {
        let bare = text.strip_suffix(b"\n").unwrap_or(text);
        match parse(bare) {
            Some(line) => {
                let to = if line.channel == Channel::Stdout { &mut out } else { &mut err };
                show(app, &line, to);
            }
            None => err.extend_from_slice(text),
        }
    }
    // Who has closed it does not want to know.
    drop(std::io::stdout().write_all(&out));
    drop(std::io::stderr().write_all(&err));
}

fn show(app: &str, line: &Line<'_>, to: &mut Vec<u8>) {
    let note = if line.kind == Kind::Note { "! " } else { "" };
    to.extend_from_slice(format!("{app}.{} | {note}", line.writer).as_bytes());
    to.extend_from_slice(&line.text);
    to.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_repeated_after_the_name_of_its_writer() {
        let mut text = Vec::new();
        let line = parse(b"2026-11-22T00:40:07.123Z 2 out\\ a\\xFF\\\\").expect("a line");
        show("shop.example", &line, &mut text);
        assert_eq!(text, b"shop.example.2 | a\xFF\\\n");
    }
}
