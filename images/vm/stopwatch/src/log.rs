//! The kernel's log, as a clock: what is noted there gets the kernel's time.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

/// A device of our own: /dev may not be there yet.
const LOG: &str = "/stopwatch-log";
const NOTE: &str = "stopwatch-note ";
/// What the kernel says when it hands over.
const HAND_OVER: &str = " as init process";

/// Notes that something has happened now. Without an end of its line it would be kept back for more of it.
pub(crate) fn note(what: &str) {
    make();
    let opened = OpenOptions::new().write(true).open(LOG);
    if let Err(error) =
        opened.and_then(|mut log| log.write_all(format!("{NOTE}{what}\n").as_bytes()))
    {
        crate::say(&format!("{what} cannot be noted: {error}"));
    }
}

/// Line by line `NAME MICROSECONDS` since the hand-over.
pub(crate) fn times() -> Vec<String> {
    make();
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(LOG);
    let mut log = match opened {
        Ok(log) => log,
        Err(error) => return vec![format!("there is no kernel log: {error}")],
    };
    let (mut began, mut times) = (None, Vec::new());
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            // One read is one record.
            Ok(length) => {
                let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                let Some((time, text)) = parse(&text) else { continue };
                if text.starts_with("Run ") && text.ends_with(HAND_OVER) {
                    began = Some(time);
                } else if let (Some(what), Some(began)) = (text.strip_prefix(NOTE), began) {
                    times.push(format!("{what} {}", time.saturating_sub(began)));
                }
            }
            // What was overwritten meanwhile is none of ours.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return times,
            Err(error) => {
                times.push(format!("the kernel log breaks off: {error}"));
                return times;
            }
        }
    }
}

/// `PRIORITY,NUMBER,MICROSECONDS,…;TEXT`
fn parse(record: &str) -> Option<(u64, &str)> {
    let (head, text) = record.split_once(';')?;
    let time = head.split(',').nth(2)?.parse().ok()?;
    Some((time, text.lines().next()?))
}

fn make() {
    if !Path::new(LOG).exists() {
        // It cannot be opened then, which is seen there.
        let _seen_there = mknod(LOG, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(1, 11));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_its_time() {
        let record = "6,339,5140900,-;Run /sbin/init as init process\n SUBSYSTEM=x\n";
        assert_eq!(parse(record), Some((5_140_900, "Run /sbin/init as init process")));
        assert_eq!(parse("nonsense"), None);
    }
}
