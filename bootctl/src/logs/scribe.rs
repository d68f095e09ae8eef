//! Writes pages to logs: notes the page in the ledger, appends it, begins a new file when it is time.
//!
//! No file is held open: a log that somebody renames or removes is left alone from the next page on, and a
//! thousand apps cost no descriptors. What cannot be written leaves no trace and may be tried again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use tracing::warn;

use super::gather::{Owner, Page};
use super::keeping::Keeping;
use super::lasting::Lasting;
use super::ledger::{self, Entry, Ledger, LedgerError};
use super::press::Press;
use super::shelf::Shelf;

/// The length of a time in a line.
const TIME: usize = "2026-11-22T00:40:07.123Z".len();
/// So much of a file's end is looked at at a time, in bytes.
const BLOCK: u64 = 4096;

/// Why a page cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScribeError {
    #[error("{} cannot be written: {source}", path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Whoever writes.
#[derive(Debug)]
pub(crate) struct Scribe {
    folder: PathBuf,
    all: Keeping,
    apps: Arc<BTreeMap<String, Keeping>>,
    files: BTreeMap<String, Seen>,
    press: Press,
    lasting: Lasting,
}

/// A log after a page of ours.
#[derive(Clone, Debug)]
struct Seen {
    inode: u64,
    length: u64,
    /// When its first line began.
    begun: String,
}

impl Scribe {
    pub(crate) fn new(folder: &Path, all: Keeping, apps: BTreeMap<String, Keeping>) -> Self {
        let apps = Arc::new(apps);
        let press = Press::new(folder, all.clone(), Arc::clone(&apps));
        Self {
            folder: folder.to_owned(),
            all,
            apps,
            files: BTreeMap::new(),
            press,
            lasting: Lasting::new(),
        }
    }

    /// Sees to what earlier ones have left.
    pub(crate) fn tidy(&self) {
        match self.press.tidy() {
            Ok(()) => self.press.work(),
            Err(error) => warn!("{} cannot be tidied: {error}", self.folder.display()),
        }
    }

    /// Writes a page. `floor` is what holds when it is written.
    pub(crate) fn write(
        &mut self,
        ledger: &mut Ledger,
        app: &str,
        page: &Page,
        owner: impl Fn(&super::gather::StreamKey) -> Option<Owner>,
        floor: u64,
    ) -> Result<(), ScribeError> {
        let place = Shelf::new(&self.folder, app);
        let failed = |source| ScribeError::Log { path: place.current(), source };
        let (mut file, mut seen) =
            self.open(&place, app, page.text.len() as u64).map_err(failed)?;
        let is_torn = self.is_torn(app, &file, &mut seen).map_err(failed)?;
        let mut text = std::borrow::Cow::Borrowed(&page.text);
        if is_torn {
            // A line without an end, of a machine that was switched off perhaps, must not swallow ours.
            text.to_mut().insert(0, b'\n');
        }
        let after = seen.length + text.len() as u64;
        let entry = |(key, mark): (&_, &_)| Some(Entry::new(key, &owner(key)?, *mark));
        let streams = page.marks.iter().filter_map(entry).collect();
        let Seen { inode, length: before, .. } = seen;
        let note = ledger::Page { floor, app: app.to_owned(), inode, before, after, streams };
        ledger.begin(&note)?;
        if let Err(source) = file.write_all(&text) {
            file.set_len(before).map_err(failed)?;
            ledger.strike(&note)?;
            self.files.remove(app);
            return Err(failed(source));
        }
        self.lasting.note(place.current());
        let begun = if before == 0 { first_time(&text) } else { seen.begun };
        self.files.insert(app.to_owned(), Seen { inode, length: after, begun });
        Ok(())
    }

    /// Opens a log that so much may be added to.
    fn open(&self, place: &Shelf, app: &str, more: u64) -> io::Result<(File, Seen)> {
        let keeping = self.apps.get(app).unwrap_or(&self.all);
        let file = place.open()?;
        let seen = self.look(app, &file)?;
        let is_large = seen.length.saturating_add(more) > keeping.max_size;
        let is_old = seen.begun.as_str() < ago(Duration::from_millis(keeping.max_age_ms)).as_str();
        if seen.length == 0 || !(is_large || is_old) {
            return Ok((file, seen));
        }
        place.put_away(&ago(Duration::ZERO), keeping.keep)?;
        self.press.work();
        let file = place.open()?;
        let seen = self.look(app, &file)?;
        Ok((file, seen))
    }

