//! How far every stream is in the logs: `LOG_DIR/.collector.state`.
//!
//! ```text
//! {"version":1,"life":"b8d3…","floor":4711,"streams":[…]}         what held when it was written
//! {"floor":4711,"app":"shop.example","inode":9,"before":100,"after":180,"streams":[…]}
//! {"floor":4791,"app":"…                                          one page each, in order
//! ```
//!
//! Before a page is written to a log, its line is appended here: to which file, how long that is before
//! and after it, and how far the streams are then. So whoever is killed in between leaves one page in
//! question at most, the last one, and the length of its log tells: the page is there, or a part of it that is
//! cut off and collected anew. A line of this file that is torn stands for a page that was not begun.
//!
//! From time to time the file is written anew with what holds then: temp, fsync, rename, fsync. Between, and in the
//! logs themselves, nothing waits for the disk: what a killed process has written is not lost, and with
//! the machine goes init, of whose life all places are. What a power cut leaves of logs is `lasting`'s.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use init_wire::Channel;
use serde::{Deserialize, Serialize};

use super::gather::{Mark, Owner, StreamKey};
use super::shelf::Shelf;

const VERSION: u32 = 1;
const NAME: &str = ".collector.state";
/// It is written anew when its pages take so much.
const MOST_PAGES: u64 = 1 << 20;

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error("{} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is corrupt in line {line} ({source})", path.display())]
    Corrupt { path: PathBuf, line: usize, source: serde_json::Error },
    #[error("{} has version {found}, but this bootctl knows {VERSION}", path.display())]
    Version { path: PathBuf, found: u32 },
}

/// What is known of earlier collectors.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// In which life of init; none if nothing is known.
    pub(crate) life: Option<String>,
    /// All before it is in the logs.
    pub(crate) floor: u64,
    pub(crate) streams: BTreeMap<StreamKey, (Owner, Mark)>,
    last: Option<Page>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    life: String,
    floor: u64,
    streams: Vec<Entry>,
}

/// A page that is about to be written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    pub(crate) floor: u64,
    pub(crate) app: String,
    pub(crate) inode: u64,
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) streams: Vec<Entry>,
}

/// One stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    job: String,
    stream: Channel,
    app: String,
    writer: String,
    done: u64,
    offset: u64,
}

impl Entry {
    pub(crate) fn new(key: &StreamKey, owner: &Owner, mark: Mark) -> Self {
        Self {
            job: key.job.to_string(),
            stream: key.channel,
            app: owner.app.to_string(),
            writer: owner.writer.to_string(),
            done: mark.done,
            offset: mark.offset,
        }
    }

    fn read(self) -> (StreamKey, (Owner, Mark)) {
        let key = StreamKey { job: self.job.into(), channel: self.stream };
        let owner = Owner { app: self.app.into(), writer: self.writer.into() };
        (key, (owner, Mark { done: self.done, offset: self.offset }))
    }
}

impl Known {
    /// Reads what there is; nothing if there is nothing.
    pub(crate) fn read(folder: &Path) -> Result<Self, LedgerError> {
        let path = folder.join(NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(LedgerError::Read { path, source }),
        };
        let corrupt = |line: usize| {
            let path = path.clone();
            move |source| LedgerError::Corrupt { path, line: line + 1, source }
        };
        let mut lines = text.split_inclusive(|byte| *byte == b'\n');
        let head: Head =
            serde_json::from_slice(lines.next().unwrap_or_default()).map_err(corrupt(0))?;
        if head.version != VERSION {
            return Err(LedgerError::Version { path, found: head.version });
        }
        let mut known = Self {
            life: Some(head.life),
            floor: head.floor,
            streams: head.streams.into_iter().map(Entry::read).collect(),
            last: None,
        };
        for (number, line) in lines.enumerate().filter(|(_, line)| line.ends_with(b"\n")) {
            let page: Page = serde_json::from_slice(line).map_err(corrupt(number + 1))?;
            let before = known.last.replace(page);
            known.pass(before);
        }
        Ok(known)
    }

    /// Takes a page for written.
    fn pass(&mut self, page: Option<Page>) {
        if let Some(page) = page {
            self.floor = page.floor;
            self.streams.extend(page.streams.into_iter().map(Entry::read));
        }
    }

    /// Sees to the page that may have been interrupted: it is taken for written, or cut off.
    pub(crate) fn repair(&mut self, folder: &Path) -> io::Result<()> {
        let Some(page) = self.last.take() else { return Ok(()) };
        let path = Shelf::new(folder, &page.app).current();
        let length = match fs::metadata(&path) {
            Ok(about) if about.ino() == page.inode => Some(about.len()),
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match length {
            Some(length) if (page.before..page.after).contains(&length) => {
                OpenOptions::new().write(true).open(&path)?.set_len(page.before)
            }
            // It was put away or cleared since, which is done only between two pages.
            Some(_) | None => {
                self.pass(Some(page));
                Ok(())
            }
        }
    }
}

/// Sets a file aside that cannot be understood.
pub(crate) fn set_aside(folder: &Path) -> io::Result<PathBuf> {
    let aside = folder.join(format!("{NAME}.refused"));
    fs::rename(folder.join(NAME), &aside)?;
    Ok(aside)
}

/// The file, open.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    length: u64,
    pages: u64,
}