    /// How a log stands.
    fn look(&self, app: &str, file: &File) -> io::Result<Seen> {
        let about = file.metadata()?;
        let (inode, length) = (about.ino(), about.len());
        let known = self.files.get(app).filter(|seen| seen.inode == inode);
        if let Some(known) = known {
            return Ok(Seen { length, ..known.clone() });
        }
        let mut first = [0; TIME];
        let begun = match file.read_exact_at(&mut first, 0) {
            Ok(()) => first_time(&first),
            // Empty, or shorter than a line.
            Err(_) => ago(Duration::ZERO),
        };
        Ok(Seen { inode, length, begun })
    }

    /// Whether its last line has no end. What never was a line is cut off: of a machine that was switched off, a file
    /// system may keep the length of a file and not its last bytes, which are zeros then.
    fn is_torn(&self, app: &str, file: &File, seen: &mut Seen) -> io::Result<bool> {
        let known = self.files.get(app);
        if known.is_some_and(|k| (k.inode, k.length) == (seen.inode, seen.length)) {
            return Ok(false);
        }
        let length = without_zeros(file, seen.length)?;
        if length < seen.length {
            file.set_len(length)?;
            seen.length = length;
        }
        let mut last = *b"\n";
        if let Some(at) = length.checked_sub(1) {
            file.read_exact_at(&mut last, at)?;
        }
        Ok(last != *b"\n")
    }
}

/// How long a file is without the zeros that it ends with.
fn without_zeros(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    while end > 0 {
        let begin = end.saturating_sub(BLOCK);
        let mut part = vec![0; usize::try_from(end - begin).map_err(io::Error::other)?];
        file.read_exact_at(&mut part, begin)?;
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// The time of the line that a text begins with; now if it is none of ours.
fn first_time(text: &[u8]) -> String {
    let time = text.get(..TIME).and_then(|time| std::str::from_utf8(time).ok());
    let is_time =
        |time: &&str| time.ends_with('Z') && time.starts_with(|c: char| c.is_ascii_digit());
    time.filter(is_time).map_or_else(|| ago(Duration::ZERO), str::to_owned)
}

/// A time as a line has it, so long ago.
pub(crate) fn ago(span: Duration) -> String {
    let then = SystemTime::now().checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH);
    shown(OffsetDateTime::from(then))
}

/// A time as a line has it.
pub(crate) fn shown(time: OffsetDateTime) -> String {
    let form = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
    );
    time.to_offset(time::UtcOffset::UTC).format(form).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn page(text: &str) -> Page {
        Page { text: text.into(), ..Page::default() }
    }

    #[test]
    fn o12_a_log_that_is_large_or_old_is_put_away_before_the_next_page() {
        let folder = tempfile::tempdir().expect("a folder");
        let keeping = Keeping { max_size: 100, ..Keeping::default() };
        let shelf = Shelf::new(folder.path(), "a");
        fs::write(shelf.current(), "2026-01-01T00:00:00.000Z 1 out old\n").expect("written");
        let mut ledger = Ledger::create(folder.path(), "x", 0, Vec::new()).expect("written");
        let mut scribe = Scribe::new(folder.path(), keeping, BTreeMap::new());
        let line = format!("{} 1 out 456789\n", ago(Duration::ZERO));
        let mut old = Vec::new();
        for _ in 0..6 {
            scribe.write(&mut ledger, "a", &page(&line), |_| None, 1).expect("written");
            assert!(fs::metadata(shelf.current()).expect("there").len() <= 100);
            old.push(shelf.old().expect("read").len());
        }
        // 40 bytes a line: two fit into a file.
        assert_eq!(old, [1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn a_torn_line_does_not_swallow_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut ledger = Ledger::create(folder.path(), "x", 0, Vec::new()).expect("written");
        let mut scribe = Scribe::new(folder.path(), Keeping::default(), BTreeMap::new());
        let path = Shelf::new(folder.path(), "a").current();
        fs::write(&path, "torn").expect("written");
        scribe.write(&mut ledger, "a", &page("whole\n"), |_| None, 1).expect("written");
        scribe.write(&mut ledger, "a", &page("whole\n"), |_| None, 1).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), "torn\nwhole\nwhole\n");
    }

    #[test]
    fn o02_zeros_that_a_power_cut_has_left_are_no_line() {
        let folder = tempfile::tempdir().expect("a folder");
        for (before, zeros, after) in [
            ("whole\n", 1, "whole\nnext\n"),
            ("whole\ntorn", 10_000, "whole\ntorn\nnext\n"),
            ("", 4096, "next\n"),
            ("", 0, "next\n"),
        ] {
            let mut ledger = Ledger::create(folder.path(), "x", 0, Vec::new()).expect("written");
            let mut scribe = Scribe::new(folder.path(), Keeping::default(), BTreeMap::new());
            let path = Shelf::new(folder.path(), "a").current();
            fs::write(&path, before.to_owned() + &"\0".repeat(zeros)).expect("written");
            scribe.write(&mut ledger, "a", &page("next\n"), |_| None, 1).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("there"), after);
        }
    }
}