impl Ledger {
    /// Writes it anew.
    pub(crate) fn create(
        folder: &Path,
        life: &str,
        floor: u64,
        streams: Vec<Entry>,
    ) -> Result<Self, LedgerError> {
        let path = folder.join(NAME);
        let head = Head { version: VERSION, life: life.to_owned(), floor, streams };
        let made = write_anew(folder, &path, &head);
        let (file, length) =
            made.map_err(|source| LedgerError::Write { path: path.clone(), source })?;
        Ok(Self { path, file, length, pages: 0 })
    }

    /// Whether it should be written anew.
    pub(crate) fn is_full(&self) -> bool {
        self.pages > MOST_PAGES
    }

    /// Notes a page that is about to be written.
    pub(crate) fn begin(&mut self, page: &Page) -> Result<(), LedgerError> {
        let mut line = serde_json::to_vec(page).map_err(io::Error::from);
        if let Ok(line) = &mut line {
            line.push(b'\n');
        }
        let written = line.and_then(|line| self.file.write_all(&line).map(|()| line.len() as u64));
        match written {
            Ok(count) => {
                self.pages += count;
                Ok(())
            }
            Err(source) => {
                let path = self.path.clone();
                self.take_back()?;
                Err(LedgerError::Write { path, source })
            }
        }
    }

    /// Strikes the last page: it was not written.
    pub(crate) fn take_back(&mut self) -> Result<(), LedgerError> {
        let cut = self.file.set_len(self.length + self.pages);
        cut.map_err(|source| LedgerError::Write { path: self.path.clone(), source })
    }

    /// Strikes the page that was noted as the last one.
    pub(crate) fn strike(&mut self, page: &Page) -> Result<(), LedgerError> {
        let line = serde_json::to_vec(page).map_or(0, |line| line.len() as u64 + 1);
        self.pages = self.pages.saturating_sub(line);
        self.take_back()
    }
}

fn write_anew(folder: &Path, path: &Path, head: &Head) -> io::Result<(File, u64)> {
    let mut text = serde_json::to_vec(head)?;
    text.push(b'\n');
    let new = folder.join(format!("{NAME}.new"));
    drop(fs::remove_file(&new));
    // It is appended to under its new name.
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o640).open(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()?;
    Ok((file, text.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(done: u64) -> Entry {
        let key = StreamKey { job: "a.1".into(), channel: Channel::Stdout };
        let owner = Owner { app: "a".into(), writer: "1".into() };
        Entry::new(&key, &owner, Mark { done, offset: done })
    }

    fn page(folder: &Path, before: u64, after: u64) -> Page {
        let about = fs::metadata(Shelf::new(folder, "a").current()).expect("there");
        let streams = vec![entry(after)];
        Page { floor: after, app: "a".into(), inode: about.ino(), before, after, streams }
    }

    /// Floor and place of the only stream after a repair, and the length of the log.
    fn repaired(folder: &Path) -> (u64, u64, usize) {
        let mut known = Known::read(folder).expect("read");
        known.repair(folder).expect("repaired");
        let (_, (_, mark)) = known.streams.pop_first().expect("one");
        let log = fs::read(Shelf::new(folder, "a").current()).unwrap_or_default();
        (known.floor, mark.done, log.len())
    }

    #[test]
    fn o12_a_page_that_was_interrupted_is_cut_off_and_a_whole_one_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let log = Shelf::new(folder, "a").current();
        fs::write(&log, "first").expect("written");
        let mut ledger = Ledger::create(folder, "x", 3, vec![entry(3)]).expect("written");
        ledger.begin(&page(folder, 5, 10)).expect("noted");
        assert_eq!(repaired(folder), (3, 3, 5), "not begun");
        fs::write(&log, "firstsec").expect("written");
        assert_eq!(repaired(folder), (3, 3, 5), "in the middle");
        fs::write(&log, "firstsecon").expect("written");
        assert_eq!(repaired(folder), (10, 10, 10), "whole");
        ledger.begin(&page(folder, 10, 20)).expect("noted");
        assert_eq!(repaired(folder), (10, 10, 10), "the one before counts as whole");
        ledger.strike(&page(folder, 10, 20)).expect("struck");
        assert_eq!(repaired(folder), (10, 10, 10));
        ledger.begin(&page(folder, 10, 30)).expect("noted");
        // It was put away after it was written.
        fs::rename(&log, folder.join("elsewhere")).expect("renamed");
        assert_eq!(repaired(folder), (30, 30, 0));
        let known = Known::read(folder).expect("read");
        assert_eq!(known.life.as_deref(), Some("x"));
    }

    #[test]
    fn a_torn_line_is_a_page_that_was_not_begun_and_a_corrupt_one_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        fs::write(Shelf::new(folder, "a").current(), "first").expect("written");
        let mut ledger = Ledger::create(folder, "x", 3, vec![entry(3)]).expect("written");
        ledger.begin(&page(folder, 5, 10)).expect("noted");
        let path = folder.join(NAME);
        let text = fs::read(&path).expect("there");
        fs::write(&path, &text[..text.len() - 1]).expect("written");
        assert_eq!(repaired(folder), (3, 3, 5));
        for bad in [b"".as_slice(), b"{}\n", &text[10..], b"{\"version\":1}\n"] {
            fs::write(&path, bad).expect("written");
            assert!(Known::read(folder).is_err(), "{bad:?}");
            set_aside(folder).expect("renamed");
            assert_eq!(Known::read(folder).expect("nothing is there").life, None);
        }
    }
}
